"""Units of the columns of tables, read off their names: every length, area and volume carries its unit there."""

from __future__ import annotations

UNITS = {
    "nm": "nm",
    "um": "um",
    "um2": "um^2",
    "um3": "um^3",
    "per_um": "1/um",
    "per_um2": "1/um^2",
    "per_um3": "1/um^3",
    "deg": "degree",
    "rad": "rad",
    "px": "pixel",
    "s": "s",
    "fraction": "1",
    "count": "1",
}
_INDICES = frozenset({"z", "y", "x", "z0", "y0", "x0", "z1", "y1", "x1", "z_first", "z_last"})


def unit_of(column: str) -> str:
    """Return the unit of a column by the end of its name; empty where it has none.

    Examples
    --------
    >>> [unit_of(name) for name in ("volume_um3", "curvature_per_um", "voxels", "z0", "class")]
    ['um^3', '1/um', 'voxel', 'voxel index', '']
    """
    if column in _INDICES:
        return "voxel index"
    if column == "voxels" or column.endswith("_voxels"):
        return "voxel"
    for end in sorted(UNITS, key=len, reverse=True):
        if column.endswith(f"_{end}"):
            return UNITS[end]
    return ""
