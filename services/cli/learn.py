"""Verbs about networks and scores: train, predict, evaluate; `models` and `training` have files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli.console import OUT
from services.cli.evaluate import evaluate
from services.cli.models import models_app
from services.cli.options import voxel_size
from services.cli.train import train

_PREDICT_EXAMPLES = """Examples:

fibsem-nuclei predict models/chromatin-0123456789ab images --out labels

fibsem-nuclei predict models/chromatin-0123456789ab images --out labels --confidence sure

fibsem-nuclei evaluate labels truth --confidence sure
"""


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command(epilog="Example: fibsem-nuclei evaluate out sim/truth --json scores.json")(evaluate)
    app.command(epilog="Example: fibsem-nuclei train services/trainer/recipes/shipped.toml --out models")(train)
    app.command(epilog=_PREDICT_EXAMPLES)(predict)
    app.add_typer(models_app, name="models")


def predict(
    model: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="folder of a published network, or of several")
    ],
    images: Annotated[Path, typer.Argument(exists=True, help="a TIFF or a folder of TIFFs")],
    out: Annotated[Path, typer.Option(help="folder for label images")],
    voxel_nm: Annotated[str | None, typer.Option(help="voxel size Z,Y,X in nm, when it is not the network's")] = None,
    confidence: Annotated[
        Path | None, typer.Option(help="folder for TIFFs of how sure the labels are, 255 for 1; for `evaluate`")
    ] = None,
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
            confidence,
        )
    OUT.print(f"wrote {count} label images to {out}")
