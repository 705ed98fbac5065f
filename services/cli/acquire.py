"""Verbs that make and follow acquisitions: simulate, run, amend, demo."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.console import OUT
from services.cli.display import RunDisplay
from services.cli.options import SHIPPED_MODELS, voxel_size, voxel_size_in_name
from services.contracts.values import VoxelSize
from services.embedded.progress import duration
from services.embedded.settings import RunSettings, settle
from services.runtime.clock import SystemClock
from services.runtime.signals import stop_event_on_signals

if TYPE_CHECKING:
    from services.embedded.run import Outcome

STOPPED = 143


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command(epilog="Example: fibsem-nuclei demo --out out/demo")(demo)
    app.command(
        epilog="Examples: fibsem-nuclei simulate sim --seed 7 --artefact curtaining=0.5 --artefact missed; "
        "fibsem-nuclei simulate live --period-s 2"
    )(simulate)
    app.command(
        epilog="Examples: fibsem-nuclei run sim/slices --out out; "
        "fibsem-nuclei run /data/ROI1 --out roi1 --voxel-nm 4,4,4 --watch; "
        "fibsem-nuclei run /data/ROI1 --out tuning --preview 40"
    )(run)
    app.command(epilog="Example: fibsem-nuclei amend roi1 --out roi1-amended")(amend)


def simulate(
    directory: Annotated[Path, typer.Argument(help="folder for slices/ and truth/")],
    seed: Annotated[int, typer.Option(help="same seed, same bytes")] = 1,
    voxel_nm: Annotated[float, typer.Option(help="edge of a voxel")] = 16.0,
    nuclei: Annotated[int, typer.Option(help="whole nuclei in the field")] = 3,
    slices: Annotated[int | None, typer.Option(help="number of slices; default: enough for the nuclei")] = None,
    period_s: Annotated[float | None, typer.Option(help="seconds per slice; default: as fast as possible")] = None,
    artefact: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=STRENGTH, repeatable; `all` for every one")
    ] = None,
) -> None:
    """Write slices as a microscope does, files growing in place, and the truth beside them."""
    from services.simulator.simulate import simulate as simulate_microscope
    from services.simulator.simulate import spec_for

    spec = spec_for(seed, voxel_nm, nuclei, slices, tuple(artefact or ()))
    clock = SystemClock()
    columns = (TextColumn("slices"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, console=OUT) as bar:
        task = bar.add_task("slices", total=spec.n_slices)
        simulate_microscope(
            directory,
            spec,
            period_s=period_s,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            wait=clock.wait,
        )
    OUT.print(f"slices in {directory / 'slices'}, truth in {directory / 'truth'}")


Slices = Annotated[Path, typer.Argument(exists=True, help="folder the microscope writes into, or one stack")]
Out = Annotated[Path, typer.Option(help="folder for the results; the same command goes on where it stopped")]
Acquisition = Annotated[str | None, typer.Option(help="name; a second folder given under the same name is joined")]
VoxelNm = Annotated[str | None, typer.Option(help="Z,Y,X; default: what the file names say")]
Profile = Annotated[
    Literal["recommended", "manuscript", "as-run", "hela-40nm"], typer.Option(help="how nuclei are detected")
]
WindowUm = Annotated[float, typer.Option(help="edge of a crop; wider than a nucleus")]
Watch = Annotated[bool, typer.Option(help="wait for more slices until the acquisition is finished")]
Gaps = Annotated[Literal["declare", "wait"], typer.Option(help="a finished folder's missing slices: declare, or wait")]
Models = Annotated[Path, typer.Option(help="folder of published networks")]
WholeField = Annotated[bool, typer.Option(help="one region, the whole field, instead of nuclei")]
Preview = Annotated[int | None, typer.Option("--preview", min=1, help="only so many slices, and an estimate for all")]
Chromosomes = Annotated[int, typer.Option(min=1, max=200, help="chromosomes expected in a whole nucleus")]
ChromosomesMethod = Annotated[
    Literal["cc26", "sc_watershed", "sc_link_watershed", "path_cover"],
    typer.Option(help="how chromosomes are separated; cc26: as the manuscript does"),
]
ChromosomesAs = Annotated[
    Literal["auto", "bivalents", "homologs"], typer.Option(help="what is counted; auto: homologs if more than 6")
]
SmallObjects = Annotated[Literal["3d", "2d"], typer.Option(help="specks by voxels in 3-D, or by pixels of each slice")]
FilePattern = Annotated[str | None, typer.Option(help="regular expression with (?P<z>...) for file names")]
Include = Annotated[str | None, typer.Option(help="shell pattern; files of other names are left alone")]
Channel = Annotated[int | None, typer.Option(help="channel of RGB files whose channels differ")]
Z = Annotated[int | None, typer.Option(min=0, help="first, last z; default: what is there")]
GapTimeoutS = Annotated[float | None, typer.Option(help="declare a z missing after so long; a recorded decision")]
AreaUm2 = Annotated[str | None, typer.Option(help="MIN,MAX section of a nucleus, um2; default: the profile's")]
MetricsPort = Annotated[int | None, typer.Option(help="serve /metrics, /healthz and /readyz here")]


def run(
    slices: Slices,
    out: Out,
    acquisition: Acquisition = None,
    voxel_nm: VoxelNm = None,
    profile: Profile = "recommended",
    watch: Watch = False,
    gaps: Gaps = "declare",
    models: Models = SHIPPED_MODELS,
    whole_field: WholeField = False,
    preview_slices: Preview = None,
    chromosomes: Chromosomes = 12,
    chromosomes_method: ChromosomesMethod = "sc_link_watershed",
    chromosomes_as: ChromosomesAs = "auto",
    small_objects: SmallObjects = "3d",
    file_pattern: FilePattern = None,
    include: Include = None,
    channel: Channel = None,
    first_z: Z = None,
    last_z: Z = None,
    gap_timeout_s: GapTimeoutS = None,
    nucleus_area_um2: AreaUm2 = None,
    window_um: WindowUm = 6.8,
    metrics_port: MetricsPort = None,
) -> None:
    """Segment an acquisition, finished or still growing; stop it and start it again at will."""
    slices, include = (slices.parent, slices.name) if slices.is_file() else (slices, include)
    wanted = RunSettings(
        acquisition=acquisition or "acquisition",
        slices=(slices.resolve(),),
        voxel_size=voxel_size(voxel_nm) if voxel_nm else _voxel_size_of(slices, wait=watch),
        profile=profile,
        gaps=gaps,
        models=models.resolve(),
        whole_field=whole_field,
        **_separation(chromosomes, chromosomes_method, chromosomes_as),
        small_objects=small_objects,
        file_pattern=file_pattern,
        include=include,
        channel=channel,
        first_z=first_z,
        last_z=last_z,
        gap_timeout_s=gap_timeout_s,
        nucleus_area_um2=_area(nucleus_area_um2) if nucleus_area_um2 else None,
        window_um=window_um,
    )
    if preview_slices is not None:
        _preview(out, wanted, preview_slices)
        return
    settled = settle(out, wanted, joined=acquisition is not None)
    _end(out, _run(out, settled, watch=watch, metrics_port=metrics_port))


def amend(
    before: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="OUT of a finished run")],
    out: Annotated[Path, typer.Option(help="folder for the amended version; the earlier one stays as it is")],
) -> None:
    """Make a new version of a finished run after slices came late, were replaced or were removed.

    Only what the change touches is computed again; the result is that of a run that had these slices from the
    start. identities.csv says which nucleus and object of the earlier version is which of the new one.
    """
    amended(before, out)


def amended(before: Path, out: Path, models: Path | None = None) -> None:
    """Run an amended version, with other networks where a folder of them is given."""
    from services.embedded.amending import prepare, write_identities

    outcome = _run(out, prepare(before, out, models), watch=False, metrics_port=None)
    _end(out, outcome)
    OUT.print(f"identities: {write_identities(before, out)}")


def demo(
    out: Annotated[Path, typer.Option(help="folder for the simulation and the results")] = Path("out/demo"),
    seed: Annotated[int, typer.Option(help="of the simulated gonad")] = 1,
    nuclei: Annotated[int, typer.Option(help="whole nuclei in the field")] = 3,
    slices: Annotated[int | None, typer.Option(help="number of slices; default: enough for the nuclei")] = None,
) -> None:
    """Simulate an acquisition live, segment it meanwhile, score the result and write the report."""
    from services.evaluation import evaluate as score
    from services.evaluation import format_scores
    from services.report import write_report
    from services.simulator.simulate import spec_for

    started = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    spec = spec_for(seed, 16.0, nuclei, slices, in_a_row=True)
    OUT.print(
        f"[bold]Demo[/]: a simulated FIB-SEM writes {spec.n_slices} slices of a C. elegans gonad into {out}/sim/slices;"
    )
    OUT.print("the pipeline follows it as the files land.\n")
    (out / "sim" / "slices").mkdir(parents=True)
    microscope = multiprocessing.get_context("spawn").Process(
        target=_acquire, args=(out / "sim", seed, nuclei, slices), name="microscope", daemon=True
    )
    microscope.start()
    wanted = RunSettings(
        acquisition="demo",
        slices=((out / "sim" / "slices").resolve(),),
        voxel_size=VoxelSize(z_nm=16, y_nm=16, x_nm=16),
        models=SHIPPED_MODELS.resolve(),
    )
    results = out / "results"
    settled = settle(results, wanted, joined=True)
    outcome = _run(results, settled, watch=True, metrics_port=None, alive=microscope.is_alive)
    microscope.join()
    if outcome.stopped:
        raise typer.Exit(STOPPED)
    with OUT.status("scoring against the truth"):
        scores = score(out / "sim" / "truth", results)
    OUT.print(format_scores(scores), markup=False, highlight=False)
    outcome.keep_scores(scores.as_json())
    with OUT.status("writing the report"):
        report = write_report(results)
    OUT.print(f"\n[bold green]done[/] in {(time.monotonic() - started) / 60:.1f} minutes; open [bold]{report}[/]")


def _acquire(directory: Path, seed: int, nuclei: int, slices: int | None) -> None:
    from services.simulator.simulate import simulate as simulate_microscope
    from services.simulator.simulate import spec_for

    clock = SystemClock()
    simulate_microscope(
        directory,
        spec_for(seed, 16.0, nuclei, slices, in_a_row=True),
        period_s=None,
        progress=lambda _done, _total: None,
        wait=clock.wait,
    )


def _run(
    out: Path,
    settings: RunSettings,
    *,
    watch: bool,
    metrics_port: int | None,
    alive: Callable[[], bool] = lambda: True,
) -> Outcome:
    from services.embedded.run import Surroundings, run_to_the_end

    with stop_event_on_signals() as stop, RunDisplay(OUT) as display:
        around = Surroundings(stop, display.show, metrics_port, alive)
        return run_to_the_end(out, settings, around, watch=watch)


def _preview(out: Path, wanted: RunSettings, count: int) -> None:
    from services.embedded.preview import preview
    from services.embedded.run import Surroundings

    with stop_event_on_signals() as stop, RunDisplay(OUT) as display:
        folder, outcome, estimate = preview(out, wanted, count, Surroundings(stop, display.show))
    _end(folder, outcome)
    OUT.print(
        f"all {estimate.slices} slices: about {duration(estimate.seconds)} on this machine, "
        f"{estimate.disk_bytes / 1e9:.1f} GB of disk under --out"
    )


def _end(out: Path, outcome: Outcome) -> None:
    from services.report import write_report

    if outcome.stopped:
        OUT.print(f"stopped; nothing is lost. The same command with --out {out} goes on where it stopped")
        raise typer.Exit(STOPPED)
    with OUT.status("writing the report"):
        report = write_report(out)
    OUT.print(outcome.summary())
    OUT.print(f"report: [bold]{report}[/]")


def _voxel_size_of(slices: Path, *, wait: bool) -> VoxelSize:
    """Return the voxel size that the file names state; never assume one."""
    clock = SystemClock()
    while True:
        names = sorted(path.name for path in slices.iterdir() if not path.name.startswith("."))
        found = next((size for name in names if (size := voxel_size_in_name(name)) is not None), None)
        if found:
            return found
        if names or not wait:
            raise typer.BadParameter("the file names state no voxel size: give --voxel-nm Z,Y,X")
        clock.wait(1.0)


def _separation(count: int, method: str, counted_as: str) -> dict[str, Any]:
    """Return the settings of the separation of chromosomes."""
    return {"chromosomes": count, "chromosomes_method": method, "chromosomes_as": counted_as}


def _area(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"--nucleus-area-um2 {text!r}: give MIN,MAX such as 4.8,16") from error
    return low, high
