"""The rows of the result tables: what components measures, the tables hold and users read.

A row travels as a JSON artefact (`model_dump_json`, `model_validate_json`); the order of the fields is
the order of the columns.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, field_validator, model_validator

from services.contracts.classes import LabelClass
from services.contracts.values import Count, Identifier, Side, Value, ZIndex

Volume = Annotated[FiniteFloat, Field(ge=0)]
Fraction = Annotated[FiniteFloat, Field(ge=0, le=1)]
Rank = Annotated[int, Field(ge=1, le=2**31 - 1)]
VoxelIndex = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


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
