"""Slices in z order: each compared with the last good ones, judged, and perhaps kept to compare the next with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from services.imaging.quality.judging import Beside, Memory, Verdict, judge
from services.imaging.quality.pairs import compared
from services.imaging.quality.reducing import Reduced
from services.imaging.quality.single import SingleScores


class SliceOrderError(ValueError):
    """A slice that does not lie behind all slices before it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where judging stands between two slices.

    Attributes
    ----------
    memory
        What was learned.
    references
        The last two slices that were fit to compare with, the later one last, each with its z.
    """

    memory: Memory = dataclasses.field(default_factory=Memory)
    references: tuple[tuple[int, Reduced], ...] = ()


def judge_next(
    standing: Standing, z: int, single: SingleScores, reduced: Reduced, voxel_z_nm: float
) -> tuple[Standing, Verdict]:
    """Judge the slice at ``z``; slices that are absent are simply left out.

    Parameters
    ----------
    standing
        ``Standing()`` before the first slice.
    z
        Index of the slice, larger than those before.
    single, reduced
        What `measured` and `reduced` say of it.
    voxel_z_nm
        Nominal thickness of a slice.

    Raises
    ------
    SliceOrderError
        If ``z`` is not larger than that of the reference.
    """
    beside = _beside(standing, z, reduced, voxel_z_nm)
    memory, verdict = judge(standing.memory, single, reduced, beside)
    if not verdict.spoilt:
        return Standing(memory, (*standing.references, (z, reduced))[-2:]), verdict
    # What was learned was given up with this slice: it is the first of what is learned anew.
    forgotten = memory.good == 0 and standing.memory.good > 0
    return Standing(memory, ((z, reduced),) if forgotten else standing.references), verdict


def _beside(standing: Standing, z: int, reduced: Reduced, voxel_z_nm: float) -> Beside | None:
    references = [(at, plane) for at, plane in standing.references if _alike(plane, reduced)]
    if not references:
        return None
    last_z, last = references[-1]
    gap = z - last_z
    if gap < 1:
        raise SliceOrderError(f"slice {z} came to be judged after slice {last_z}")
    earlier = next((plane for at, plane in references if z - at == 2 * gap), None)
    return Beside(
        reference=compared(reduced, last),
        depth_um=gap * voxel_z_nm / 1000,
        gap=gap,
        earlier=None if earlier is None else compared(reduced, earlier),
    )


def _alike(first: Reduced, second: Reduced) -> bool:
    return first.plane.shape == second.plane.shape and first.block_yx_nm == second.block_yx_nm
