"""Where voxels lie: one frame for every format, measured from the first corner of the acquisition's first voxel.

The tables of a run give centroids in the same frame. Formats differ in what their own origin means, a corner or a
centre; each says so where it is written, and the difference of half a voxel is accounted for there.
"""

from __future__ import annotations

from dataclasses import dataclass

Zyx = tuple[float, float, float]
Index = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Placement:
    """Size of the voxels of an array and place of its first corner.

    Attributes
    ----------
    voxel_nm
        (z, y, x) edges of a voxel.
    corner_nm
        (z, y, x) first corner of the first voxel, from the first corner of the acquisition's first voxel.
    """

    voxel_nm: Zyx
    corner_nm: Zyx

    def centre_nm(self, index: Index = (0, 0, 0)) -> Zyx:
        """Return the middle (z, y, x) of a voxel.

        Examples
        --------
        >>> Placement((8.0, 4.0, 4.0), (100.0, 0.0, -40.0)).centre_nm((1, 0, 2))
        (112.0, 2.0, -30.0)
        """
        z, y, x = (c + (i + 0.5) * v for c, i, v in zip(self.corner_nm, index, self.voxel_nm, strict=True))
        return z, y, x

    def cropped(self, start: Index) -> Placement:
        """Return the placement of the part of the array that begins at voxel `start`."""
        z, y, x = (c + i * v for c, i, v in zip(self.corner_nm, start, self.voxel_nm, strict=True))
        return Placement(self.voxel_nm, (z, y, x))

    def coarser(self, factors: Index) -> Placement:
        """Return the placement of the array whose voxels are `factors` times as large; the first corner stays.

        Examples
        --------
        >>> Placement((8.0, 4.0, 4.0), (0.0, 0.0, 0.0)).coarser((1, 2, 2))
        Placement(voxel_nm=(8.0, 8.0, 8.0), corner_nm=(0.0, 0.0, 0.0))
        """
        z, y, x = (v * f for v, f in zip(self.voxel_nm, factors, strict=True))
        return Placement((z, y, x), self.corner_nm)
