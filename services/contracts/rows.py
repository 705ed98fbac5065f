"""The rows of the result tables: what components measures, the tables hold and users read.

A row travels as a JSON artefact (`model_dump_json`, `model_validate_json`); the order of the fields is
the order of the columns.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, field_validator, model_validator

from services.contracts.classes import LabelClass
from services.contracts.values import AbsenceReason, Count, Identifier, Side, Value, ZIndex

Volume = Annotated[FiniteFloat, Field(ge=0)]
Fraction = Annotated[FiniteFloat, Field(ge=0, le=1)]
Rank = Annotated[int, Field(ge=1, le=2**31 - 1)]
VoxelIndex = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Stage = Literal["pachytene", "other_prophase", "mitotic", "sperm", "unknown"]
CheckState = Literal["passed", "failed", "not_run"]


class NucleusRow(Value):
    """One nucleus: where it is, whether it is complete, and what was measured in it.

    Attributes
    ----------
    z_first, z_last
        First and last slice, inclusive. The last is unknown while the nucleus is open.
    clipped
        Faces of the acquisition that cut it.
    state
        `closed` once every slice of it is accounted for.
    volume_um3
        Everything inside and including the nuclear membrane. Like every measurement, None until
        components has measured the nucleus.
    chromosome_count
        Chromosomes found by `method`.
    expected_chromosomes
        Chromosomes that the run was told to expect: 12 homologs, 6 bivalents. The results fill it in.
    centroid_z_nm, centroid_y_nm, centroid_x_nm
        In the acquisition, from the first corner of its first voxel.
    absent_planes, bridged_planes
        Slices without a crop, and slices whose outline was interpolated.
    mean_confidence
        Mean over the nucleus of the networks' confidence, 0 to 1.
    continues
        The nucleus that this one continues after a gap too long to bridge.
    method
        How chromosomes were separated.
    volume_low_um3, volume_high_um3
        The volume after erosion and after dilation by one voxel: what an error of the outline would do. Definitions
        of this and of all that follows, with formulas and measured errors, are in docs/measuring.md; None where
        a face of the acquisition cuts what would be measured.
    area_um2, sphericity
        Of the outer surface of the nucleus.
    nucleolus_fraction, chromatin_fraction
        Shares of the nucleus's volume.
    nucleolus_eccentricity, nucleolus_sphericity
        0 where the nucleolus lies in the middle, 1 where it reaches the surface; and how round it is.
    envelope_thickness_um
        Mean thickness of the nuclear membrane.
    sc_length_um, sc_tracks, sc_swellings
        Length of all synaptonemal complexes, how many there are, and how many candidates of knobs they bear.
    stage
        pachytene, other_prophase, mitotic, sperm or unknown.
    checks_failed
        How many of the biology checks that apply at this stage failed; they stand in the table of checks.
    neighbours, nearest_neighbour_um
        Nuclei of the run whose surfaces, taken for balls, lie within 1 um; and the distance of centroids to the
        nearest nucleus. The results fill them in.
    unreliable_slices
        How many of its slices are absent or have something wrong, by the table of slices. The results fill it in;
        None while the nucleus is open.
    """

    nucleus_id: Identifier
    z_first: ZIndex
    z_last: ZIndex | None = None
    clipped: tuple[Side, ...] = ()
    state: Literal["closed", "open"]
    volume_um3: Volume | None = None
    chromosome_count: Count | None = None
    expected_chromosomes: Count | None = None
    nucleolus_volume_um3: Volume | None = None
    chromosome_volume_um3: Volume | None = None
    sc_volume_um3: Volume | None = None
    membrane_volume_um3: Volume | None = None
    centroid_z_nm: FiniteFloat | None = None
    centroid_y_nm: FiniteFloat | None = None
    centroid_x_nm: FiniteFloat | None = None
    absent_planes: Count | None = None
    bridged_planes: Count | None = None
    mean_confidence: Fraction | None = None
    continues: Identifier | None = None
    method: Identifier | None = None
    volume_low_um3: Volume | None = None
    volume_high_um3: Volume | None = None
    area_um2: Volume | None = None
    sphericity: Volume | None = None
    nucleolus_fraction: Fraction | None = None
    chromatin_fraction: Fraction | None = None
    nucleolus_eccentricity: Volume | None = None
    nucleolus_sphericity: Volume | None = None
    envelope_thickness_um: Volume | None = None
    sc_length_um: Volume | None = None
    sc_tracks: Count | None = None
    sc_swellings: Count | None = None
    stage: Stage | None = None
    checks_failed: Count | None = None
    neighbours: Count | None = None
    nearest_neighbour_um: Volume | None = None
    unreliable_slices: Count | None = None

    @field_validator("clipped")
    @classmethod
    def _sides_in_one_order(cls, sides: tuple[Side, ...]) -> tuple[Side, ...]:
        return tuple(side for side in Side if side in sides)

    @model_validator(mode="after")
    def _planes_are_ordered(self) -> Self:
        if self.z_last is not None and self.z_last < self.z_first:
            raise ValueError(f"z_last ({self.z_last}) is before z_first ({self.z_first})")
        if self.state == "closed" and self.z_last is None:
            raise ValueError("a closed nucleus has a last slice")
        return self


class ObjectRow(Value):
    """One connected object of a label volume.

    Attributes
    ----------
    object_id
        Its value in `labels/objects`.
    label_class
        Name of its class; the column is called `class`.
    chromosome
        Which chromosome of its nucleus it belongs to, 1 to k by size; None where it belongs to none.
    voxels
        Number of voxels of the label volume.
    z0, y0, x0, z1, y1, x1
        Bounding box in voxels of the acquisition, half open. A canvas may reach outside the field, so
        that y and x may be negative.
    centroid_z_nm, centroid_y_nm, centroid_x_nm
        In the acquisition, from the first corner of its first voxel.
    touches_border
        It reaches a face of the acquisition or of its canvas.
    open
        It touches the front and may still grow.
    bridged
        It was connected across absent slices.
    unreliable_slices
        How many slices from its first to its last are absent or have something wrong, by the table of slices. The
        results fill it in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    nucleus_id: Identifier
    object_id: Annotated[int, Field(ge=1, le=2**32 - 1)]
    label_class: Annotated[Identifier, Field(alias="class")]
    chromosome: Rank | None = None
    voxels: Annotated[int, Field(ge=1)]
    volume_um3: Annotated[FiniteFloat, Field(gt=0)]
    z0: VoxelIndex
    y0: VoxelIndex
    x0: VoxelIndex
    z1: VoxelIndex
    y1: VoxelIndex
    x1: VoxelIndex
    centroid_z_nm: FiniteFloat
    centroid_y_nm: FiniteFloat
    centroid_x_nm: FiniteFloat
    touches_border: bool
    open: bool
    bridged: bool
    unreliable_slices: Count | None = None

    @field_validator("label_class")
    @classmethod
    def _class_is_not_the_exterior(cls, label: str) -> str:
        if label == LabelClass.EXTERIOR.label:
            raise ValueError("the exterior is no object")
        return label

    @model_validator(mode="after")
    def _box_holds_something(self) -> Self:
        if not (self.z0 < self.z1 and self.y0 < self.y1 and self.x0 < self.x1):
            raise ValueError("the bounding box is empty")
        return self


