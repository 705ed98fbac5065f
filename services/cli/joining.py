"""The verb that joins mosaics of tiles into slices, before a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.console import OUT, progress_bar
from services.runtime.clock import SystemClock
from services.runtime.signals import stop_event_on_signals

if TYPE_CHECKING:
    from services.ingest.joining import Joiner, JoinLook

_EXAMPLES = """Examples:

fibsem-nuclei join /data/ROI1 --out /data/ROI1-slices --channel 0 --watch

fibsem-nuclei run /data/ROI1-slices --out roi1 --voxel-nm 8,8,8 --watch

fibsem-nuclei join tiles --out slices --overlap-px 200,300 --tile-pattern 's(?P<z>[0-9]+)_r(?P<row>[0-9]+)_c(?P<column>[0-9]+)'
"""  # noqa: E501 - an example is one line
_STOPPED = 143
_LISTING_REST = 20.0
_QUIET_LOOKS = 3
_TOLD_AT_MOST = 20


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(epilog=_EXAMPLES)(join)


def join(
    tiles: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of tiles; it is only read")],
    out: Annotated[Path, typer.Option(help="folder for the slices; the same command goes on where it stopped")],
    watch: Annotated[bool, typer.Option(help="wait for more tiles, until ACQUISITION_FINISHED lies there")] = False,
    channel: Annotated[int | None, typer.Option(min=0, max=3, help="detector, where tiles have several")] = None,
    overlap_px: Annotated[
        str | None, typer.Option(help="Y,X that neighbours share; default: first pixels that .dat headers state")
    ] = None,
    tile_pattern: Annotated[
        str | None, typer.Option(help="regular expression with (?P<z>...), (?P<row>...), (?P<column>...)")
    ] = None,
    brightness: Annotated[
        Literal["level", "as-is"], typer.Option(help="level: add whole grey levels to tiles so that overlaps agree")
    ] = "level",
    poll_s: Annotated[float, typer.Option(min=0, help="seconds between two looks at the folder")] = 5.0,
) -> None:
    """Join mosaics of tiles into slices that `run` takes.

    Overlaps say where tiles lie; where one has nothing to go by, its tiles lie as they are said to. Every slice has all
    its tiles or is not written. OUT/tiles.csv says of every tile what became of it and where it lies. Exit status 1
    if anything was not joined.
    """
    from services.ingest.joining import Joiner, JoinSettings, only_one
    from services.ingest.names import compile_tile_pattern

    pattern = compile_tile_pattern(tile_pattern) if tile_pattern else None
    settings = JoinSettings(tiles, out, channel, _overlap(overlap_px) if overlap_px else None, pattern, brightness)
    with only_one(out):
        joiner = Joiner(settings)
        look = _follow(joiner, poll_s) if watch else _look(joiner, is_final=True)
    _tell(look, out)
    if look.faults:
        raise typer.Exit(1)


def _follow(joiner: Joiner, poll_s: float) -> JoinLook:
    """Join as tiles come, until the end is marked and the folder is at rest."""
    clock, quiet, joined = SystemClock(), 0, -1
    with stop_event_on_signals() as stop:
        while not stop.is_set():
            started_s = clock.monotonic_s()
            try:
                look = joiner.look(is_final=False)
            except OSError as error:
                # A share that went away comes back, or somebody stops this.
                OUT.print(f"waiting: {error}", markup=False, highlight=False, soft_wrap=True)
                quiet = 0
            else:
                if look.joined != joined:
                    joined = look.joined
                    OUT.print(f"{joined} of {look.mosaics} mosaics joined", highlight=False)
                quiet = quiet + 1 if look.is_marked and not look.is_moving else 0
                if quiet == _QUIET_LOOKS:
                    return _look(joiner, is_final=True)
            clock.wait(max(poll_s, _LISTING_REST * (clock.monotonic_s() - started_s)), stop)
    OUT.print("stopped; nothing is lost. The same command goes on where it stopped")
    raise typer.Exit(_STOPPED)


def _look(joiner: Joiner, *, is_final: bool) -> JoinLook:
    with progress_bar("mosaics") as told:
        return joiner.look(is_final=is_final, told=told)


def _tell(look: JoinLook, out: Path) -> None:
    tiles = ", ".join(f"{count} {state}" for state, count in sorted(look.states.items()) if count)
    OUT.print(f"{look.joined} of {look.mosaics} mosaics joined; tiles: {tiles}", highlight=False)
    if others := {reason: count for reason, count in look.ignored.items() if count}:
        OUT.print(f"left alone: {', '.join(f'{count} {reason}' for reason, count in others.items())}", highlight=False)
    for mosaic, reason, detail in look.faults[:_TOLD_AT_MOST]:
        OUT.print(f"[bold red]not joined[/] {reason}: ", end="")
        OUT.print(f"{mosaic}: {detail}", markup=False, highlight=False, soft_wrap=True)
    if len(look.faults) > _TOLD_AT_MOST:
        OUT.print(f"and {len(look.faults) - _TOLD_AT_MOST} more; all are in {out / 'tiles.csv'}")
    if look.joined:
        OUT.print(
            f"slices in {out}: fibsem-nuclei run {out} --out RESULTS", markup=False, highlight=False, soft_wrap=True
        )


def _overlap(text: str) -> tuple[int, int]:
    try:
        y, x = (int(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"--overlap-px {text!r}: give Y,X such as 200,300") from error
    if min(y, x) < 0:
        raise typer.BadParameter(f"--overlap-px {text!r}: tiles cannot overlap by less than nothing")
    return y, x
