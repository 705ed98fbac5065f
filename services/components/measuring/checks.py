"""Biology checks of a nucleus: what must be so at its stage, and where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.components.measuring.complexes import Complex
from services.components.measuring.lattice import FloatArray
from services.components.measuring.nearest import Points
from services.components.measuring.nucleus import CHROMOSOME, LEAK_LIMIT, NUCLEOLUS, Body, NucleusMeasures
from services.components.measuring.painting import NucleusImage
from services.components.measuring.position import centroid_nm
from services.components.measuring.rounding import position, significant
from services.components.measuring.stage import Stage
from services.contracts.rows import CheckRow

VOLUME_UM3 = (10.0, 60.0)
SPHERICITY = 0.4
SC_LENGTH_UM = (25.0, 55.0)
SC_IN_CHROMATIN = 0.9
SC_REACH_NM = 150.0
RIM_NM = 45.0
RIM_SHARE = 0.005

APPLIES: dict[str, frozenset[Stage]] = {
    "nucleus_volume": frozenset({"pachytene"}),
    "nucleus_sphericity": frozenset({"pachytene", "other_prophase", "mitotic"}),
    "envelope_closed": frozenset({"pachytene", "other_prophase", "mitotic"}),
    "nucleolus_inside": frozenset({"pachytene", "other_prophase", "mitotic"}),
    "chromosome_number": frozenset({"pachytene"}),
    "sc_length": frozenset({"pachytene"}),
    "sc_in_chromatin": frozenset({"pachytene", "other_prophase"}),
}
"""Stages at which each check is run, in the order of the table. Sperm of C. elegans has no envelope."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What the checks look at."""

    nucleus_id: str
    stage: Stage
    image: NucleusImage
    body: Body
    measures: NucleusMeasures
    complexes: tuple[Complex, ...]
    chromosome_count: int
    expected_chromosomes: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check looked at: what was found, where, and in which object; a None place is the nucleus's."""

    is_right: bool
    detail: str
    value: float
    place_nm: tuple[float, float, float] | None = None
    object_id: int | None = None
    chromosome: int | None = field(default=None)


Check = Callable[[Subject], Iterator[Finding]]


def check_rows(subject: Subject) -> tuple[CheckRow, ...]:
    """Return the rows of all checks of a nucleus: those that do not apply at its stage are not run, and say so."""
    rows: list[CheckRow] = []
    for name, (check, low, high) in _checks(subject).items():
        if subject.stage not in APPLIES[name]:
            reason = "not told: stage unknown" if subject.stage == "unknown" else f"not asked of {subject.stage} nuclei"
            rows.append(_row(subject, name, None, (None, None), reason))
            continue
        findings = list(check(subject))
        failed = [finding for finding in findings if not finding.is_right]
        shown = failed or findings[:1]
        rows.extend(_row(subject, name, finding, (low, high), finding.detail) for finding in shown)
        if not shown:
            rows.append(_row(subject, name, None, (low, high), "there is none to look at"))
    return tuple(rows)


def _checks(subject: Subject) -> dict[str, tuple[Check, float | None, float | None]]:
    number = float(subject.expected_chromosomes)
    return {
        "nucleus_volume": (_volume, *VOLUME_UM3),
        "nucleus_sphericity": (_sphericity, SPHERICITY, None),
        "envelope_closed": (_envelope, None, LEAK_LIMIT),
        "nucleolus_inside": (_nucleolus, None, RIM_SHARE),
        "chromosome_number": (_number, number, number),
        "sc_length": (_sc_length, *SC_LENGTH_UM),
        "sc_in_chromatin": (_sc_in_chromatin, SC_IN_CHROMATIN, None),
    }


