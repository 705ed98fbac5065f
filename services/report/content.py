"""What a report shows, as values: the rows of a results folder and the arrays of one nucleus."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Zyx = tuple[float, float, float]
Pixels = NDArray[np.uint8]

CLASS_NAMES: Mapping[int, str] = {
    1: "nucleoplasm",
    2: "chromosome",
    3: "nucleolus",
    4: "synaptonemal complex",
    5: "nuclear membrane",
}
HOMOLOGS = 12


class ResultsFormatError(ValueError):
    """A file of a results folder does not hold what it should; the message names the file and the place."""


@dataclass(frozen=True)
class NucleusRow:
    """One row of the table of nuclei.

    Parameters
    ----------
    nucleus_id
        Stable identifier.
    z_first, z_last
        First and last slice, both included; the last is None while the nucleus is open.
    clipped
        Faces of the acquisition that cut the nucleus, as they stand in the table; empty for a whole nucleus.
    is_closed
        False while slices that may belong to it are still to come.
    volume_um3, nucleolus_volume_um3, chromosome_volume_um3, sc_volume_um3, membrane_volume_um3
        Volumes in cubic micrometres; None where not measured.
    chromosome_count, expected_chromosomes
        Chromosomes found, and how many a whole nucleus has; the former is None where not counted.
    centroid_nm
        (z, y, x) in the acquisition.
    absent_planes, bridged_planes
        Planes of which there is no image, and planes whose outline was interpolated.
    mean_confidence
        Mean of the networks' confidence, 0..1; None where not kept.
    continues
        The nucleus that this one goes on from after a gap too long to bridge; empty for most.
    stage
        Stage of the nucleus; empty where not told.
    checks_failed
        How many biology checks failed; None where none was run.
    area_um2, sphericity, nucleolus_eccentricity, envelope_thickness_um, sc_length_um, sc_tracks, neighbours
        Measured quantities, None where not measured; docs/measuring.md defines them.
    """

    nucleus_id: str
    z_first: int
    z_last: int | None
    clipped: tuple[str, ...] = ()
    is_closed: bool = True
    volume_um3: float | None = None
    chromosome_count: int | None = None
    expected_chromosomes: int = HOMOLOGS
    nucleolus_volume_um3: float | None = None
    chromosome_volume_um3: float | None = None
    sc_volume_um3: float | None = None
    membrane_volume_um3: float | None = None
    centroid_nm: Zyx | None = None
    absent_planes: int = 0
    bridged_planes: int = 0
    mean_confidence: float | None = None
    continues: str = ""
    stage: str = ""
    checks_failed: int | None = None
    area_um2: float | None = None
    sphericity: float | None = None
    nucleolus_eccentricity: float | None = None
    envelope_thickness_um: float | None = None
    sc_length_um: float | None = None
    sc_tracks: int | None = None
    neighbours: int | None = None

    @property
    def is_whole(self) -> bool:
        """Closed, and cut by no face of the acquisition."""
        return self.is_closed and not self.clipped

    @property
    def has_right_count(self) -> bool:
        """As many chromosomes were found as expected; an unknown count is not held against a nucleus."""
        return self.chromosome_count is None or self.chromosome_count == self.expected_chromosomes


@dataclass(frozen=True)
class ObjectRow:
    """One row of the table of objects; `chromosome` is the rank by size, 1 first, None for anything else."""

    nucleus_id: str
    object_id: int
    class_name: str
    chromosome: int | None
    voxels: int
    volume_um3: float
    touches_border: bool = False
    is_open: bool = False
    is_bridged: bool = False


@dataclass(frozen=True)
class ChromosomeRow:
    """One row of the table of chromosomes: what the page shows of it; None where not measured."""

    nucleus_id: str
    chromosome: int
    is_complete: bool
    volume_um3: float
    area_um2: float | None = None
    sphericity: float | None = None
    sc_length_um: float | None = None
    contacts: int | None = None
    contact_area_um2: float | None = None


@dataclass(frozen=True)
class CheckRow:
    """One row of the table of checks; `state` is passed, failed or not_run, `place_nm` (z, y, x) is where to look."""

    nucleus_id: str
    check: str
    state: str
    detail: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    object_id: int | None = None
    chromosome: int | None = None
    place_nm: Zyx | None = None

    @property
    def title(self) -> str:
        """The name as a reader sees it."""
        return self.check.replace("_", " ").replace("sc ", "SC ")

    @property
    def limits(self) -> str:
        """The range in which the value had to be, in words; empty where there is none."""
        if self.low is not None and self.low == self.high:
            return f"{self.low:g}"
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"at least {self.low:g}"
        return "" if self.high is None else f"at most {self.high:g}"


@dataclass(frozen=True)
class SuspectRow:
    """A place where the separation of chromosomes may be wrong; the most doubtful have the lowest rank."""

    nucleus_id: str
    rank: int
    doubt: str
    score: float
    reason: str
    chromosomes: str = ""
    place_nm: Zyx | None = None

    @property
    def title(self) -> str:
        """The doubt as a reader sees it."""
        return self.doubt.replace("_", " ")


@dataclass(frozen=True)
class SliceRow:
    """Quality of one slice.

    Parameters
    ----------
    z
        Which.
    troubles
        What is wrong with it, by name; empty for a good one.
    absent
        Why there is no slice; empty where there is one.
    severity
        Of the worst trouble, in thresholds.
    thickness_nm, sharpness
        None where they could not be measured.
    """

    z: int
    troubles: tuple[str, ...] = ()
    absent: str = ""
    severity: float = 0.0
    thickness_nm: float | None = None
    sharpness: float | None = None


@dataclass(frozen=True)
class LedgerRow:
    """What became of one slice or file."""

    z: int | None
    state: str
    reason: str = ""
    file: str = ""

    @property
    def is_accounted(self) -> bool:
        """Done, absent for a stated reason, or set aside: nothing is still expected of it."""
        return self.state.lower().replace("-", "_") not in UNACCOUNTED_STATES

    @property
    def is_plain(self) -> bool:
        """The slice was used and there is nothing to say about it."""
        return self.state.lower() in PLAIN_STATES and not self.reason


UNACCOUNTED_STATES = frozenset({"awaited", "in_flight", "unknown", "expected", "pending"})
PLAIN_STATES = frozenset({"done", "accepted", "ingested", "segmented", "final"})


@dataclass(frozen=True)
class Stage:
    """Time spent in one stage; `count` is what it worked on, None where not counted."""

    name: str
    seconds: float
    count: int | None = None


@dataclass(frozen=True)
class Timing:
    """Measured course of a run.

    Parameters
    ----------
    stages
        Busy time by stage, in order.
    wall_s
        From start to end; None where not measured.
    progress
        `(seconds, slices seen, slices final)` in order of time.
    """

    stages: tuple[Stage, ...]
    wall_s: float | None = None
    progress: tuple[tuple[float, int, int], ...] = ()


@dataclass(frozen=True)
class ClassScore:
    """Agreement of one class with the truth, each 0..1; None where there was nothing to compare."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None


