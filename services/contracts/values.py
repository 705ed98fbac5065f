"""Values that messages carry: identifiers, references, windows, voxel sizes; each refuses what it cannot mean."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

# Identifiers become parts of paths and of metric labels: no separators, no leading dot, no surprises.
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
ArtefactKey = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.=-]*(/[A-Za-z0-9][A-Za-z0-9_.=-]*)*$", max_length=512)
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ZIndex = Annotated[int, Field(ge=0, le=2**31 - 1)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Bytes = Annotated[int, Field(ge=0, le=2**63 - 1)]
Pixels = Annotated[int, Field(ge=1, le=2**20)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000)]


class Value(BaseModel):
    """A frozen value of which every field is known: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AbsenceReason(StrEnum):
    """Why nothing can be seen at a z."""

    MISSING = "MISSING"
    BLANK = "BLANK"
    DEAD_LETTERED = "DEAD_LETTERED"


class PlaneKind(StrEnum):
    """How the outline of a crop is known: seen, interpolated between two seen ones, or continued past the last."""

    DETECTED = "DETECTED"
    BRIDGED = "BRIDGED"
    CAP = "CAP"


class Side(StrEnum):
    """A face of the acquisition at which a nucleus is cut off."""

    Z_FIRST = "Z_FIRST"
    Z_LAST = "Z_LAST"
    Y_FIRST = "Y_FIRST"
    Y_LAST = "Y_LAST"
    X_FIRST = "X_FIRST"
    X_LAST = "X_LAST"


class DecisionKind(StrEnum):
    """What was decided by a person, or by a policy that a person configured."""

    SLICES_MISSING = "SLICES_MISSING"
    CONFLICT_RESOLVED = "CONFLICT_RESOLVED"
    ACQUISITION_FINISHED = "ACQUISITION_FINISHED"
    MODELS_SWAPPED = "MODELS_SWAPPED"


class ObjectChange(StrEnum):
    """What happened to an object since it was last reported."""

    BORN = "BORN"
    GREW = "GREW"
    MERGED = "MERGED"
    CLOSED = "CLOSED"


class GroupStanding(StrEnum):
    """What is to be thought of chromosomes told before their nucleus closed."""

    PROVISIONAL = "PROVISIONAL"
    CONFIRMED = "CONFIRMED"
    REVISED = "REVISED"


class ArtefactRef(Value):
    """Where an artefact lies in the store, and the proof that it is the one that was meant."""

    key: ArtefactKey
    sha256: Sha256
    size_bytes: Bytes


class VoxelSize(Value):
    """Edge lengths of a voxel in nanometres."""

    z_nm: Annotated[FiniteFloat, Field(gt=0, le=10_000)]
    y_nm: Annotated[FiniteFloat, Field(gt=0, le=10_000)]
    x_nm: Annotated[FiniteFloat, Field(gt=0, le=10_000)]

    @property
    def zyx_nm(self) -> tuple[float, float, float]:
        """The three lengths in the order of array axes."""
        return (self.z_nm, self.y_nm, self.x_nm)

    @property
    def volume_nm3(self) -> float:
        """Volume of one voxel in cubic nanometres."""
        return self.z_nm * self.y_nm * self.x_nm


class PixelWindow(Value):
    """A window of pixels of a slice; the origin of a canvas may lie outside the field."""

    y0_px: Annotated[int, Field(ge=-(2**20), le=2**20)]
    x0_px: Annotated[int, Field(ge=-(2**20), le=2**20)]
    height_px: Pixels
    width_px: Pixels

    @property
    def origin_yx(self) -> tuple[int, int]:
        """First row and first column."""
        return (self.y0_px, self.x0_px)

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.height_px, self.width_px)


class Transform(Value):
    """Registration of a slice: (y, x) of the acquisition = matrix times (y, x) of the raw slice, plus shift."""

    yy: FiniteFloat = 1.0
    yx: FiniteFloat = 0.0
    xy: FiniteFloat = 0.0
    xx: FiniteFloat = 1.0
    shift_y_px: FiniteFloat = 0.0
    shift_x_px: FiniteFloat = 0.0

    @model_validator(mode="after")
    def _can_be_inverted(self) -> Transform:
        if self.yy * self.xx - self.yx * self.xy == 0:
            raise ValueError("a transform that maps the slice onto a line or a point is none")
        return self


class GreyMapping(Value):
    """Grey values frozen from the first slices in z order.

    Raw grey `low` maps to 0 and `high` to 255; `mean` and `sd` are those of the mapped 8-bit grey,
    by which networks are normalised. 8-bit files have low 0 and high 255. Where grey is `inverted`, the mapped grey is
    turned round (255 - grey) before anything else sees it.
    """

    low: Annotated[FiniteFloat, Field(ge=0)]
    high: Annotated[FiniteFloat, Field(gt=0, le=65535)]
    mean: Annotated[FiniteFloat, Field(ge=0, le=255)]
    sd: Annotated[FiniteFloat, Field(gt=0, le=255)]
    inverted: bool = False

    @model_validator(mode="after")
    def _low_is_below_high(self) -> GreyMapping:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self


class AbsentPlane(Value):
    """A z inside a nucleus that has no crop."""

    z: ZIndex
    reason: AbsenceReason


class SliceTrouble(Value):
    """One kind of trouble of a slice.

    `severity` is in thresholds, 1 and more; `quantity` is what told it, with its value and what was usual.
    """

    trouble: Identifier
    severity: Annotated[FiniteFloat, Field(ge=1)]
    quantity: Identifier
    value: FiniteFloat
    usual: FiniteFloat


class SliceScore(Value):
    """One measure of a slice."""

    quantity: Identifier
    value: FiniteFloat
