"""Verbs about annotations: import them into a data set, check it, divide it, show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.console import ERR, OUT, progress_bar
from services.cli.options import voxel_size
from services.cli.review import register_review

if TYPE_CHECKING:
    from services.trainer.annotations.dataset import AnnotatedDataset
    from services.trainer.annotations.findings import Finding
    from services.trainer.splits import Leak, Sample, Split

annotations_app = typer.Typer(
    help="Turn what an annotation tool wrote into a checked data set to train on.", no_args_is_help=True
)
_IMPORT_EXAMPLES = """Examples:

fibsem-nuclei annotations import slices/ --masks labels/ --map classes.toml --out annotated

fibsem-nuclei annotations import slices/ --masks instances.json --map coco.toml --out annotated --outlines nuclei/

fibsem-nuclei annotations import stack.tif --masks annotation.zip --map wk.toml --out annotated --voxel-nm 8,4,4

fibsem-nuclei annotations import slices/ --masks labels/        (lists the values found, to begin a class map with)
"""
_SPLIT_EXAMPLES = """Examples:

fibsem-nuclei annotations split annotated --out split.json

fibsem-nuclei annotations split annotated --out parity.json --by image

fibsem-nuclei annotations split annotated --out split.json --by z-block --distance-nm 200 --seed 3
"""

Dataset = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of an annotated data set")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
SplitFile = Annotated[Path | None, typer.Option("--split", exists=True, help="what `annotations split` wrote")]
DistanceNm = Annotated[float, typer.Option(min=0, help="images of a nucleus that are nearer in z must be in one part")]


def import_(
    images: Annotated[Path, typer.Argument(exists=True, help="folder of images, or one image or stack")],
    masks: Annotated[Path, typer.Option(exists=True, help="folder of masks, one mask, COCO .json, or webKnossos .zip")],
    class_map: Annotated[
        Path | None,
        typer.Option("--map", exists=True, dir_okay=False, help="class map (TOML); see docs/annotations.md"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the data set")] = None,
    outlines: Annotated[
        Path | None, typer.Option(exists=True, help="outlines of nuclei: masks (not 0 is inside) or COCO .json")
    ] = None,
    voxel_nm: Annotated[str | None, typer.Option(help="voxel size Z,Y,X in nm; default: what the files say")] = None,
    skip_bad: Annotated[bool, typer.Option(help="leave faulty files out instead of refusing all")] = False,
    replace: Annotated[bool, typer.Option(help="replace a data set that is there")] = False,
    allow_empty_classes: Annotated[bool, typer.Option(help="classes may have no pixel in any image")] = False,
    report: Annotated[bool, typer.Option(help="write OUT/report.html")] = True,
    as_json: AsJson = False,
) -> None:
    """Import images and masks into a data set; every file is checked, and nothing is written when one is faulty."""
    from services.trainer.annotations.class_map import parse_class_map
    from services.trainer.annotations.importing import ImportOrder, import_annotations

    if class_map is None:
        _propose_map(masks)
        raise typer.Exit(2)
    if out is None:
        raise typer.BadParameter("--out: name a folder for the data set")
    order = ImportOrder(
        images=images,
        masks=masks,
        class_map=parse_class_map(class_map.read_text(encoding="utf-8")),
        out=out,
        outlines=outlines,
        voxel_size=voxel_size(voxel_nm) if voxel_nm else None,
        skip_bad=skip_bad,
        replace=replace,
        allow_empty_classes=allow_empty_classes,
    )
    with progress_bar("importing") as told:
        dataset = import_annotations(order, told)
    _tell_of(dataset, out, report=report, as_json=as_json)


def check(
    dataset: Dataset, split_file: SplitFile = None, distance_nm: DistanceNm = 100.0, as_json: AsJson = False
) -> None:
    """Check that a data set is as it was imported and, with --split, that nothing leaks; exit status 1 if not."""
    from services.trainer.annotations.dataset import read_dataset, verify
    from services.trainer.annotations.findings import errors_of

    opened = read_dataset(dataset)
    with OUT.status("checking") if not as_json else _nothing():
        findings = list(verify(opened))
    found = _leaks_in(opened, split_file, distance_nm) if split_file else ()
    if as_json:
        content = {
            "findings": [finding.model_dump(mode="json") for finding in findings],
            "leaks": [leak.model_dump(mode="json") for leak in found],
        }
        OUT.print_json(json.dumps(content))
    else:
        _print_findings(findings)
        _print_leaks(found)
        OUT.print(f"{len(opened.manifest.images)} images, {len(findings)} findings, {len(found)} leaks")
    if errors_of(findings) or found:
        raise typer.Exit(1)


def split(
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="file for the split (JSON)")],
    by: Annotated[
        Literal["place", "nucleus", "z-block", "image"],
        typer.Option(help="place: whole nuclei if there are enough, else z-block; image: at random, as the manuscript"),
    ] = "place",
    seed: Annotated[int, typer.Option(min=0, help="same seed, same parts")] = 0,
    test: Annotated[float, typer.Option(help="share of the images for testing")] = 0.1,
    validation: Annotated[float, typer.Option(help="share for validation; by image: of what is left")] = 0.1,
    distance_nm: DistanceNm = 100.0,
    as_json: AsJson = False,
) -> None:
    """Divide a data set into training, validation and test, and say what leaks."""
    from services.trainer import splits
    from services.trainer.annotations.dataset import read_dataset

    opened = read_dataset(dataset)
    samples, planes = _samples(opened), _planes(opened, distance_nm)
    divide = {
        "place": splits.split_by_place,
        "nucleus": splits.split_by_nucleus,
        "z-block": splits.split_by_block,
        "image": splits.split_by_image,
    }[by]
    made = divide(samples, splits.SplitRule(seed, test, validation, planes))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")
    found = splits.leaks(made, samples, planes)
    if as_json:
        content = made.model_dump(mode="json") | {"leaks": [leak.model_dump(mode="json") for leak in found]}
        OUT.print_json(json.dumps(content))
        return
    _print_split(opened, made)
    _print_leaks(found)
    OUT.print(f"wrote {out}", soft_wrap=True)


def extend(
    dataset: Dataset,
    queues: Annotated[list[Path], typer.Argument(exists=True, file_okay=False, help="review queues")],
    out: Annotated[Path, typer.Option(help="folder for the new data set")],
    replace: Annotated[bool, typer.Option(help="replace a data set that is there")] = False,
    report: Annotated[bool, typer.Option(help="write OUT/report.html")] = True,
    as_json: AsJson = False,
) -> None:
    """Make a data set of DATASET's annotations and of what was accepted in review queues; both stay as they are.

    Accepted images are learned from and never judge: splits put them into the training part only.
    """
    from services.trainer.annotations.dataset import read_dataset
    from services.trainer.annotations.extending import ExtensionOrder
    from services.trainer.annotations.extending import extend as extend_dataset
    from services.trainer.annotations.queues import read_queue

    order = ExtensionOrder(read_dataset(dataset), [read_queue(folder) for folder in queues], out, replace)
    with progress_bar("writing") as told:
        extended = extend_dataset(order, told)
    _tell_of(extended, out, report=report, as_json=as_json)


def show(
    dataset: Dataset,
    out: Annotated[Path | None, typer.Option(help="page to write; default: report.html in the data set")] = None,
    split_file: SplitFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a data set: a table, and a page with every pair as an overlay, those with warnings first."""
    from services.trainer.annotations.dataset import read_dataset
    from services.trainer.annotations.page import write_page
    from services.trainer.splits import Split

    opened = read_dataset(dataset)
    if as_json:
        OUT.print_json(opened.manifest.model_dump_json())
        return
    parts = Split.model_validate_json(split_file.read_bytes()).part_of if split_file else {}
    page = out or dataset / "report.html"
    with progress_bar("drawing") as told:
        write_page(opened, page, {name: part.value for name, part in parts.items()}, told)
    _print_dataset(opened)
    OUT.print(f"wrote {page}", soft_wrap=True)


