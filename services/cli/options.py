"""Options that several verbs share, and how their text is read."""

from __future__ import annotations

import re
from pathlib import Path

import typer

import services.inference
from services.contracts.values import VoxelSize

SHIPPED_MODELS = Path(services.inference.__file__).parent / "models"
_IN_NAME = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)nm", re.IGNORECASE)


def voxel_size(text: str) -> VoxelSize:
    """Return the voxel size that `Z,Y,X` or one number for all three says.

    >>> voxel_size("8,4,4").zyx_nm
    (8.0, 4.0, 4.0)
    >>> voxel_size("16").zyx_nm
    (16.0, 16.0, 16.0)
    """
    try:
        lengths = [float(part) for part in text.split(",")]
        z_nm, y_nm, x_nm = lengths * 3 if len(lengths) == 1 else lengths
        return VoxelSize(z_nm=z_nm, y_nm=y_nm, x_nm=x_nm)
    except ValueError as error:
        raise typer.BadParameter(f"--voxel-nm {text!r}: give Z,Y,X in nanometres, such as 16,16,16 or 16") from error


def voxel_size_in_name(name: str) -> VoxelSize | None:
    """Return the voxel size that a file name states as X x Y x Z, or None.

    >>> voxel_size_in_name("VK1_ROI1_4x4x8nm.0000.tif").zyx_nm
    (8.0, 4.0, 4.0)
    """
    found = _IN_NAME.search(name)
    if found is None:
        return None
    x_nm, y_nm, z_nm = (float(part) for part in found.groups())
    return VoxelSize(z_nm=z_nm, y_nm=y_nm, x_nm=x_nm)
