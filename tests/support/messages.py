"""One valid message of every type, with every optional field set, and builders that change what a test is about."""

from __future__ import annotations

from typing import Any, TypeVar

from services.contracts.messages import (
    MESSAGE_TYPES,
    AcquisitionFinished,
    AcquisitionOpened,
    ChromosomesSeparated,
    ComponentsMeasured,
    CropAbsent,
    CropExtracted,
    CropSegmented,
    DeadLettered,
    DecisionRecorded,
    Message,
    ModelPublished,
    NucleusClosed,
    NucleusOpened,
    ObjectChanged,
    OutlinesDetected,
    SliceAbsent,
    SliceIngested,
    SliceJudged,
    SliceRegistered,
    TrainingRequested,
    VolumeClosed,
    VolumeExtended,
)
from services.contracts.values import (
    AbsenceReason,
    AbsentPlane,
    ArtefactRef,
    DecisionKind,
    GreyMapping,
    GroupStanding,
    ObjectChange,
    PixelWindow,
    PlaneKind,
    Side,
    SliceScore,
    SliceTrouble,
    Transform,
    VoxelSize,
)

ACQUISITION = "worm-7_left.roi"
NUCLEUS = "n0003"
MODEL_SET = "5e" * 32

Kind = TypeVar("Kind", bound=Message)

# Lengths and counts differ wherever a mix-up of axes or fields would otherwise pass unseen.
VOXEL_SIZE = VoxelSize(z_nm=8.0, y_nm=4.0, x_nm=4.25)
GREY = GreyMapping(low=12.5, high=243.0, mean=131.25, sd=29.5)
TRANSFORM = Transform(yy=1.5, yx=-0.25, xy=0.125, xx=0.75, shift_y_px=-3.5, shift_x_px=12.25)
WINDOW = PixelWindow(y0_px=-20, x0_px=1310, height_px=1700, width_px=1720)


def ref(name: str, size_bytes: int = 4096) -> ArtefactRef:
    """Return a reference to something called `name`."""
    return ArtefactRef(key=f"{ACQUISITION}/{name}", sha256=f"{sum(name.encode()):04x}" * 16, size_bytes=size_bytes)


_SLICE = SliceIngested(
    acquisition_id=ACQUISITION,
    z=417,
    raw=ref("raw/z000417-00ff", 12_500_000_000),
    page=3,
    file_name="worm 7 µm/slice_0417.tif",
    height_px=2500,
    width_px=5000,
    bits=16,
    voxel_size=VOXEL_SIZE,
    grey=GREY,
    transform=TRANSFORM,
    channel=2,
    model_set=MODEL_SET,
)
_CROP = CropExtracted(
    acquisition_id=ACQUISITION,
    nucleus_id=NUCLEUS,
    z=417,
    kind=PlaneKind.BRIDGED,
    window=WINDOW,
    crop=ref("nuclei/n0003/crops/z000417-00ff.tif"),
    voxel_size=VOXEL_SIZE,
    grey=GREY,
    transform=TRANSFORM,
    model_set=MODEL_SET,
)
_OPENED = NucleusOpened(
    acquisition_id=ACQUISITION,
    nucleus_id=NUCLEUS,
    z_first=400,
    canvas=PixelWindow(y0_px=-870, x0_px=460, height_px=3400, width_px=3440),
    voxel_size=VOXEL_SIZE,
    grey=GREY,
    model_set=MODEL_SET,
    continues="n0001",
    registration="00ff00ff00ff00ff",
)
_CLOSED = NucleusClosed(
    acquisition_id=ACQUISITION,
    nucleus_id=NUCLEUS,
    z_first=400,
    z_last=417,
    absent=(AbsentPlane(z=402, reason=AbsenceReason.MISSING), AbsentPlane(z=410, reason=AbsenceReason.BLANK)),
    clipped=(Side.Y_FIRST, Side.Z_LAST),
    detected_planes=9,
    bridged_planes=4,
    cap_planes=3,
    depths=ref("nuclei/n0007/depths/z000417-00ff"),
)