def _propose_map(masks: Path) -> None:
    """Print the values of masks, as the beginning of a class map."""
    from services.trainer.annotations.proposing import proposed_map

    ERR.print("no class map: name one with --map. These are the values found; give each a class:", style="bold")
    OUT.print(proposed_map(masks), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _samples(dataset: AnnotatedDataset) -> list[Sample]:
    from services.trainer.splits import Sample

    return [
        Sample(image.name, image.nucleus, image.z, image.similar, image.pseudo_label is not None)
        for image in dataset.manifest.images
    ]


def _planes(dataset: AnnotatedDataset, distance_nm: float) -> int:
    from services.trainer.splits import distance_in_planes

    size = dataset.manifest.voxel_size
    if size is None:
        ERR.print("voxel size unknown: planes are taken to be 4 nm apart", style="yellow")
    return distance_in_planes(distance_nm, size.z_nm if size else None)


def _leaks_in(dataset: AnnotatedDataset, split_file: Path, distance_nm: float) -> tuple[Leak, ...]:
    from services.trainer.splits import Split, leaks, refuse_pseudo_judges

    made = Split.model_validate_json(split_file.read_bytes())
    refuse_pseudo_judges(made, _samples(dataset))
    return leaks(made, _samples(dataset), _planes(dataset, distance_nm))


def _tell_of(dataset: AnnotatedDataset, out: Path, *, report: bool, as_json: bool) -> None:
    """Draw the page of a data set that was made, where it is wanted, and say what was made."""
    from services.trainer.annotations.page import write_page

    if report:
        with progress_bar("drawing") as told:
            write_page(dataset, out / "report.html", told=told)
    if as_json:
        OUT.print_json(dataset.manifest.model_dump_json())
        return
    _print_dataset(dataset)
    OUT.print(f"wrote {out}" + (f"; look at {out / 'report.html'}" if report else ""), soft_wrap=True)


def _print_dataset(dataset: AnnotatedDataset) -> None:
    from rich.table import Table

    manifest = dataset.manifest
    table = Table("class", "id", "images", "pixels", box=None)
    for name, count in manifest.pixels().items():
        images = sum(bool(image.pixels.get(name)) for image in manifest.images)
        table.add_row(name, str(manifest.class_ids.get(name, 255)), str(images), f"{count}")
    OUT.print(table)
    _print_findings([*manifest.left_out, *manifest.findings])
    _print_findings([finding for image in manifest.images for finding in image.warnings])
    doubtful = sum(bool(image.warnings) for image in manifest.images)
    OUT.print(f"{len(manifest.images)} images, {doubtful} with warnings, {len(manifest.left_out)} files left out")
    if manifest.pseudo_labelled:
        OUT.print(f"{len(manifest.pseudo_labelled)} images are pseudo-labelled: they are learned from and never judge")


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings[:40]:
        OUT.print(finding.line(), markup=False, highlight=False, soft_wrap=True)
    if len(findings) > 40:
        OUT.print(f"and {len(findings) - 40} more; --json prints all")


def _print_leaks(found: tuple[Leak, ...]) -> None:
    for leak in found[:10]:
        far = "" if leak.distance_planes is None else f", {leak.distance_planes} planes apart"
        said = f"leak: {leak.first} ({leak.first_part}) and {leak.second} ({leak.second_part}): {leak.why}{far}"
        OUT.print(said, markup=False, highlight=False, soft_wrap=True)
    if len(found) > 10:
        OUT.print(f"and {len(found) - 10} more leaks; --json prints all")


def _print_split(dataset: AnnotatedDataset, made: Split) -> None:
    """Print the size of each part, and the classes that a part has no pixel of."""
    part_of = made.part_of
    entries = {image.name: image for image in dataset.manifest.images}
    for part in ("training", "validation", "test", "left_out"):
        names = [name for name, mine in part_of.items() if mine.value == part]
        lacking = [name for name in dataset.manifest.class_ids if not any(entries[n].pixels.get(name) for n in names)]
        said = f" (no pixel of {', '.join(lacking)})" if lacking and part != "left_out" else ""
        pseudo = sum(entries[name].pseudo_label is not None for name in names)
        proposed = f", {pseudo} of them pseudo-labelled" if pseudo else ""
        why = ", as they lie too near to images that judge" if pseudo and part == "left_out" else ""
        OUT.print(f"{part.replace('_', ' ')}: {len(names)} images{proposed}{why}{said}", highlight=False)


annotations_app.command("import", epilog=_IMPORT_EXAMPLES)(import_)
annotations_app.command(epilog="Example: fibsem-nuclei annotations check annotated --split split.json")(check)
annotations_app.command(epilog=_SPLIT_EXAMPLES)(split)
register_review(annotations_app)
annotations_app.command(epilog="Example: fibsem-nuclei annotations extend annotated queue --out extended")(extend)
annotations_app.command(
    epilog="Examples: fibsem-nuclei annotations show annotated --out annotated.html; "
    "fibsem-nuclei annotations show annotated --json"
)(show)
