"""The verb that sets what a service of a deployed system reads next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.console import OUT
from services.cli.sites import Where, settings_file
from services.runtime.bus.port import LogEnd


class LocalRunError(ValueError):
    """A local run loses no place: its bus keeps every record."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(
        epilog="Example, with the service stopped: fibsem-nuclei rewind stack inference; then start it, and: "
        "fibsem-nuclei reconcile stack"
    )(rewind)


def rewind(
    where: Where,
    group: Annotated[str, typer.Argument(help="the service, as `status` names it: inference, postprocess, ...")],
    to: Annotated[
        LogEnd, typer.Option(help="earliest: everything is read again, which changes no result; latest: nothing is")
    ] = LogEnd.EARLIEST,
) -> None:
    """Set what a stopped service reads next, after the bus lost the place where it was (alert OffsetReset)."""
    from services.deployed.rewinding import rewind as place
    from services.deployed.stack import connected

    if where.is_dir():
        raise LocalRunError(f"{where} is a local run, whose bus keeps everything: use `reconcile {Path(where).name}`")
    with connected(settings_file(where)) as stack:
        placed = place(stack, group, to)
        waiting = stack.waiting_for(group)
    OUT.print(f"{group} goes on at the {to.value} record of {len(placed)} partitions; {waiting} messages wait for it")
