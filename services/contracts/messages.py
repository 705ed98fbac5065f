"""The messages of the system, one class per fact; `identity` names what the fact is about.

Two messages with the same identity say the same thing: a receiver that has seen one may drop the other.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, FiniteFloat, StringConstraints, model_validator

from services.contracts.values import (
    AbsenceReason,
    AbsentPlane,
    ArtefactKey,
    ArtefactRef,
    Count,
    DecisionKind,
    GreyMapping,
    GroupStanding,
    Identifier,
    ObjectChange,
    Pixels,
    PixelWindow,
    PlaneKind,
    Sha256,
    Side,
    SliceScore,
    SliceTrouble,
    Text,
    Transform,
    Value,
    VoxelSize,
    ZIndex,
)

ObjectKey = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}-[0-9]{1,10}-[0-9]{1,10}$")]
Bits = Annotated[int, Field(ge=8, le=16, multiple_of=8)]


class Message(Value):
    """A fact in the past tense, published once or more often with the same meaning."""

    @property
    def identity(self) -> str:
        """Path-safe name of what this message is about, the same for every repetition."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """Messages with one key keep their order."""
        raise NotImplementedError

    @property
    def about_acquisition(self) -> str:
        """The acquisition it belongs to; empty for what belongs to none."""
        return str(getattr(self, "acquisition_id", None) or "")


class _AcquisitionMessage(Message):
    acquisition_id: Identifier

    @property
    def key(self) -> str:
        return self.acquisition_id


class _SliceMessage(_AcquisitionMessage):
    z: ZIndex

    @property
    def identity(self) -> str:
        return f"{self.acquisition_id}/z{self.z:06d}"


class _NucleusMessage(_AcquisitionMessage):
    nucleus_id: Identifier

    @property
    def identity(self) -> str:
        return f"{self.acquisition_id}/{self.nucleus_id}"

    @property
    def key(self) -> str:
        return f"{self.acquisition_id}/{self.nucleus_id}"


class AcquisitionOpened(_AcquisitionMessage):
    """The first slices are there: field of view and grey mapping are fixed from now on."""

    voxel_size: VoxelSize
    height_px: Pixels
    width_px: Pixels
    bits: Bits
    z_first: ZIndex
    grey: GreyMapping

    @property
    def identity(self) -> str:
        return f"{self.acquisition_id}/opened"


class DecisionRecorded(_AcquisitionMessage):
    """Somebody, or a policy that somebody configured, decided what no clock may decide.

    `model_set` belongs to a swap: the networks that segment nuclei confirmed from z_first on, as slices say too.
    """

    kind: DecisionKind
    z_first: ZIndex
    z_last: ZIndex
    decided_by: Identifier
    reason: Text
    model_set: Sha256 | None = None
    request_id: Identifier | None = None

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if self.z_last < self.z_first:
            raise ValueError(f"z_last ({self.z_last}) is before z_first ({self.z_first})")
        return self

    @model_validator(mode="after")
    def _only_a_swap_names_models(self) -> Self:
        if self.model_set is not None and self.kind is not DecisionKind.MODELS_SWAPPED:
            raise ValueError(f"a decision of kind {self.kind} names no model set")
        return self

    @property
    def identity(self) -> str:
        # Two swaps may be decided before one slice: the later one holds.
        asked = f"-{self.request_id}" if self.kind is DecisionKind.MODELS_SWAPPED and self.request_id else ""
        return f"{self.acquisition_id}/decision-{self.kind.lower()}-{self.z_first:06d}-{self.z_last:06d}{asked}"


class AcquisitionFinished(_AcquisitionMessage):
    """No slice after z_last will come."""

    z_first: ZIndex
    z_last: ZIndex

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if self.z_last < self.z_first:
            raise ValueError(f"z_last ({self.z_last}) is before z_first ({self.z_first})")
        return self

    @property
    def identity(self) -> str:
        return f"{self.acquisition_id}/finished"


class SliceIngested(_SliceMessage):
    """One slice, complete and readable; its bytes stay untouched where `raw` says.

    `model_set` is that of the last swap at or before this z, so that a swap needs no other order than that of the
    slices; absent before the first.
    """

    raw: ArtefactRef
    page: Count
    file_name: Text
    height_px: Pixels
    width_px: Pixels
    bits: Bits
    voxel_size: VoxelSize
    grey: GreyMapping
    transform: Transform
    channel: Annotated[int, Field(ge=0, le=3)] | None = None
    model_set: Sha256 | None = None


class SliceAbsent(_SliceMessage):
    """There is nothing to see at this z, and nobody should wait for it."""

    reason: AbsenceReason
    detail: Text


class OutlinesDetected(Message):
    """The outlines of one slice; `outlines` holds their polygons.

    `digest` is the slice made small, for whoever compares it with its neighbours; absent where nobody does. `quality`
    is what it says of its quality by itself, with the reduced plane that the next ones are compared with. `repairs`
    names those that changed the slice before it was searched, and before it is cut.
    """

    slice: SliceIngested
    outlines: ArtefactRef
    outline_count: Count
    digest: ArtefactRef | None = None
    quality: ArtefactRef | None = None
    repairs: tuple[Identifier, ...] = ()

    @property
    def identity(self) -> str:
        return self.slice.identity

    @property
    def about_acquisition(self) -> str:
        return self.slice.acquisition_id

    @property
    def key(self) -> str:
        return self.slice.acquisition_id


class SliceJudged(_SliceMessage):
    """How good one slice is, judged by itself and the slices before it; told for every z, the absent ones too.

    `troubles` has the worst first. `thickness_nm` is the depth milled since the slice before, absent where nothing
    could be compared; `absent` says why there is no slice. `repairs` names those that changed what networks see of it.
    """

    troubles: tuple[SliceTrouble, ...] = ()
    thickness_nm: Annotated[FiniteFloat, Field(ge=0)] | None = None
    scores: tuple[SliceScore, ...] = ()
    absent: AbsenceReason | None = None
    repairs: tuple[Identifier, ...] = ()

    @property
    def key(self) -> str:
        return self.acquisition_id

    @property
    def reliable(self) -> bool:
        """Whether there is a slice, and nothing is wrong with it."""
        return self.absent is None and not self.troubles


class SliceRegistered(_SliceMessage):
    """Where one slice lies in the acquisition, by its content and that of its neighbours.

    `first` was found from the slices before it alone, and what is cut out follows it; `transform` from those behind it
    too, by the rule of the trend, and what is assembled follows that. `linked` says whether it agreed with any slice
    before it, `ncc` how well with the nearest good one.
    """

    first: Transform
    transform: Transform
    linked: bool
    ncc: Annotated[FiniteFloat, Field(ge=-1, le=1)]
    registration: Identifier

    @property
    def key(self) -> str:
        return self.acquisition_id


class NucleusOpened(_NucleusMessage):
    """A nucleus was confirmed; its canvas and the models that segment it are fixed from now on.

    `registration` is the digest of the settings by which its slices are registered; absent where they are not.
    """

    z_first: ZIndex
    canvas: PixelWindow
    voxel_size: VoxelSize
    grey: GreyMapping
    model_set: Sha256
    continues: Identifier | None = None
    registration: Identifier | None = None


class NucleusClosed(_NucleusMessage):
    """Every z from z_first to z_last is accounted for: as a crop, or here with the reason of its absence.

    `depths` holds the measured depth of every plane; absent where slices count as equally thick.
    """

    z_first: ZIndex
    z_last: ZIndex
    absent: tuple[AbsentPlane, ...] = ()
    clipped: tuple[Side, ...] = ()
    detected_planes: Count
    bridged_planes: Count
    cap_planes: Count
    depths: ArtefactRef | None = None

    @model_validator(mode="after")
    def _planes_add_up(self) -> Self:
        planes = self.detected_planes + self.bridged_planes + self.cap_planes + len(self.absent)
        if planes != self.z_last - self.z_first + 1:
            raise ValueError(f"{planes} planes do not account for z {self.z_first} to {self.z_last}")
        if any(not self.z_first <= plane.z <= self.z_last for plane in self.absent):
            raise ValueError("an absent plane lies outside the nucleus")
        if len({plane.z for plane in self.absent}) < len(self.absent):
            raise ValueError("a plane is absent twice")
        return self


class CropExtracted(_NucleusMessage):
    """The pixels round a nucleus in one slice, with its mask, at an integer origin of the raw slice."""

    z: ZIndex
    kind: PlaneKind
    window: PixelWindow
    crop: ArtefactRef
    voxel_size: VoxelSize
    grey: GreyMapping
    transform: Transform
    model_set: Sha256

    @property
    def identity(self) -> str:
        return f"{self.acquisition_id}/{self.nucleus_id}/z{self.z:06d}"


class CropAbsent(_NucleusMessage):
    """There is no crop of this nucleus at this z."""

    z: ZIndex
    reason: AbsenceReason
    detail: Text

    @property
    def identity(self) -> str:
        return f"{self.acquisition_id}/{self.nucleus_id}/z{self.z:06d}"


class CropSegmented(Message):
    """A class and a confidence for every pixel of a crop."""

    crop: CropExtracted
    planes: ArtefactRef
    plane_voxel_size: VoxelSize
    numeric_profile: Identifier

    @property
    def identity(self) -> str:
        return self.crop.identity

    @property
    def about_acquisition(self) -> str:
        return self.crop.acquisition_id

    @property
    def key(self) -> str:
        return self.crop.key


class VolumeExtended(_NucleusMessage):
    """Planes below clean_final_z are cleaned for good; objects that still grow are provisional.

    `closed_tables` holds the chromatin and the synaptonemal complex that nothing can join any more and that no message
    before told of; absent where there is none.
    """

    z_first: ZIndex
    clean_final_z: ZIndex
    volume_prefix: ArtefactKey
    changes: ArtefactRef
    closed_tables: ArtefactRef | None = None
    plane_voxel_size: VoxelSize | None = None

    @model_validator(mode="after")
    def _tables_have_a_voxel_size(self) -> Self:
        if self.closed_tables is not None and self.plane_voxel_size is None:
            raise ValueError("closed_tables need the plane_voxel_size of their planes")
        return self

    @property
    def identity(self) -> str:
        return f"{self.acquisition_id}/{self.nucleus_id}/clean{self.clean_final_z:06d}"


class VolumeClosed(Message):
    """The nucleus is complete: its run tables hold every object."""

    nucleus: NucleusClosed
    opened: NucleusOpened
    volume_prefix: ArtefactKey
    tables: ArtefactRef
    changes: ArtefactRef
    summary: ArtefactRef

    @model_validator(mode="after")
    def _both_are_of_one_nucleus(self) -> Self:
        if self.nucleus.identity != self.opened.identity:
            raise ValueError(f"{self.nucleus.identity} was closed, {self.opened.identity} opened")
        return self

    @property
    def identity(self) -> str:
        return f"{self.nucleus.identity}/closed"

    @property
    def about_acquisition(self) -> str:
        return self.nucleus.acquisition_id

    @property
    def key(self) -> str:
        return self.nucleus.key


class ObjectChanged(_NucleusMessage):
    """An object of a label volume was born, grew, turned out to belong to an older one, or closed."""

    object_key: ObjectKey
    change: ObjectChange
    label_class: Annotated[int, Field(ge=1, le=255)]
    voxels: Annotated[int, Field(ge=1, le=2**63 - 1)]
    z_front: ZIndex
    merged_into: ObjectKey | None = None

    @model_validator(mode="after")
    def _a_merge_names_the_older_object(self) -> Self:
        if (self.change is ObjectChange.MERGED) != (self.merged_into is not None):
            raise ValueError("merged_into is given exactly when the change is MERGED")
        return self

    @property
    def identity(self) -> str:
        return f"{self.acquisition_id}/{self.nucleus_id}/{self.object_key}-{self.change.lower()}-{self.z_front:06d}"


class ChromosomesSeparated(_NucleusMessage):
    """The chromosomes in a group of objects that touch: told when nothing can join it, and again at the close.

    While the nucleus grows they are provisional, their number unknown. When it closes, `CONFIRMED` says that the
    separation of the whole nucleus found the same in the group, `REVISED` that it found others; these are then told.
    """

    group: ObjectKey
    standing: GroupStanding
    method: Identifier
    chromosome_count: Count
    voxels: Annotated[int, Field(ge=1, le=2**63 - 1)]
    z_front: ZIndex
    rows: ArtefactRef
    confidence: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None

    @property
    def identity(self) -> str:
        told = "provisional" if self.standing is GroupStanding.PROVISIONAL else "closed"
        return f"{self.acquisition_id}/{self.nucleus_id}/{self.group}-{told}"


class ComponentsMeasured(_NucleusMessage):
    """Chromosomes separated and everything measured; the tables are ready to be read."""

    method: Identifier
    expected_count: Count
    chromosome_count: Count
    volume_prefix: ArtefactKey
    objects: ArtefactRef
    measurements: ArtefactRef

    @property
    def identity(self) -> str:
        return f"{self.acquisition_id}/{self.nucleus_id}/{self.method}"


class TrainingRequested(Message):
    """Somebody asks for networks to be trained; `inputs` lists the files that the recipe names, if it names any."""

    request_id: Identifier
    recipe: ArtefactRef
    requested_by: Identifier
    inputs: ArtefactRef | None = None

    @property
    def identity(self) -> str:
        return self.request_id

    @property
    def key(self) -> str:
        return self.request_id


class ModelPublished(Message):
    """A model is addressed by the hash of its weights and card.

    `served` is the archive that a TorchServe loads, of the set (`model_set`) in which it took its namesake's place;
    absent where it fits no set. `request_id` names the training it came from, if it came from one.
    """

    model_id: Identifier
    card: ArtefactRef
    weights: ArtefactRef
    archive: ArtefactRef
    served: ArtefactRef | None = None
    model_set: Sha256 | None = None
    request_id: Identifier | None = None

    @property
    def identity(self) -> str:
        return self.model_id

    @property
    def key(self) -> str:
        return self.model_id


class DeadLettered(Message):
    """An input that cannot be worked on: its bytes are kept, the reason is said, the next one flows."""

    service: Identifier
    subject: Text
    origin: Text
    message_type: Text
    message_key: Text
    original: ArtefactRef
    reason: Identifier
    detail: Text
    attempts: Count
    acquisition_id: Identifier | None = None
    z: ZIndex | None = None

    @property
    def identity(self) -> str:
        return f"{self.service}/{self.original.sha256[:16]}-{self.reason}"

    @property
    def key(self) -> str:
        return self.service


MESSAGE_TYPES: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        AcquisitionOpened,
        DecisionRecorded,
        AcquisitionFinished,
        SliceIngested,
        SliceAbsent,
        OutlinesDetected,
        SliceJudged,
        SliceRegistered,
        NucleusOpened,
        NucleusClosed,
        CropExtracted,
        CropAbsent,
        CropSegmented,
        VolumeExtended,
        VolumeClosed,
        ObjectChanged,
        ChromosomesSeparated,
        ComponentsMeasured,
        TrainingRequested,
        ModelPublished,
        DeadLettered,
    )
}
