"""Finished volumes as the input of a run: what they are, what stands against them, and their planes as slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn

from services.cli.console import OUT
from services.cli.options import voxel_size
from services.imaging.volumes import PlaneSource, VolumePath, open_volume
from services.imaging.volumes.paths import UnknownVolumeError, VolumeKind
from services.imaging.volumes.unpacking import UnslicedTypeError, as_grey, unpack

if TYPE_CHECKING:
    from services.imaging.formats.pixels import Contrast
    from services.ingest.inspection import Finding, Wanted

_TOLERATED = 0.01
_MOST_PLANES = 4
_WAY_OUT = "leave --voxel-nm out, or say --metadata ignore where the volume is known to be wrong"


def is_volume(path: Path) -> bool:
    """Say whether a path names a finished volume, rather than slices or a folder of them.

    Raises
    ------
    typer.BadParameter
        If nothing lies there.
    """
    # Whatever its name, a file is a slice unless the name is a volume's.
    try:
        place = VolumePath.of(str(path))
    except UnknownVolumeError:
        place = VolumePath(path, VolumeKind.TIFF)
    if not place.path.exists():
        raise typer.BadParameter(f"{place.path} does not exist")
    return place.kind not in {VolumeKind.TIFF, VolumeKind.TIFF_FOLDER}


def look_at_volume(path: Path, voxel_nm: str | None, wanted: Wanted) -> tuple[dict[str, Any], Sequence[Finding]]:
    """Return what a finished volume is, for JSON, and what a run would say of it."""
    from services.ingest.inspection import Finding, contrast_findings

    findings = list[Finding]()
    with open_volume(path) as source:
        contrasts = list["Contrast"]()
        try:
            contrasts = _contrasts(source)
        except UnslicedTypeError as fault:
            findings.append(Finding("error", "unsupported_dtype", str(fault)))
        if (told := _denied(source.voxel_zyx_nm, voxel_nm)) is not None:
            findings.append(Finding("error", "voxel_size_mismatch", told))
        facts = {
            "volume": str(path),
            "format": VolumePath.of(str(path)).kind.value,
            "shape_zyx": list(source.shape_zyx),
            "dtype": source.dtype.str,
            "voxel_zyx_nm": None if source.voxel_zyx_nm is None else list(source.voxel_zyx_nm),
            "contrast": Counter(contrasts).most_common(1)[0][0].value if contrasts else None,
        }
    return facts, (*findings, *contrast_findings(contrasts, wanted))


def lay_out(path: Path, folder: Path, voxel_nm: str | None, metadata: str) -> str:
    """Lay the planes of a volume out as slices in a folder; return the voxel size as it was given, or else is stated.

    Raises
    ------
    typer.BadParameter
        If nothing says the voxel size, or what was given contradicts the volume and its metadata count.
    """
    with open_volume(path) as source, Progress(TextColumn("laying out slices"), BarColumn(), console=OUT) as bar:
        if metadata != "ignore" and (told := _denied(source.voxel_zyx_nm, voxel_nm)) is not None:
            raise typer.BadParameter(told)
        if voxel_nm is None:
            if source.voxel_zyx_nm is None:
                raise typer.BadParameter("the volume states no voxel size: give --voxel-nm Z,Y,X")
            voxel_nm = ",".join(f"{edge:.9g}" for edge in source.voxel_zyx_nm)
        task = bar.add_task("planes", total=source.shape_zyx[0])
        unpack(source, str(VolumePath.of(str(path))), folder, lambda planes: bar.advance(task, planes))
    return voxel_nm


def _denied(stated: tuple[float, float, float] | None, given: str | None) -> str | None:
    """Return how what was given and what the volume states contradict each other; None if they do not."""
    if stated is None or given is None:
        return None
    if all(abs(own / said - 1) <= _TOLERATED for own, said in zip(voxel_size(given).zyx_nm, stated, strict=True)):
        return None
    told = ", ".join(f"{edge:g}" for edge in stated)
    return f"--voxel-nm {given}: the volume states z, y, x of {told} nm; {_WAY_OUT}"


def _contrasts(source: PlaneSource) -> list[Contrast]:
    """Return the contrast of a few planes, evenly spread."""
    from services.imaging.formats.pixels import contrast_of

    as_grey(np.zeros(0, source.dtype))
    count = source.shape_zyx[0]
    chosen = sorted({round(number * (count - 1) / (_MOST_PLANES - 1)) for number in range(_MOST_PLANES)})
    return [contrast_of(np.ascontiguousarray(as_grey(source.read(z, z + 1))[0])) for z in chosen]