@dataclass(frozen=True)
class NucleusScore:
    """How well one true nucleus was found: its F1 by class, and its chromosomes; None where nothing was compared."""

    truth_id: str
    nucleus_id: str | None
    is_clipped: bool
    f1: tuple[tuple[str, float | None], ...]
    chromosomes_true: int | None
    chromosomes_found: int | None


@dataclass(frozen=True)
class Scores:
    """What `evaluate` found; averages, nuclei and chromosomes as name and value, those that there are, in order."""

    classes: tuple[ClassScore, ...]
    averages: tuple[tuple[str, float], ...]
    nuclei: tuple[tuple[str, float], ...]
    chromosomes: tuple[tuple[str, float], ...]
    per_nucleus: tuple[NucleusScore, ...] = ()


@dataclass(frozen=True)
class Outline:
    """An outline on a slice: corner points (row, column) of the thumbnail, and whose it is."""

    nucleus_id: str
    contour_yx: tuple[tuple[float, float], ...]
    is_clipped: bool = False


@dataclass(frozen=True, eq=False)
class OverviewSlice:
    """A slice made small, (y, x) uint8, with the outlines found in it; `pixel_nm` is the edge of its pixels."""

    z: int
    image: Pixels
    outlines: tuple[Outline, ...]
    pixel_nm: float