EXAMPLES: dict[type[Message], Message] = {
    type(message): message
    for message in (
        AcquisitionOpened(
            acquisition_id=ACQUISITION,
            voxel_size=VOXEL_SIZE,
            height_px=2500,
            width_px=5000,
            bits=8,
            z_first=400,
            grey=GREY,
        ),
        DecisionRecorded(
            acquisition_id=ACQUISITION,
            kind=DecisionKind.MODELS_SWAPPED,
            z_first=402,
            z_last=405,
            decided_by="operator",
            reason="the new network finds more",
            model_set=MODEL_SET,
            request_id="use_models-0123456789ab",
        ),
        AcquisitionFinished(acquisition_id=ACQUISITION, z_first=400, z_last=1650),
        _SLICE,
        SliceAbsent(
            acquisition_id=ACQUISITION, z=402, reason=AbsenceReason.DEAD_LETTERED, detail="truncated in strip 7"
        ),
        OutlinesDetected(
            slice=_SLICE,
            outlines=ref("outlines/z000417-00ff"),
            outline_count=19,
            digest=ref("digests/z000417-00ff"),
            quality=ref("quality/z000417-00ff"),
            repairs=("destripe",),
        ),
        SliceRegistered(
            acquisition_id=ACQUISITION,
            z=417,
            first=Transform(shift_y_px=-3.0, shift_x_px=12.0),
            transform=TRANSFORM,
            linked=True,
            ncc=0.875,
            registration="00ff00ff00ff00ff",
        ),
        SliceJudged(
            acquisition_id=ACQUISITION,
            z=417,
            troubles=(
                SliceTrouble(trouble="defocus", severity=2.5, quantity="log_sharpness", value=-1.5, usual=-0.75),
            ),
            thickness_nm=8.5,
            scores=(SliceScore(quantity="mean_grey", value=131.5), SliceScore(quantity="log_sharpness", value=-1.5)),
            absent=AbsenceReason.BLANK,
            repairs=("gain",),
        ),
        _OPENED,
        _CLOSED,
        _CROP,
        CropAbsent(
            acquisition_id=ACQUISITION,
            nucleus_id=NUCLEUS,
            z=402,
            reason=AbsenceReason.MISSING,
            detail="declared missing by operator",
        ),
        CropSegmented(
            crop=_CROP,
            planes=ref("nuclei/n0003/planes/z000417-00ff"),
            plane_voxel_size=VoxelSize(z_nm=16.0, y_nm=15.0, x_nm=17.0),
            numeric_profile="exact",
        ),
        VolumeExtended(
            acquisition_id=ACQUISITION,
            nucleus_id=NUCLEUS,
            z_first=400,
            clean_final_z=410,
            volume_prefix=f"{ACQUISITION}/nuclei/n0003/volume-00ff",
            changes=ref("nuclei/n0003/volume-00ff/changes-000410"),
            closed_tables=ref("nuclei/n0003/volume-00ff/closed-000410"),
            plane_voxel_size=VoxelSize(z_nm=16.0, y_nm=15.0, x_nm=17.0),
        ),
        VolumeClosed(
            nucleus=_CLOSED,
            opened=_OPENED,
            volume_prefix=f"{ACQUISITION}/nuclei/n0003/volume-00ff",
            tables=ref("nuclei/n0003/volume-00ff/tables"),
            changes=ref("nuclei/n0003/volume-00ff/changes"),
            summary=ref("nuclei/n0003/volume-00ff/summary"),
        ),
        ObjectChanged(
            acquisition_id=ACQUISITION,
            nucleus_id=NUCLEUS,
            object_key="12-340-567",
            change=ObjectChange.MERGED,
            label_class=2,
            voxels=5_000_000_000,
            z_front=417,
            merged_into="3-33-333",
        ),
        ChromosomesSeparated(
            acquisition_id=ACQUISITION,
            nucleus_id=NUCLEUS,
            group="12-340-567",
            standing=GroupStanding.REVISED,
            method="adaptive-6",
            chromosome_count=3,
            voxels=5_000_000_000,
            z_front=417,
            rows=ref("nuclei/n0003/components-00ff/groups/12-340-567"),
            confidence=0.75,
        ),
        ComponentsMeasured(
            acquisition_id=ACQUISITION,
            nucleus_id=NUCLEUS,
            method="adaptive-6",
            expected_count=12,
            chromosome_count=11,
            volume_prefix=f"{ACQUISITION}/nuclei/n0003/volume-00ff",
            objects=ref("nuclei/n0003/components-00ff/objects"),
            measurements=ref("nuclei/n0003/components-00ff/measurements"),
        ),
        TrainingRequested(
            request_id="request-12",
            recipe=ref("recipes/membrane"),
            requested_by="operator",
            inputs=ref("recipes/inputs"),
        ),
        ModelPublished(
            model_id="membrane-16nm",
            card=ref("models/membrane/card"),
            weights=ref("models/membrane/weights", 3_900_000),
            archive=ref("models/membrane/archive", 4_100_000),
            served=ref("models/sets/served", 12_500_000),
            model_set=MODEL_SET,
            request_id="request-12",
        ),
        DeadLettered(
            service="extract-detect",
            subject=f"{ACQUISITION}/z000402",
            origin="slices/3/1204",
            message_type="SliceIngested",
            message_key=f"{ACQUISITION}/402",
            original=ref("dead-letters/00ff"),
            reason="truncated_tiff",
            detail="strip 7 ends after 40 of 4096 bytes",
            attempts=3,
            acquisition_id=ACQUISITION,
            z=402,
        ),
    )
}
# Optional fields of messages, by type: left out, the message is still whole.
OPTIONAL: dict[type[Message], tuple[str, ...]] = {
    DecisionRecorded: ("model_set", "request_id"),
    SliceIngested: ("channel", "model_set"),
    NucleusOpened: ("continues",),
    VolumeExtended: ("closed_tables", "plane_voxel_size"),
    ChromosomesSeparated: ("confidence",),
    TrainingRequested: ("inputs",),
    ModelPublished: ("served", "model_set", "request_id"),
    DeadLettered: ("acquisition_id", "z"),
}


def example(kind: type[Kind], /, **changes: Any) -> Kind:
    """Return a valid message of that type, with some fields changed.

    Raises
    ------
    pydantic.ValidationError
        If the changed message is not valid.
    """
    fields = {name: getattr(EXAMPLES[kind], name) for name in kind.model_fields}
    return kind.model_validate({**fields, **changes})


def without_optional(kind: type[Kind]) -> Kind:
    """Return a valid message of that type that says no more than it must."""
    changes: dict[str, Any] = dict.fromkeys(OPTIONAL.get(kind, ()))
    if kind is NucleusClosed:
        changes = {"absent": (), "clipped": (), "z_last": 415}
    if kind is ObjectChanged:
        changes = {"change": ObjectChange.GREW, "merged_into": None}
    return example(kind, **changes)


assert set(EXAMPLES) == set(MESSAGE_TYPES.values()), "a message type without an example"