OBJECT_ROWS: TypeAdapter[tuple[ObjectRow, ...]] = TypeAdapter(tuple[ObjectRow, ...])
"""Validates and dumps the JSON list of object rows of one nucleus."""


class SliceRow(Value):
    """One slice of the acquisition: whether it can be relied on, and what was measured; docs/slice-quality.md.

    Attributes
    ----------
    reliable
        There is a slice, and nothing is wrong with it.
    troubles, severity
        What is wrong, the worst first, and how bad the worst is, in thresholds: 1 and more, 0 for none.
    absent
        Why there is no slice.
    repairs
        Repairs that changed what networks see of it, if any were asked for.
    thickness_nm
        Depth milled since the slice before, on average since the last good one; the mean of the run is taken to be
        the nominal thickness.
    mean_grey, contrast, clipped_pct
        Mean and standard deviation of the 8-bit grey, and the share of pixels at its ends.
    structure, noise
        Root mean squares of structure and noise at 30 to 500 nm, in grey levels.
    sharpness, anisotropy
        Sharpness without unit, geometric mean of both axes; and that along y over that along x.
    stripe, tear
        Worst step of brightness between lines, in standard deviations; and how much better the worst line would fit
        if it were displaced.
    curtain_pct, curtain_change_pct
        Stripes along y, in per cent of the mean grey; of the slice, and of its difference from the reference.
    tail_pct, tail_change_pct, slow_change_grey
        Trails behind what is bright, of the slice and new since the reference; and uneven change of grey since then:
        charging.
    shift_nm, decorrelation, sameness, new_um2
        Shift, decorrelation, difference in units of noise, and largest new spot since the reference.
    """

    z: ZIndex
    reliable: bool
    troubles: tuple[Identifier, ...] = ()
    severity: Volume = 0.0
    absent: AbsenceReason | None = None
    repairs: tuple[Identifier, ...] = ()
    thickness_nm: Volume | None = None
    mean_grey: FiniteFloat | None = None
    contrast: FiniteFloat | None = None
    clipped_pct: FiniteFloat | None = None
    structure: FiniteFloat | None = None
    noise: FiniteFloat | None = None
    sharpness: FiniteFloat | None = None
    anisotropy: FiniteFloat | None = None
    stripe: FiniteFloat | None = None
    tear: FiniteFloat | None = None
    curtain_pct: FiniteFloat | None = None
    curtain_change_pct: FiniteFloat | None = None
    tail_pct: FiniteFloat | None = None
    tail_change_pct: FiniteFloat | None = None
    slow_change_grey: FiniteFloat | None = None
    shift_nm: FiniteFloat | None = None
    decorrelation: FiniteFloat | None = None
    sameness: FiniteFloat | None = None
    new_um2: FiniteFloat | None = None


