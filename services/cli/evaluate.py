"""The verb that scores a run, or a folder of label images, against the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.console import OUT

if TYPE_CHECKING:
    from services.evaluation.comparison import Settings
    from services.evaluation.folders import Folders


def evaluate(
    predicted: Annotated[
        Path | None, typer.Argument(metavar="PREDICTION", help="OUT of a run, or a folder of label TIFFs")
    ] = None,
    true: Annotated[
        Path | None,
        typer.Argument(metavar="TRUTH", help="truth/ of a simulation, a folder of label TIFFs, or annotated images"),
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="TRUTH, by name")] = None,
    prediction: Annotated[Path | None, typer.Option(help="PREDICTION, by name")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the scores here as JSON")] = None,
    report: Annotated[Path | None, typer.Option(help="write one HTML page here; label images only")] = None,
    images: Annotated[Path | None, typer.Option(help="what was segmented, for the page's pictures")] = None,
    confidence: Annotated[Path | None, typer.Option(help="probabilities of the prediction, for calibration")] = None,
    curves: Annotated[Path | None, typer.Option(help="curves.csv of the training, for the page")] = None,
    classes: Annotated[str | None, typer.Option(help="names of classes 0, 1, ..., comma between")] = None,
    thin: Annotated[str | None, typer.Option(help="names of the classes to score by clDice, comma between")] = None,
    tolerance_px: Annotated[float, typer.Option(help="of the boundary F")] = 2.0,
    resamples: Annotated[int, typer.Option(min=0, help="of the bootstrap over images")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="of the bootstrap")] = 0,
    partial: Annotated[bool, typer.Option("--partial", help="leave out images that were not predicted")] = False,
) -> None:
    """Score a run, or a folder of label images, against the truth."""
    from services.evaluation.comparison import Settings
    from services.evaluation.folders import Folders
    from services.evaluation.reading import label_images
    from services.trainer.annotations.dataset import refuse_queue

    found, known = _one(predicted, prediction, "PREDICTION"), _one(true, truth, "TRUTH")
    refuse_queue(known)
    names = _class_names(known, classes)
    settings = Settings(names, tolerance_px=tolerance_px, resamples=resamples, seed=seed)
    if thin is not None:
        settings = Settings(names, frozenset(_known(thin, names)), tolerance_px, resamples, seed)
    if _is_dataset(known):
        folders = Folders(known / "labels", found, confidence, images or known / "images", partial)
    else:
        folders = Folders(known, found, confidence, images, partial)
    folders = replace(folders, no_truth=_pseudo_labelled(folders.truth.parent))
    if known.is_dir() and (_is_dataset(known) or label_images(known)):
        content = _of_images(folders, settings, report, curves)
    elif report or curves or images or confidence or classes or thin or partial:
        raise typer.BadParameter(f"{known} holds no label images: a run takes no option but --json")
    else:
        content = _of_run(known, found)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _one(placed: Path | None, named: Path | None, what: str) -> Path:
    if (placed is None) == (named is None):
        raise typer.BadParameter(f"say {what} once: fibsem-nuclei evaluate PREDICTION TRUTH")
    return placed or named or Path()


def _is_dataset(folder: Path) -> bool:
    return (folder / "dataset.json").is_file()


def _class_names(truth: Path, said: str | None) -> dict[int, str]:
    """Return names as said, as in a data set, or of the program's own classes; ids without a name get one."""
    from services.contracts.classes import LabelClass
    from services.trainer.annotations.dataset import read_dataset

    if said is not None:
        names = [name.strip() for name in said.split(",")]
        if len(names) < 2 or not all(names) or len(set(names)) < len(names):
            raise typer.BadParameter(f"--classes {said}: say at least two names, all different, comma between")
        return dict(enumerate(names))
    if _is_dataset(truth):
        known = {c.class_id: str(c.name) for c in read_dataset(truth).manifest.classes}
        return {label: known.get(label, f"class_{label}") for label in range(max(known) + 1)}
    return {int(label): label.label for label in LabelClass}


def _pseudo_labelled(truth: Path) -> frozenset[str]:
    """Return the label files that networks proposed, if this is a data set, and say that they are left out."""
    from services.trainer.annotations.dataset import read_dataset

    if not _is_dataset(truth):
        return frozenset()
    names = read_dataset(truth).manifest.pseudo_labelled
    if names:
        OUT.print(f"{len(names)} pseudo-labelled images of {truth} are no truth and are left out", soft_wrap=True)
    return frozenset(f"{name}.tif" for name in names)


def _known(said: str, names: dict[int, str]) -> list[str]:
    thin = [name.strip() for name in said.split(",") if name.strip()]
    strange = sorted(set(thin) - set(names.values()))
    if strange:
        raise typer.BadParameter(f"--thin {strange[0]}: classes are {', '.join(names.values())}")
    return thin


def _of_images(folders: Folders, settings: Settings, report: Path | None, curves: Path | None) -> dict[str, object]:
    from services.evaluation.comparison_text import format_comparison
    from services.evaluation.folders import compare_folders, told_masks
    from services.evaluation.page import write_page

    table = curves.read_text(encoding="utf-8") if curves else None
    folders = told_masks(folders, settings)
    for place in sorted(folders.masks):
        OUT.print(f"{place} holds masks, 0 and 255: 255 is taken for {settings.class_names[1]}", soft_wrap=True)
    with OUT.status("comparing"):
        scores = compare_folders(folders, settings)
    OUT.print(format_comparison(scores), markup=False, highlight=False, soft_wrap=True)
    if report:
        OUT.print(f"report: {write_page(scores, folders, report, table)}", markup=False, highlight=False)
    return scores.as_json()


def _of_run(truth: Path, prediction: Path) -> dict[str, object]:
    from services.evaluation import evaluate as score
    from services.evaluation import format_scores

    with OUT.status("comparing"):
        scores = score(truth, prediction)
    OUT.print(format_scores(scores), markup=False, highlight=False)
    return scores.as_json()
