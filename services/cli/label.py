"""The verb `label`: connected components of any label, class or binary volume, with statistics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.console import OUT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from services.imaging.labelling import LabellingParameters
    from services.imaging.labelling.slabs import ReadPlanes
    from services.imaging.volumes import PlaneSource

_SLAB_BYTES = 128 << 20
_MOST_PLANES = 32
_LARGEST_VALUE = (1 << 32) - 1
_THRESHOLD = re.compile(r"(?:(\d+)=)?(\d+)")
_EXAMPLES = """Examples:

fibsem-nuclei label classes.tif --out objects.tif --min-voxels 200 --min-voxels 4=50

fibsem-nuclei label masks/ --out cells.ome.zarr --connectivity 6 --fill-holes --json cells.json

fibsem-nuclei label scan.h5:/nuclei --out largest.npy --largest 12

fibsem-nuclei label grey.npy --out regions.h5:/regions --delta 10
"""


class UnlabelledTypeError(ValueError):
    """Voxels are of a type that has no labels."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(epilog=_EXAMPLES)(label)


def label(
    volume: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="folder of TIFFs, multi-page .tif, .zarr (OME-Zarr), .npy or file.h5:/dataset; 0 is background",
        ),
    ],
    out: Annotated[str, typer.Option(help="labels: .tif, .ome.zarr, .npy, file.h5:/dataset, or a folder of TIFFs")],
    connectivity: Annotated[
        int, typer.Option(help="which voxels are neighbours: 6 (faces), 18 (and edges) or 26 (and corners)")
    ] = 26,
    min_voxels: Annotated[
        list[str] | None,
        typer.Option(metavar="[CLASS=]N", help="leave out objects smaller than N voxels; again for single classes"),
    ] = None,
    largest: Annotated[int | None, typer.Option(min=1, metavar="K", help="keep the K largest objects only")] = None,
    delta: Annotated[
        int, typer.Option(min=0, metavar="D", help="grey volume: join neighbours whose values differ by at most D")
    ] = 0,
    fill_holes: Annotated[bool, typer.Option(help="first fill background that is enclosed on all sides")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write statistics here as JSON")] = None,
) -> None:
    """Label the connected objects of a volume: neighbours of the same value belong together.

    Labels are 1, 2, ... in the order of first voxels (z, then y, then x), of the smallest type that holds them. The
    volume is read a few planes at a time and never held in memory; what is held grows with its surfaces.
    """
    from services.imaging.labelling.slabs import Selection, filled, label_slabs
    from services.imaging.labelling.statistics import statistics_of
    from services.imaging.volumes import VolumeExistsError, VolumePath, open_volume, write_volume
    from services.imaging.volumes.writing import check_free

    if check_free(out).path == VolumePath.of(volume).path:
        raise VolumeExistsError(f"{out} lies in the file that is read: write to another one")
    thresholds = _thresholds(min_voxels or [])
    with open_volume(volume) as source, _bar() as bar:
        n_planes = source.shape_zyx[0]
        parameters = _parameters(source, connectivity, thresholds, delta)
        task = bar.add_task("labelling", total=n_planes * (3 if fill_holes else 2))

        def told(planes: int) -> None:
            bar.advance(task, planes)

        read, filled_voxels = _reader(source, parameters), 0
        if fill_holes:
            read, filled_voxels = filled(read, n_planes, parameters, told)
        selection = Selection.of(label_slabs(read, n_planes, parameters, told), largest)
        write_volume(out, source.shape_zyx, selection.dtype, selection.slabs(told))
    OUT.print(f"{selection.count} objects, labels {selection.dtype} in {out}", highlight=False, soft_wrap=True)
    if json_file:
        told_how = {"input": volume, "output": out, "largest": largest, "filled_voxels": filled_voxels}
        json_file.parent.mkdir(parents=True, exist_ok=True)
        with json_file.open("w", encoding="utf-8") as file:
            file.writelines(statistics_of(selection, told_how))


def _bar() -> Any:  # noqa: ANN401 - rich is imported when the verb runs
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=OUT, transient=True)


def _thresholds(texts: list[str]) -> dict[int | None, int]:
    """Return thresholds by class, None for every class that is not named.

    >>> _thresholds(["200", "4=50"])
    {None: 200, 4: 50}
    """
    thresholds: dict[int | None, int] = {}
    for text in texts:
        found = _THRESHOLD.fullmatch(text)
        if found is None:
            raise typer.BadParameter(f"--min-voxels {text!r}: give N, or CLASS=N such as 4=50")
        class_id = int(found[1]) if found[1] else None
        if class_id in thresholds:
            raise typer.BadParameter(f"--min-voxels {text!r}: that class was given before")
        thresholds[class_id] = int(found[2])
    return thresholds


def _parameters(
    source: PlaneSource, connectivity: int, thresholds: dict[int | None, int], delta: int
) -> LabellingParameters:
    from services.imaging.labelling import LabellingParameters

    plane_type = _plane_type(source.dtype)
    plane_bytes = source.shape_zyx[1] * source.shape_zyx[2] * max(source.dtype.itemsize, 4)
    if delta and any(class_id is not None for class_id in thresholds):
        raise typer.BadParameter("--delta joins different values: give --min-voxels without a class")
    return LabellingParameters(
        canvas_shape_yx=source.shape_zyx[1:],
        connectivity=connectivity,
        min_voxels={class_id: least for class_id, least in thresholds.items() if class_id is not None},
        min_voxels_else=thresholds.get(None, 0),
        plane_type=plane_type,
        delta=delta,
        block_planes=max(1, min(_MOST_PLANES, _SLAB_BYTES // plane_bytes)),
    )


def _plane_type(dtype: np.dtype[Any]) -> str:
    """Return the type that the labelling reads planes of a stored type as."""
    if dtype.kind not in {"b", "u", "i"}:
        raise UnlabelledTypeError(f"voxels are {dtype}: labels and classes are whole numbers; convert the volume first")
    return {1: "uint8", 2: "uint16"}.get(dtype.itemsize, "uint32")


def _reader(source: PlaneSource, parameters: LabellingParameters) -> ReadPlanes:
    """Return how to read planes of the labelling's type; a value that it cannot hold is refused."""
    import numpy as np

    wanted = parameters.plane_dtype

    def read(first: int, stop: int) -> NDArray[Any]:
        planes = source.read(first, stop)
        if planes.dtype.kind == "i" and planes.min(initial=0) < 0:
            raise UnlabelledTypeError(f"z {first} to {stop - 1} hold values below 0: labels are 0 (background) and up")
        if planes.dtype.itemsize > wanted.itemsize and planes.max(initial=0) > _LARGEST_VALUE:
            raise UnlabelledTypeError(
                f"z {first} to {stop - 1} hold values above {_LARGEST_VALUE}: renumber them first"
            )
        return np.ascontiguousarray(planes, dtype=wanted)

    return read