def _row(
    subject: Subject, name: str, finding: Finding | None, limits: tuple[float | None, float | None], detail: str
) -> CheckRow:
    if finding is None:
        return CheckRow(
            nucleus_id=subject.nucleus_id, stage=subject.stage, check=name, state="not_run", detail=detail,
            low=limits[0], high=limits[1],
        )  # fmt: skip
    place = finding.place_nm if finding.place_nm is not None else _middle(subject)
    z, y, x = position(place)
    return CheckRow(
        nucleus_id=subject.nucleus_id,
        stage=subject.stage,
        check=name,
        state="passed" if finding.is_right else "failed",
        detail=detail,
        value=significant(finding.value),
        low=limits[0],
        high=limits[1],
        object_id=finding.object_id,
        chromosome=finding.chromosome,
        z_nm=z,
        y_nm=y,
        x_nm=x,
    )


def _middle(subject: Subject) -> FloatArray:
    return centroid_nm(subject.body.solid, subject.body.lattice)


def _volume(subject: Subject) -> Iterator[Finding]:
    low, high = VOLUME_UM3
    value = subject.measures.volume.um3
    yield Finding(low <= value <= high, "volume of the nucleus, um3", value)


def _sphericity(subject: Subject) -> Iterator[Finding]:
    value = subject.measures.sphericity
    if value is not None:
        yield Finding(value >= SPHERICITY, "sphericity of the nucleus", value)


def _envelope(subject: Subject) -> Iterator[Finding]:
    value = subject.measures.open_fraction
    detail = "share of the surface without envelope; the place is the middle of its largest gap"
    yield Finding(value <= LEAK_LIMIT, detail, value, subject.measures.leak_nm)


def _nucleolus(subject: Subject) -> Iterator[Finding]:
    """Look at every object of the nucleolus for parts nearer to the surface than an envelope is thick."""
    body = subject.body
    nucleolus = body.classes == NUCLEOLUS
    ids = _thinned(subject.image.objects, body)
    for number in np.unique(ids[nucleolus]):
        mine = nucleolus & (ids == number)
        outside = mine & (body.depths_nm < RIM_NM)
        share = float(np.count_nonzero(outside) / np.count_nonzero(mine))
        z, y, x = centroid_nm(outside if outside.any() else mine, body.lattice).tolist()
        detail = f"share of the nucleolus within {RIM_NM:g} nm of the nucleus's surface"
        yield Finding(share <= RIM_SHARE, detail, share, (z, y, x), int(number) or None)


def _number(subject: Subject) -> Iterator[Finding]:
    value = subject.chromosome_count
    yield Finding(value == subject.expected_chromosomes, "number of chromosomes", value)


def _sc_length(subject: Subject) -> Iterator[Finding]:
    low, high = SC_LENGTH_UM
    value = sum(one.track.length_um for one in subject.complexes)
    yield Finding(low <= value <= high, "length of all synaptonemal complexes, um", value)


def _sc_in_chromatin(subject: Subject) -> Iterator[Finding]:
    """Look along every complex for chromatin within 150 nm: half its width, and a voxel or two to spare."""
    body = subject.body
    chromatin = np.argwhere(body.classes == CHROMOSOME)
    tree = Points(body.lattice.places_nm(chromatin, body.classes.shape[0])) if len(chromatin) else None
    for one in subject.complexes:
        line = one.track.points_nm
        bare = (np.full(len(line), np.inf) if tree is None else tree.nearest(line)[0]) > SC_REACH_NM
        share = 1 - float(bare.mean())
        place = line[bare].mean(axis=0) if bare.any() else one.middle_nm
        z, y, x = place.tolist()
        detail = f"share of the complex with chromatin within {SC_REACH_NM:g} nm"
        yield Finding(share >= SC_IN_CHROMATIN, detail, share, (z, y, x), one.object_id, one.chromosome)


def _thinned(array: NDArray[np.uint32], body: Body) -> NDArray[np.uint32]:
    thin = tuple(slice(factor // 2, None, factor) for factor in body.factors)
    return array[thin][tuple(slice(size) for size in body.solid.shape)]
