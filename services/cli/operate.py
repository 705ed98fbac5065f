"""Verbs that look after acquisitions, local or deployed: status, ledger, decisions, dead letters, collect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from services.cli.advising import advice_of
from services.cli.console import OUT, progress_bar
from services.cli.display import RunDisplay
from services.cli.sites import AcquisitionName, Where, local_settings, settings_file, site_of
from services.imaging.forecasting.wording import sentences
from services.ingest.requests import DeclareMissing, FinishAcquisition, ResolveConflict
from services.runtime.bus.port import Outgoing
from services.runtime.clock import SystemClock
from services.runtime.signals import stop_event_on_signals

LOOK_EVERY_S = 2.0
STOPPED = 143

dead_letters_app = typer.Typer(
    help="Inputs that could not be worked on, with their bytes and reasons.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Reason = Annotated[str, typer.Option(help="goes into the record")]


class IncompleteError(RuntimeError):
    """The acquisition is not complete."""


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command(epilog="Examples: fibsem-nuclei status roi1; fibsem-nuclei status stack --json")(status)
    app.command(epilog="Example: fibsem-nuclei ledger roi1 --json")(ledger)
    app.command(epilog="Example: fibsem-nuclei finish roi1")(finish)
    app.command(
        "declare-missing", epilog="Example: fibsem-nuclei declare-missing roi1 412 413 --reason 'milling stopped'"
    )(declare_missing)
    app.command("resolve-conflict", epilog="Example: fibsem-nuclei resolve-conflict roi1 88 3f2a...")(resolve_conflict)
    app.command(
        epilog="Examples: fibsem-nuclei collect stack --out roi1 --wait; fibsem-nuclei collect site.env --out roi1. "
        "For other networks afterwards: fibsem-nuclei collect stack --out roi1 --computed --slices /data/ROI1, then "
        "fibsem-nuclei models backfill roi1 chromatin-0123456789ab --out roi1-again"
    )(collect)
    app.command(epilog="Example: fibsem-nuclei reconcile roi1")(reconcile)
    app.command(epilog="Example: fibsem-nuclei verify roi1")(verify)
    app.add_typer(dead_letters_app, name="dead-letters")


def status(where: Where, as_json: AsJson = False, acquisition: AcquisitionName = None) -> None:
    """Show how far a run is, whether it works at this moment or was stopped."""
    with site_of(where, acquisition) as site:
        settings, found, advice = site.settings, site.ask(), advice_of(site)
    said = sentences(advice, planned_last_z=settings.last_z) if advice else []
    if as_json:
        OUT.print_json(json.dumps({"acquisition": settings.acquisition, **found, "advice": said}))
        return
    OUT.print(f"acquisition {settings.acquisition}, slices in {', '.join(map(str, settings.slices))}", soft_wrap=True)
    OUT.print(found["line"] if found else "nothing was worked on yet", markup=False, highlight=False, soft_wrap=True)
    for sentence in said:
        OUT.print(f"- {sentence}", markup=False, highlight=False, soft_wrap=True)


def ledger(where: Where, as_json: AsJson = False, acquisition: AcquisitionName = None) -> None:
    """Show both ledgers: what became of every file, and of every z; both sums always close."""
    with site_of(where, acquisition) as site:
        books = site.ask().get("ledger", {})
    if as_json:
        OUT.print_json(json.dumps(books))
        return
    for name, book in books.items():
        table = Table("state", "number", title=name)
        for state, number in book.items():
            table.add_row(state.replace("_", " "), str(number))
        OUT.print(table)
    if (where / "ledger.csv").exists():
        OUT.print(f"every file and z: {where / 'ledger.csv'}")


def finish(where: Where, acquisition: AcquisitionName = None) -> None:
    """Say that a watched acquisition has ended; what is there is completed (`run --watch` then exits)."""
    with site_of(where, acquisition) as site:
        site.requests.leave(FinishAcquisition())
    OUT.print("noted: the run completes what is there and exits")


def declare_missing(
    where: Where,
    z_first: Annotated[int, typer.Argument(min=0, help="first z that will not come")],
    z_last: Annotated[int | None, typer.Argument(min=0, help="last one; default: the same")] = None,
    reason: Reason = "declared by the operator",
    acquisition: AcquisitionName = None,
) -> None:
    """Say that slices will not come, so that a waiting run goes on without them; a recorded decision."""
    last = z_first if z_last is None else z_last
    with site_of(where, acquisition) as site:
        site.requests.leave(DeclareMissing(z_first=z_first, z_last=last, reason=reason))
    OUT.print(f"noted: z {z_first} to {last} will not come; a running `run` goes on, a stopped one when it is started")


def resolve_conflict(
    where: Where,
    z: Annotated[int, typer.Argument(min=0, help="the z that two different files give")],
    sha256: Annotated[str, typer.Argument(help="hash of the file to take, as in ledger.csv")],
    reason: Reason = "resolved by the operator",
    acquisition: AcquisitionName = None,
) -> None:
    """Choose between two files that give one z with different bytes; a recorded decision."""
    with site_of(where, acquisition) as site:
        site.requests.leave(ResolveConflict(z=z, sha256=sha256, reason=reason))
    OUT.print(f"noted: z {z} is {sha256[:12]}")


def collect(
    where: Where,
    out: Annotated[Path, typer.Option(help="folder for the results")] = Path("out/collected"),
    wait: Annotated[bool, typer.Option(help="wait until the acquisition is complete")] = False,
    partial: Annotated[bool, typer.Option(help="collect what is there of one that is not complete")] = False,
    computed: Annotated[
        bool,
        typer.Option("--computed", help="and what was computed on the way, for `amend` and `models backfill` of --out"),
    ] = False,
    slices: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="where the slices lie from here; default: where ingest reads"),
    ] = None,
    acquisition: AcquisitionName = None,
) -> None:
    """Bring the results of a deployed system into a folder: the same files as those of a local run."""
    from services.deployed.collecting import bring_computed
    from services.deployed.collecting import collect as bring
    from services.deployed.stack import connected
    from services.deployed.standing import standing
    from services.ingest.registry import settings_of
    from services.report import write_report

    clock = SystemClock()
    with stop_event_on_signals() as stop, connected(settings_file(where)) as stack:
        settings = settings_of(stack.store, acquisition)
        while not (found := standing(stack, settings.acquisition)).complete and not partial:
            OUT.print(found.line(), markup=False, highlight=False, soft_wrap=True)
            if not wait:
                raise IncompleteError("not complete yet: --wait waits for the end, --partial collects what is there")
            if clock.wait(LOOK_EVERY_S, stop):
                raise typer.Exit(STOPPED)
        with OUT.status("collecting"):
            manifest = bring(stack, settings, out, slices)
        if computed:
            with progress_bar("artefacts") as say:
                bring_computed(stack, settings.acquisition, out, say)
    with OUT.status("writing the report"):
        report = write_report(out)
    OUT.print(f"{found.line()}\nmanifest: {manifest}\nreport: [bold]{report}[/]", soft_wrap=True)


def reconcile(where: Where) -> None:
    """Rebuild the bus from the store alone, after it was lost or damaged; results stay the same."""
    if not where.is_dir():
        from services.deployed.rebuilding import reconcile as say_again
        from services.deployed.stack import connected

        with connected(settings_file(where)) as stack:
            counts = say_again(stack)
        OUT.print(
            f"said again: {', '.join(f'{count} messages of {name}' for name, count in counts.items()) or 'nothing'}"
        )
        return
    from services.embedded.run import Surroundings, rebuild_bus

    settings = local_settings(where)
    with stop_event_on_signals() as stop, RunDisplay(OUT) as display:
        progress = rebuild_bus(where, settings, Surroundings(stop, display.show))
    OUT.print(f"rebuilt: {progress.line()}", markup=False, highlight=False, soft_wrap=True)


def verify(out: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of results")]) -> None:
    """Check every result against MANIFEST.sha256."""
    from services.results.manifest import verify as verify_results

    differences = verify_results(out)
    for difference in differences:
        OUT.print(str(difference), markup=False, soft_wrap=True)
    if differences:
        raise typer.Exit(1)
    OUT.print("every result is what the manifest says")


@dead_letters_app.command("list")
def dead_letters_list(where: Where, as_json: AsJson = False, acquisition: AcquisitionName = None) -> None:
    """List what was refused, and why."""
    with site_of(where, acquisition) as site:
        letters = list(site.dead_letters())
    if as_json:
        OUT.print_json(json.dumps([letter.model_dump(mode="json") for letter in letters]))
        return
    table = Table("service", "what", "reason", "detail", "bytes", "tries")
    for letter in letters:
        size = f"{letter.original.size_bytes}"
        cells = (letter.service, letter.subject, letter.reason, letter.detail, size, str(letter.attempts))
        # Names come from the share: nobody there writes markup of ours.
        table.add_row(*map(Text, cells))
    OUT.print(table if letters else "nothing was refused")


@dead_letters_app.command("export")
def dead_letters_export(
    where: Where,
    folder: Annotated[Path, typer.Argument(help="folder for bytes and reasons")],
    acquisition: AcquisitionName = None,
) -> None:
    """Write the refused bytes and a JSON with the reason for each."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with site_of(where, acquisition) as site:
        for letter in site.dead_letters():
            name = f"{letter.service}-{letter.original.sha256[:16]}-{letter.reason}"
            (folder / f"{name}.bin").write_bytes(site.store.get(letter.original))
            (folder / f"{name}.json").write_text(letter.model_dump_json(indent=2) + "\n")
            count += 1
    OUT.print(f"wrote {count} dead letters to {folder}")


@dead_letters_app.command("reinject")
def dead_letters_reinject(where: Where, acquisition: AcquisitionName = None) -> None:
    """Put refused messages that nobody has dealt with on their topics again, after what refused them was mended.

    A refused file needs no reinjection: replace it in its folder, and the run sees the new one.
    """
    with site_of(where, acquisition) as site, site.open_dead_letters() as letters:
        records = [
            Outgoing(
                letter.origin.split("/")[0], letter.message_key, letter.message_type, site.store.get(letter.original)
            )
            for letter in letters
            if letter.service != "ingest"
        ]
        producer = site.bus.producer()
        producer.publish(records)
        producer.close()
    OUT.print(f"put {len(records)} messages back; a running `run` takes them up, a stopped one when it is started")


@dead_letters_app.command("dismiss")
def dead_letters_dismiss(where: Where, acquisition: AcquisitionName = None) -> None:
    """Say that the dead letters of now were dealt with, so that they raise no alert; they stay listed."""
    with site_of(where, acquisition) as site, site.open_dead_letters() as letters:
        pass
    OUT.print(f"{len(letters)} dead letters were dealt with")