class ChromosomeRow(Value):
    """One chromosome as it was separated: a bivalent, or a homolog; docs/measuring.md defines every quantity.

    Attributes
    ----------
    chromosome
        Its number in `labels/chromosomes` and in the table of objects, 1 to k.
    complete
        False where a face of the acquisition cuts it: then its volume is a lower bound, and what would be wrong is
        None.
    volume_um3, volume_low_um3, volume_high_um3
        Its volume as labelled, and after erosion and dilation by one voxel.
    area_um2, sphericity
        Of its surface.
    sc_length_um, sc_tracks, sc_um_per_um3
        Length and number of the complexes in it, and length over volume; None where the complex is no part of
        chromosomes (homologs).
    radial_position
        0 in the middle of the nucleus, 1 at its surface.
    contacts, contact_area_um2
        How many other chromosomes it touches, and over what area.
    nucleolus_contact_um2, envelope_contact_um2
        Areas over which it touches these.
    centroid_z_nm, centroid_y_nm, centroid_x_nm
        In the acquisition.
    bivalent
        The body it is a homolog of; for a bivalent its own number.
    confidence
        0 to 1: how sure its extent is, given its complex; None where the method of separation has no opinion.
    sc_path_um, sc_found
        Length of its complex with the gaps drawn through, and the share of that in which there is one; None where the
        method follows none.
    unreliable_slices
        How many slices from the first to the last of its objects are absent or have something wrong, by the table of
        slices. The results fill it in.
    """

    nucleus_id: Identifier
    chromosome: Rank
    complete: bool
    volume_um3: Volume
    volume_low_um3: Volume
    volume_high_um3: Volume
    area_um2: Volume | None = None
    sphericity: Volume | None = None
    sc_length_um: Volume | None = None
    sc_tracks: Count | None = None
    sc_um_per_um3: Volume | None = None
    radial_position: FiniteFloat | None = None
    contacts: Count
    contact_area_um2: Volume
    nucleolus_contact_um2: Volume
    envelope_contact_um2: Volume
    centroid_z_nm: FiniteFloat
    centroid_y_nm: FiniteFloat
    centroid_x_nm: FiniteFloat
    bivalent: Rank | None = None
    confidence: Fraction | None = None
    sc_path_um: Volume | None = None
    sc_found: Fraction | None = None
    unreliable_slices: Count | None = None


