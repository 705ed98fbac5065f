"""The quality of slices as artefacts and as messages: detection sees one slice, following sees all, in order.

Detection leaves what one slice says by itself and its reduced plane; following judges slices in z order and keeps, in
its step records, what was learned and which slices the next is compared with.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from services.contracts.messages import SliceJudged
from services.contracts.values import ArtefactRef, SliceScore, SliceTrouble
from services.imaging.quality.judging import Learned, Memory, Verdict
from services.imaging.quality.reducing import Reduced, TooSmallSliceError, reduced
from services.imaging.quality.sequence import Standing, judge_next
from services.imaging.quality.single import SingleScores, measured

# Raised by hand when the same slice gives other scores.
STAGE_VERSION = 1
_DIGITS = 6


class QualityFormatError(ValueError):
    """Bytes that are not the quality of a slice."""


@dataclass(frozen=True, slots=True)
class SliceQuality:
    """What one slice says by itself: its measures, and the plane that others are compared with."""

    single: SingleScores
    reduced: Reduced


def quality_of(grey: npt.NDArray[np.uint8], voxel_yx_nm: tuple[float, float]) -> SliceQuality | None:
    """Measure one slice; None where it has too few pixels to be judged."""
    try:
        plane = reduced(grey, voxel_yx_nm)
    except TooSmallSliceError:
        return None
    return SliceQuality(measured(grey, voxel_yx_nm), plane)


def quality_to_bytes(quality: SliceQuality) -> bytes:
    """Pack the quality of a slice; equal ones give equal bytes."""
    plane = quality.reduced
    head = {
        "single": dataclasses.asdict(quality.single),
        "shape": list(plane.plane.shape),
        "block_yx_nm": list(plane.block_yx_nm),
        "structure_grey2": plane.structure_grey2,
        "noise_grey2": plane.noise_grey2,
    }
    line = json.dumps(head, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return zstandard.compress(line + b"\n" + np.ascontiguousarray(plane.plane).tobytes())


def quality_from_bytes(payload: bytes) -> SliceQuality:
    """Unpack the quality of a slice.

    Raises
    ------
    QualityFormatError
        If the bytes are something else.
    """
    try:
        line, _, pixels = zstandard.decompress(payload).partition(b"\n")
        head = json.loads(line)
        plane = np.frombuffer(pixels, np.uint8).reshape(head["shape"])
        block = (float(head["block_yx_nm"][0]), float(head["block_yx_nm"][1]))
        small = Reduced(plane, block, float(head["structure_grey2"]), float(head["noise_grey2"]))
        return SliceQuality(SingleScores(**head["single"]), small)
    except (zstandard.ZstdError, ValueError, KeyError, TypeError, IndexError) as error:
        raise QualityFormatError(f"not the quality of a slice: {error}") from error


@dataclass(slots=True)
class QualityRecord:
    """Where the judging of an acquisition stands.

    Parameters
    ----------
    standing
        What was learned, and the reduced planes of the references.
    refs
        Where the references' quality lies in the store, by z.
    """

    standing: Standing = dataclasses.field(default_factory=Standing)
    refs: dict[int, ArtefactRef] = dataclasses.field(default_factory=dict)

    def judge(self, z: int, ref: ArtefactRef, quality: SliceQuality, voxel_z_nm: float) -> Verdict:
        """Judge the next slice and remember it."""
        self.standing, verdict = judge_next(self.standing, z, quality.single, quality.reduced, voxel_z_nm)
        known = {**self.refs, z: ref}
        self.refs = {at: known[at] for at, _ in self.standing.references}
        return verdict

    def to_json(self) -> dict[str, Any]:
        """Return all of it but the planes, as JSON."""
        memory = dataclasses.asdict(self.standing.memory)
        refs = [[z, self.refs[z].model_dump()] for z, _ in self.standing.references]
        return {"memory": memory, "references": refs}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], fetch: Callable[[ArtefactRef], bytes]) -> QualityRecord:
        """Restore it; `fetch` reads the references."""
        told = content["memory"]
        learned = {
            name: Learned(tuple(entry["values"]), tuple(entry["deviations"])) for name, entry in told["learned"].items()
        }
        memory = Memory(**{**told, "learned": learned, "exponents": tuple(told["exponents"])})
        refs = {int(z): ArtefactRef.model_validate(ref) for z, ref in content["references"]}
        planes = tuple((z, quality_from_bytes(fetch(ref)).reduced) for z, ref in refs.items())
        return cls(Standing(memory, planes), refs)


def judged_message(acquisition_id: str, z: int, verdict: Verdict, voxel_z_nm: float) -> SliceJudged:
    """Tell of a verdict; numbers are rounded to six digits."""
    troubles = tuple(
        SliceTrouble(
            trouble=finding.trouble.value,
            severity=max(1.0, _rounded(finding.severity)),
            quantity=finding.quantity,
            value=_rounded(finding.value),
            usual=_rounded(finding.usual),
        )
        for finding in verdict.findings
    )
    scores = tuple(
        SliceScore(quantity=name, value=_rounded(value)) for name, value in sorted(verdict.quantities.items())
    )
    thickness = None if math.isnan(verdict.thickness) else _rounded(verdict.thickness * voxel_z_nm)
    return SliceJudged(acquisition_id=acquisition_id, z=z, troubles=troubles, thickness_nm=thickness, scores=scores)


def _rounded(value: float) -> float:
    """Round to six significant digits.

    Examples
    --------
    >>> _rounded(1234.56789), _rounded(0.000123456789)
    (1234.57, 0.000123457)
    """
    return float(f"{value:.{_DIGITS}g}")
