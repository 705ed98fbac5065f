"""Verbs about networks and scores: train, predict, models, evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.console import OUT
from services.cli.evaluate import evaluate
from services.cli.options import SHIPPED_MODELS, voxel_size
from services.cli.train import train

models_app = typer.Typer(help="Show published networks.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command(epilog="Example: fibsem-nuclei evaluate out sim/truth --json scores.json")(evaluate)
    app.command(epilog="Example: fibsem-nuclei train services/trainer/recipes/shipped.toml --out models")(train)
    app.command(epilog="Example: fibsem-nuclei predict models/chromatin-0123456789ab images --out labels")(predict)
    app.add_typer(models_app, name="models")


def predict(
    model: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of a published network")],
    images: Annotated[Path, typer.Argument(exists=True, help="a TIFF or a folder of TIFFs")],
    out: Annotated[Path, typer.Option(help="folder for label images")],
    voxel_nm: Annotated[str | None, typer.Option(help="voxel size Z,Y,X in nm, when it is not the network's")] = None,
) -> None:
    """Write one uint8 label TIFF per image, of the same name and shape; ids as in the network's card."""
    from services.inference.prediction import predict_folder

    with Progress(TextColumn("pages"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=OUT) as bars:
        task = bars.add_task("pages", total=None)
        count = predict_folder(
            model,
            images,
            out,
            voxel_size(voxel_nm) if voxel_nm else None,
            lambda done, total: bars.update(task, completed=done, total=total),
        )
    OUT.print(f"wrote {count} label images to {out}")


@models_app.command("list")
def models_list(
    models: Annotated[Path, typer.Option(help="folder of published networks")] = SHIPPED_MODELS,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List the networks of a folder."""
    from services.inference.catalogue import catalogue

    cards = catalogue(models)
    if as_json:
        OUT.print_json(json.dumps([{"address": card.address, "name": card.name} for card in cards]))
        return
    for card in cards:
        scores = ", ".join(f"{score.name} {score.f1:.3f}" for score in card.scores.classes)
        OUT.print(f"{card.address}  {card.parameters / 1e6:.2f} M parameters, {card.voxel_size_nm:g} nm; F1 {scores}")


@models_app.command("show")
def models_show(
    address: Annotated[str, typer.Argument(help="name or address of a network, as `models list` prints it")],
    models: Annotated[Path, typer.Option(help="folder of published networks")] = SHIPPED_MODELS,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show one network's card; `classes` gives the id of each class by name."""
    from services.inference.catalogue import catalogue

    found = [card for card in catalogue(models) if address in {card.address, card.name}]
    if not found:
        raise typer.BadParameter(f"no network {address!r} in {models}: see `fibsem-nuclei models list`")
    card = found[0]
    content = card.model_dump(mode="json") | {"classes": {c.name: int(c.class_id) for c in card.classes}}
    if as_json:
        OUT.print_json(json.dumps(content))
    else:
        OUT.print(json.dumps(content, indent=2), markup=False)