class TrackRow(Value):
    """One synaptonemal complex, or an unbroken piece of one; docs/measuring.md defines every quantity.

    Attributes
    ----------
    track
        1 is the longest of its nucleus.
    chromosome
        The chromosome that its voxels belong to; None where the complex is no part of chromosomes.
    object_id
        The object of the table of objects that holds its middle.
    complete
        False where a face of the acquisition cuts it; its length is then None.
    branches
        It was part of a body that branches, closes on itself or touches another complex.
    length_um, length_low_um, length_high_um
        Along the middle line, and for the complex eroded and dilated by one voxel.
    width_um, thickness_um, axis_distance_um, homolog_distance_um
        Medians along the line: of its cross section, between the middles of the lateral elements, between the
        chromatin of the two homologs.
    curvature_mean_per_um, curvature_greatest_per_um
        Of the middle line.
    twist_pitch_um, twist_turns
        Arc length of a full turn; turns in all, positive when right-handed in (x, y, z).
    swellings
        Candidates of recombination knobs: stretches that are 1.25 times as thick as the rest.
    near_end_envelope_um, far_end_envelope_um
        Distances of its two ends to the inner surface of the nuclear membrane.
    middle_z_nm, middle_y_nm, middle_x_nm
        The middle of the line, in the acquisition.
    """

    nucleus_id: Identifier
    track: Rank
    chromosome: Rank | None = None
    object_id: Annotated[int, Field(ge=1, le=2**32 - 1)] | None = None
    complete: bool
    branches: bool
    length_um: Volume | None = None
    length_low_um: Volume | None = None
    length_high_um: Volume | None = None
    width_um: Volume | None = None
    thickness_um: Volume | None = None
    axis_distance_um: FiniteFloat | None = None
    homolog_distance_um: Volume | None = None
    curvature_mean_per_um: Volume | None = None
    curvature_greatest_per_um: Volume | None = None
    twist_pitch_um: Volume | None = None
    twist_turns: FiniteFloat | None = None
    swellings: Count
    near_end_envelope_um: Volume | None = None
    far_end_envelope_um: Volume | None = None
    middle_z_nm: FiniteFloat
    middle_y_nm: FiniteFloat
    middle_x_nm: FiniteFloat


class ContactRow(Value):
    """Two chromosomes that touch, or a chromosome that touches the nucleolus or the nuclear membrane.

    Attributes
    ----------
    first, second
        Number of the chromosome, and what it touches: a number, `nucleolus` or `nuclear_membrane`.
    area_um2, patches
        Shared area, and in how many separate places.
    z_nm, y_nm, x_nm
        Middle of the largest place, in the acquisition.
    """

    nucleus_id: Identifier
    first: Rank
    second: Identifier
    area_um2: Volume
    patches: Annotated[int, Field(ge=1)]
    z_nm: FiniteFloat
    y_nm: FiniteFloat
    x_nm: FiniteFloat


class CheckRow(Value):
    """A biology check of a nucleus: one row where it passed or does not apply, one per object where it failed.

    Attributes
    ----------
    stage
        Of the nucleus; it decides which checks apply.
    check
        Name of the check; docs/measuring.md lists them.
    state
        passed, failed, or not_run, with the reason in `detail`.
    value, low, high
        What was found, and the range in which it had to be.
    object_id, chromosome
        The object, or chromosome, that failed; None where it is the nucleus.
    z_nm, y_nm, x_nm
        Where to look, in the acquisition.
    """

    nucleus_id: Identifier
    stage: Stage
    check: Identifier
    state: CheckState
    detail: Annotated[str, Field(max_length=400)]
    value: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    object_id: Annotated[int, Field(ge=1, le=2**32 - 1)] | None = None
    chromosome: Rank | None = None
    z_nm: FiniteFloat | None = None
    y_nm: FiniteFloat | None = None
    x_nm: FiniteFloat | None = None

    @model_validator(mode="after")
    def _a_failure_says_where(self) -> Self:
        if self.state == "failed" and None in (self.z_nm, self.y_nm, self.x_nm):
            raise ValueError(f"the failed check {self.check} does not say where to look")
        return self


class SuspectRow(Value):
    """A place where the separation of chromosomes may be wrong, the most doubtful of a nucleus first.

    Attributes
    ----------
    rank
        1 for the most doubtful.
    doubt
        What may be wrong: probable_merge, probable_split, unassigned, count or clipped.
    chromosomes
        Numbers of those concerned, with commas.
    score
        0 to 1, 1 the most doubtful.
    reason
        In words.
    z_nm, y_nm, x_nm
        Where to look, in the acquisition; None for the whole nucleus.
    """

    nucleus_id: Identifier
    rank: Rank
    doubt: Identifier
    chromosomes: Annotated[str, Field(max_length=2000)]
    score: Fraction
    reason: Annotated[str, Field(max_length=400)]
    z_nm: FiniteFloat | None = None
    y_nm: FiniteFloat | None = None
    x_nm: FiniteFloat | None = None


class MeasuredNucleus(NucleusRow):
    """The row of a nucleus together with the rows of other tables that hang on it, as one artefact.

    What components stored before there were such rows is read as a nucleus without any.
    """

    chromosomes: tuple[ChromosomeRow, ...] = ()
    tracks: tuple[TrackRow, ...] = ()
    contacts: tuple[ContactRow, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    suspects: tuple[SuspectRow, ...] = ()
