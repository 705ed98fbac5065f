"""Verbs for the person who looks after a run: how it stands, what was decided, what was refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from services.cli.console import OUT
from services.cli.display import RunDisplay
from services.contracts.codec import decode
from services.contracts.messages import DeadLettered
from services.embedded.progress import read_status
from services.embedded.settings import STATE, RunSettings, load
from services.ingest.requests import DeclareMissing, ResolveConflict, drop
from services.runtime.bus.port import Outgoing
from services.runtime.bus.replay import replay
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.signals import stop_event_on_signals
from services.runtime.store.directory import DirectoryStore

dead_letters_app = typer.Typer(
    help="Inputs that could not be worked on, with their bytes and reasons.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="OUT of a run")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


class NoRunError(ValueError):
    """The folder holds no run."""


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command(epilog="Example: fibsem-nuclei status roi1")(status)
    app.command(epilog="Example: fibsem-nuclei ledger roi1 --json")(ledger)
    app.command(
        "declare-missing", epilog="Example: fibsem-nuclei declare-missing roi1 412 413 --reason 'milling stopped'"
    )(declare_missing)
    app.command("resolve-conflict", epilog="Example: fibsem-nuclei resolve-conflict roi1 88 3f2a...")(resolve_conflict)
    app.command(epilog="Example: fibsem-nuclei reconcile roi1")(reconcile)
    app.command(epilog="Example: fibsem-nuclei verify roi1")(verify)
    app.add_typer(dead_letters_app, name="dead-letters")


def status(out: Folder, as_json: AsJson = False) -> None:
    """Show how far a run is, whether it works at this moment or was stopped."""
    settings, found = _settings(out), read_status(out / STATE)
    if as_json:
        OUT.print_json(json.dumps({"acquisition": settings.acquisition, **found}))
        return
    OUT.print(f"acquisition {settings.acquisition}, slices in {', '.join(map(str, settings.slices))}", soft_wrap=True)
    OUT.print(found["line"] if found else "nothing was worked on yet", markup=False, highlight=False, soft_wrap=True)


def ledger(out: Folder, as_json: AsJson = False) -> None:
    """Show both ledgers: what became of every file, and of every z; both sums always close."""
    _settings(out)
    books = read_status(out / STATE).get("ledger", {})
    if as_json:
        OUT.print_json(json.dumps(books))
        return
    for name, book in books.items():
        table = Table("state", "number", title=name)
        for state, number in book.items():
            table.add_row(state.replace("_", " "), str(number))
        OUT.print(table)
    if (out / "ledger.csv").exists():
        OUT.print(f"every file and z: {out / 'ledger.csv'}")


def declare_missing(
    out: Folder,
    z_first: Annotated[int, typer.Argument(min=0, help="first z that will not come")],
    z_last: Annotated[int | None, typer.Argument(min=0, help="last one; default: the same")] = None,
    reason: Annotated[str, typer.Option(help="goes into the record")] = "declared by the operator",
) -> None:
    """Say that slices will not come, so that a waiting run goes on without them; a recorded decision."""
    last = z_first if z_last is None else z_last
    drop(_requests(out), DeclareMissing(z_first=z_first, z_last=last, reason=reason))
    OUT.print(f"noted: z {z_first} to {last} will not come; a running `run` goes on, a stopped one when it is started")


def resolve_conflict(
    out: Folder,
    z: Annotated[int, typer.Argument(min=0, help="the z that two different files give")],
    sha256: Annotated[str, typer.Argument(help="hash of the file to take, as in ledger.csv")],
    reason: Annotated[str, typer.Option(help="goes into the record")] = "resolved by the operator",
) -> None:
    """Choose between two files that give one z with different bytes; a recorded decision."""
    drop(_requests(out), ResolveConflict(z=z, sha256=sha256, reason=reason))
    OUT.print(f"noted: z {z} is {sha256[:12]}")


def reconcile(out: Folder) -> None:
    """Rebuild the bus from the store alone, after it was lost or damaged; results stay the same."""
    from services.embedded.run import Surroundings, rebuild_bus

    settings = _settings(out)
    with stop_event_on_signals() as stop, RunDisplay(OUT) as display:
        progress = rebuild_bus(out, settings, Surroundings(stop, display.show))
    OUT.print(f"rebuilt: {progress.line()}", markup=False, highlight=False, soft_wrap=True)


def verify(out: Folder) -> None:
    """Check every result against MANIFEST.sha256."""
    from services.results.manifest import verify as verify_results

    differences = verify_results(out)
    for difference in differences:
        OUT.print(str(difference), markup=False, soft_wrap=True)
    if differences:
        raise typer.Exit(1)
    OUT.print("every result is what the manifest says")


@dead_letters_app.command("list")
def dead_letters_list(out: Folder, as_json: AsJson = False) -> None:
    """List what was refused, and why."""
    letters = list(_letters(out))
    if as_json:
        OUT.print_json(json.dumps([letter.model_dump(mode="json") for letter in letters]))
        return
    table = Table("service", "what", "reason", "detail", "bytes", "tries")
    for letter in letters:
        size = f"{letter.original.size_bytes}"
        table.add_row(letter.service, letter.subject, letter.reason, letter.detail, size, str(letter.attempts))
    OUT.print(table if letters else "nothing was refused")


@dead_letters_app.command("export")
def dead_letters_export(
    out: Folder, folder: Annotated[Path, typer.Argument(help="folder for bytes and reasons")]
) -> None:
    """Write the refused bytes and a JSON with the reason for each."""
    folder.mkdir(parents=True, exist_ok=True)
    store = DirectoryStore(out / STATE / "store", reference_files=True)
    count = 0
    for letter in _letters(out):
        name = f"{letter.service}-{letter.original.sha256[:16]}-{letter.reason}"
        (folder / f"{name}.bin").write_bytes(store.get(letter.original))
        (folder / f"{name}.json").write_text(letter.model_dump_json(indent=2) + "\n")
        count += 1
    OUT.print(f"wrote {count} dead letters to {folder}")


@dead_letters_app.command("reinject")
def dead_letters_reinject(out: Folder) -> None:
    """Put refused messages on their topics again, after what refused them was mended.

    A refused file needs no reinjection: replace it in its folder, and the run sees the new one.
    """
    store = DirectoryStore(out / STATE / "store", reference_files=True)
    with _bus(out) as bus:
        letters = [letter for letter in _letters(out) if letter.service != "ingest"]
        records = [
            Outgoing(letter.origin.split("/")[0], letter.message_key, letter.message_type, store.get(letter.original))
            for letter in letters
        ]
        producer = bus.producer()
        producer.publish(records)
        producer.close()
    OUT.print(f"put {len(records)} messages back; a running `run` takes them up, a stopped one when it is started")


def _settings(out: Path) -> RunSettings:
    settings = load(out)
    if settings is None:
        raise NoRunError(f"{out} holds no run: give the --out of `fibsem-nuclei run`")
    return settings


def _requests(out: Path) -> Path:
    _settings(out)
    return out / STATE / "requests"


@contextmanager
def _bus(out: Path) -> Iterator[SqliteBus]:
    _settings(out)
    bus = SqliteBus(out / STATE / "bus.sqlite")
    try:
        yield bus
    finally:
        bus.close()


def _letters(out: Path) -> Iterator[DeadLettered]:
    with _bus(out) as bus:
        seen = set()
        for record in replay(bus, ("dead-letters",)):
            message = decode(record.message_type, record.payload)
            if isinstance(message, DeadLettered) and message.identity not in seen:
                seen.add(message.identity)
                yield message
