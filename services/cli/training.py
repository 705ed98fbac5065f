"""Verbs about trainings that a deployed system does: request, status, cancel."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from services.cli.console import OUT
from services.cli.sites import settings_file

training_app = typer.Typer(
    help="Have a deployed system train networks, and see how they come on.", no_args_is_help=True
)

WHERE_HELP = "a file with the settings of a deployed system, or `stack` for the one of the FIBSEM_* variables"
System = Annotated[Path, typer.Argument(help=WHERE_HELP)]


class LocalTrainingError(ValueError):
    """The folder of a run was named, where no trainer listens."""


class UnknownTrainingError(LookupError):
    """Nobody asked for a training of that name."""


def _settings(where: Path) -> Path | None:
    if where.is_dir():
        raise LocalTrainingError(
            f"{where} is a local run: train on this machine by `fibsem-nuclei train RECIPE --out DIR`"
        )
    return settings_file(where)


@training_app.command(
    "request",
    epilog="Examples: fibsem-nuclei training request stack nuclei/recipe.toml; "
    "fibsem-nuclei training request site.env recipe.toml --name sc-3 --by anna",
)
def request(
    where: System,
    recipe: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="recipe (TOML), beside what it names")],
    name: Annotated[
        str | None, typer.Option(help="of the request; default: the recipe's, and a hash of it and of all it names")
    ] = None,
    by: Annotated[str, typer.Option("--by", help="who asks; goes into the record")] = "operator",
) -> None:
    """Send a recipe and the data set that it names to the trainer."""
    from services.deployed.stack import connected
    from services.runtime.handler import Publication
    from services.runtime.service import outgoing
    from services.trainer.requests import TrainingBox

    settings = _settings(where)
    _refuse_what_cannot_be_read(recipe)
    called = name or _name_of(recipe)
    with connected(settings) as stack, OUT.status("sending what the recipe names"):
        message = TrainingBox(stack.store).ask(recipe, called, by)
        producer = stack.bus.producer()
        producer.publish([outgoing(Publication("training-requests", message))])
        producer.close()
    OUT.print(f"asked for {called}; `training status {where}` shows how it comes on")


@training_app.command("status", epilog="Example: fibsem-nuclei training status stack")
def status(
    where: System,
    name: Annotated[str | None, typer.Argument(help="of a request; default: all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show how far trainings are, or how they ended."""
    from services.deployed.stack import connected
    from services.trainer.requests import TrainingBox

    with connected(_settings(where)) as stack:
        box = TrainingBox(stack.store)
        found = [box.standing(each) for each in box.names() if name in {None, each}]
    if name is not None and not found:
        raise UnknownTrainingError(f"nobody asked for {name!r}: see `training status {where}`")
    if as_json:
        OUT.print_json(json.dumps([standing.model_dump(mode="json", exclude_none=True) for standing in found]))
        return
    for standing in found:
        OUT.print(standing.line(), markup=False, highlight=False, soft_wrap=True)


@training_app.command(
    "cancel", epilog="Example: fibsem-nuclei training cancel stack recipe-0123abcd --reason 'old data'"
)
def cancel(
    where: System,
    name: Annotated[str, typer.Argument(help="of the request")],
    reason: Annotated[str, typer.Option(help="goes into the record")] = "on request",
    by: Annotated[str, typer.Option("--by", help="who decides; goes into the record")] = "operator",
) -> None:
    """Say that a training is not wanted any more; one that goes on ends after its batch. A recorded decision."""
    from services.deployed.stack import connected
    from services.trainer.requests import Cancellation, TrainingBox

    with connected(_settings(where)) as stack:
        box = TrainingBox(stack.store)
        if name not in box.names():
            raise UnknownTrainingError(f"nobody asked for {name!r}: see `training status {where}`")
        box.cancel(name, Cancellation(decided_by=by, reason=reason))
    OUT.print(f"noted: {name} is not wanted any more")


def _name_of(recipe: Path) -> str:
    """Return the name of a request that is given none: the same only while recipe and data are the same."""
    from services.trainer.requests import digest_of

    return f"{re.sub(r'[^A-Za-z0-9_-]', '-', recipe.stem)}-{digest_of(recipe)}"


def _refuse_what_cannot_be_read(recipe: Path) -> None:
    """Read the recipe before it is sent, where what trains is installed; the trainer reads it in any case."""
    with suppress(ModuleNotFoundError):
        from services.trainer.recipes import read_recipe

        read_recipe(recipe)