@dataclass(frozen=True)
class Link:
    """A file of the results: where it lies relative to the page, and what it is."""

    href: str
    title: str
    note: str


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything the page says, but the arrays.

    Parameters
    ----------
    acquisition
        Name of the acquisition.
    voxel_nm
        (z, y, x) edge of a voxel of the acquisition; None where nothing says it.
    nuclei, objects, ledger, chromosomes, checks, suspects, slices
        Rows of these tables, in their order.
    events
        Kind of event and how many there were.
    provenance
        Name and value of everything that decided the results, nested names joined by dots.
    timing, scores
        None where the run left none.
    overview
        A few slices with their outlines.
    links
        Files beside the report.
    missing
        What an optional file would have told, in words, for each that is not there.
    """

    acquisition: str
    voxel_nm: Zyx | None
    nuclei: tuple[NucleusRow, ...]
    objects: tuple[ObjectRow, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    events: tuple[tuple[str, int], ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    timing: Timing | None = None
    scores: Scores | None = None
    overview: tuple[OverviewSlice, ...] = ()
    links: tuple[Link, ...] = ()
    missing: tuple[str, ...] = ()
    chromosomes: tuple[ChromosomeRow, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    suspects: tuple[SuspectRow, ...] = ()
    slices: tuple[SliceRow, ...] = ()

    @property
    def unreliable_slices(self) -> tuple[SliceRow, ...]:
        """Slices with something wrong, and absent ones."""
        return tuple(row for row in self.slices if row.troubles or row.absent)

    def suspects_of(self, nucleus_id: str, most: int = 8) -> tuple[SuspectRow, ...]:
        """Return the most doubtful places of a nucleus, by rank."""
        mine = sorted((row for row in self.suspects if row.nucleus_id == nucleus_id), key=lambda row: row.rank)
        return tuple(mine[:most])

    def checks_of(self, nucleus_id: str) -> tuple[CheckRow, ...]:
        """Return the checks of a nucleus, in the order of the table."""
        return tuple(check for check in self.checks if check.nucleus_id == nucleus_id)

    def measured_chromosomes_of(self, nucleus_id: str) -> tuple[ChromosomeRow, ...]:
        """Return what was measured on the chromosomes of a nucleus, by number."""
        mine = [row for row in self.chromosomes if row.nucleus_id == nucleus_id]
        return tuple(sorted(mine, key=lambda row: row.chromosome))

    def chromosomes_of(self, nucleus_id: str) -> tuple[ObjectRow, ...]:
        """Return the ranked chromosomes of a nucleus, largest first.

        Those that were measured as they were separated; results without such a table have ranked objects.
        """
        separated = self.measured_chromosomes_of(nucleus_id)
        if separated:
            return tuple(
                ObjectRow(
                    nucleus_id=nucleus_id,
                    object_id=row.chromosome,
                    class_name="chromosome",
                    voxels=0,
                    volume_um3=row.volume_um3,
                    chromosome=row.chromosome,
                    touches_border=not row.is_complete,
                )
                for row in separated
            )
        mine = [o for o in self.objects if o.nucleus_id == nucleus_id and o.chromosome is not None]
        return tuple(sorted(mine, key=lambda o: o.chromosome or 0))


@dataclass(frozen=True, eq=False)
class Section:
    """A plane through a nucleus.

    Parameters
    ----------
    grey, classes
        (rows, columns) uint8, of the same shape: the image and the class of each pixel.
    pixel_nm
        Height and width of a pixel.
    name
        What plane it is, such as `xy`.
    position_nm
        Where the plane lies along its normal, from the first plane of the nucleus.
    """

    grey: Pixels
    classes: Pixels
    pixel_nm: tuple[float, float]
    name: str
    position_nm: float

    @property
    def width_nm(self) -> float:
        """Extent along the rows."""
        return float(self.grey.shape[1] * self.pixel_nm[1])


@dataclass(frozen=True, eq=False)
class NucleusArrays:
    """What the pictures of a nucleus are drawn from; bounded, whatever the size of the volume.

    Parameters
    ----------
    classes
        (z, y, x) uint8, cropped to what is labelled and thinned where it was large.
    chromosomes
        (z, y, x) uint8 of the same shape: rank of the chromosome, 0 for anything else.
    voxel_nm
        (z, y, x) edge of their voxels, after thinning.
    orthogonal
        The xy, xz and yz planes through the middle.
    series
        xy planes at even distances along z.
    """

    classes: Pixels
    chromosomes: Pixels
    voxel_nm: Zyx
    orthogonal: tuple[Section, ...] = field(default=())
    series: tuple[Section, ...] = field(default=())
