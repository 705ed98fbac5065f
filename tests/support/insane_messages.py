"""Messages that every rule of the contracts allows and that mean nothing, or harm: what a broken producer may send.

They are about an acquisition of their own, `GHOST`, but for those that borrow an artefact of another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from services.contracts.keys import crop_key, outlines_key, planes_key, raw_key, volume_prefix
from services.contracts.messages import (
    AcquisitionFinished,
    AcquisitionOpened,
    CropExtracted,
    CropSegmented,
    DecisionRecorded,
    Message,
    NucleusClosed,
    NucleusOpened,
    OutlinesDetected,
    SliceAbsent,
    SliceIngested,
    VolumeClosed,
    VolumeExtended,
)
from services.contracts.values import (
    AbsenceReason,
    ArtefactRef,
    DecisionKind,
    GreyMapping,
    PixelWindow,
    PlaneKind,
    Transform,
    VoxelSize,
)

GHOST = "ghost"
LARGEST_Z = 2**31 - 1
LARGEST_PX = 2**20
VOXEL = VoxelSize(z_nm=80.0, y_nm=80.0, x_nm=80.0)
HUGE_VOXEL = VoxelSize(z_nm=10_000.0, y_nm=10_000.0, x_nm=10_000.0)
TINY_VOXEL = VoxelSize(z_nm=1e-9, y_nm=1e-9, x_nm=1e-9)
GREY = GreyMapping(low=0.0, high=255.0, mean=128.0, sd=40.0)
ENDLESS = PixelWindow(y0_px=-LARGEST_PX, x0_px=-LARGEST_PX, height_px=LARGEST_PX, width_px=LARGEST_PX)
GARBAGE = b"these bytes are whole, and nothing that anybody could read" * 20
NO_MODELS = "5e" * 32

# How often each service refuses something of it, and why; what is not named here waits for more that never comes.
REFUSED = Counter({
    ("extract-detect", "artefact_missing"): 1, ("extract-detect", "slice_changed"): 2,
    ("extract-detect", "undetectable_slice"): 2, ("extract-follow", "artefact_missing"): 1,
    ("extract-follow", "damaged_outlines"): 1, ("inference", "artefact_missing"): 1, ("inference", "damaged_crop"): 1,
    ("inference", "other_models"): 1, ("inference", "crop_too_large"): 1, ("postprocess", "canvas_too_large"): 2,
    ("postprocess", "artefact_missing"): 1, ("postprocess", "damaged_planes"): 1, ("postprocess", "damaged_crop"): 1,
    ("postprocess", "unequal_shapes"): 1, ("components", "damaged_volume"): 2, ("components", "artefact_missing"): 1,
})  # fmt: skip


# A service reads no keys but of its inputs' kinds, so that what is to be refused by its bytes must lie there.
NUCLEUS = "n0009"
VOLUME = volume_prefix(GHOST, NUCLEUS, "0" * 16)
KEYS: Mapping[str, str] = {
    "raw": raw_key(GHOST, 1, "0" * 64),
    "outlines": outlines_key(GHOST, 1, "0" * 16),
    "crop": crop_key(GHOST, NUCLEUS, 1, "0" * 16),
    "planes": planes_key(GHOST, NUCLEUS, 1, "0" * 16),
    "volume": f"{VOLUME}/garbage",
}


def garbage(put: Callable[[str, bytes], ArtefactRef]) -> Mapping[str, ArtefactRef]:
    """Store bytes that are no artefact of ours, as one of every kind; return the references by kind."""
    return {kind: put(key, GARBAGE) for kind, key in KEYS.items()}


def _nowhere(kind: str) -> ArtefactRef:
    return ArtefactRef(key=f"{KEYS[kind]}-nowhere", sha256="ab" * 32, size_bytes=4096)


def _slice(z: int, raw: ArtefactRef, voxel: VoxelSize = VOXEL, size_px: int = 100, page: int = 0) -> SliceIngested:
    return SliceIngested(
        acquisition_id=GHOST, z=z, raw=raw, page=page, file_name="ghost.tif", height_px=size_px, width_px=size_px,
        bits=8, voxel_size=voxel, grey=GREY, transform=Transform(),
    )  # fmt: skip


def _crop(nucleus: str, z: int, crop: ArtefactRef, models: str, voxel: VoxelSize = VOXEL) -> CropExtracted:
    return CropExtracted(
        acquisition_id=GHOST, nucleus_id=nucleus, z=z, kind=PlaneKind.DETECTED, window=ENDLESS, crop=crop,
        voxel_size=voxel, grey=GREY, transform=Transform(), model_set=models,
    )  # fmt: skip


def _opened(nucleus: str, canvas: PixelWindow, voxel: VoxelSize = VOXEL) -> NucleusOpened:
    return NucleusOpened(
        acquisition_id=GHOST, nucleus_id=nucleus, z_first=0, canvas=canvas, voxel_size=voxel, grey=GREY,
        model_set=NO_MODELS,
    )  # fmt: skip


def _closed(nucleus: str) -> NucleusClosed:
    return NucleusClosed(
        acquisition_id=GHOST, nucleus_id=nucleus, z_first=1, z_last=LARGEST_Z, detected_planes=LARGEST_Z,
        bridged_planes=0, cap_planes=0,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What real messages named, of another acquisition: a slice, a crop, its label planes, and the networks' digest."""

    slice: ArtefactRef
    crop: ArtefactRef
    planes: ArtefactRef
    models: str

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Self:
        """Return what some messages name."""
        seen = list(messages)
        plane = next(message for message in seen if isinstance(message, SliceIngested))
        segmented = next(message for message in seen if isinstance(message, CropSegmented))
        return cls(plane.raw, segmented.crop.crop, segmented.planes, segmented.crop.model_set)


def insane(rubbish: Mapping[str, ArtefactRef], borrowed: Borrowed) -> Mapping[str, tuple[str, Message]]:
    """Return messages by what is insane about them, each with the topic it is to be put on.

    Parameters
    ----------
    rubbish
        Whole artefacts that are nothing, by kind (`garbage`).
    borrowed
        What is real.
    """
    models = borrowed.models
    small = PixelWindow(y0_px=0, x0_px=0, height_px=64, width_px=64)
    return {
        "a slice that nobody stored": ("slices", _slice(LARGEST_Z, _nowhere("raw"))),
        "a slice that is no image": ("slices", _slice(1, rubbish["raw"])),
        "a slice of 2^40 pixels": ("slices", _slice(2, borrowed.slice, size_px=LARGEST_PX)),
        "page two thousand million of a slice": ("slices", _slice(3, borrowed.slice, page=LARGEST_Z)),
        "a slice of voxels of 10 um": ("slices", _slice(4, borrowed.slice, voxel=HUGE_VOXEL)),
        "a slice of voxels smaller than an atom": ("slices", _slice(5, borrowed.slice, voxel=TINY_VOXEL)),
        "outlines that nobody stored": (
            "outlines",
            OutlinesDetected(slice=_slice(11, rubbish["raw"]), outlines=_nowhere("outlines"), outline_count=3),
        ),
        "outlines that are none": (
            "outlines",
            OutlinesDetected(slice=_slice(12, rubbish["raw"]), outlines=rubbish["outlines"], outline_count=LARGEST_Z),
        ),
        "an absent slice of the last z there is": (
            "outlines",
            SliceAbsent(acquisition_id=GHOST, z=LARGEST_Z, reason=AbsenceReason.BLANK, detail="ghost"),
        ),
        "an acquisition of 2^40 pixels": (
            "acquisitions",
            AcquisitionOpened(
                acquisition_id=GHOST,
                voxel_size=TINY_VOXEL,
                height_px=LARGEST_PX,
                width_px=LARGEST_PX,
                bits=8,
                z_first=0,
                grey=GREY,
            ),
        ),
        "two thousand million slices declared missing": (
            "acquisitions",
            DecisionRecorded(
                acquisition_id=GHOST,
                kind=DecisionKind.SLICES_MISSING,
                z_first=0,
                z_last=LARGEST_Z,
                decided_by="ghost",
                reason="ghost",
            ),
        ),
        "an acquisition of two thousand million slices": (
            "acquisitions",
            AcquisitionFinished(acquisition_id=GHOST, z_first=0, z_last=LARGEST_Z),
        ),
        "a crop that nobody stored": ("crops", _crop("n0001", 1, _nowhere("crop"), models)),
        "a crop that is none": ("crops", _crop("n0001", 2, rubbish["crop"], models)),
        "a crop for networks nobody has": ("crops", _crop("n0001", 3, borrowed.crop, NO_MODELS)),
        "a crop of voxels of 10 um": ("crops", _crop("n0001", 4, borrowed.crop, models, HUGE_VOXEL)),
        "a crop of voxels smaller than an atom": ("crops", _crop("n0001", 5, borrowed.crop, models, TINY_VOXEL)),
        "a nucleus of 2^40 pixels": ("nuclei", _opened("n0002", ENDLESS)),
        "a nucleus of voxels of 10 um": ("nuclei", _opened("n0003", ENDLESS, HUGE_VOXEL)),
        "a nucleus of two thousand million planes": ("nuclei", _closed("n0004")),
        "a small nucleus": ("nuclei", _opened("n0005", small)),
        "label planes that nobody stored": (
            "segmentations",
            CropSegmented(
                crop=_crop("n0005", 0, _nowhere("crop"), models),
                planes=_nowhere("planes"),
                plane_voxel_size=VOXEL,
                numeric_profile="exact",
            ),
        ),
        "label planes that are none": (
            "segmentations",
            CropSegmented(
                crop=_crop("n0005", 1, rubbish["crop"], models),
                planes=rubbish["planes"],
                plane_voxel_size=VOXEL,
                numeric_profile="exact",
            ),
        ),
        "label planes of a crop that is none": (
            "segmentations",
            CropSegmented(
                crop=_crop("n0005", 2, rubbish["crop"], models),
                planes=borrowed.planes,
                plane_voxel_size=VOXEL,
                numeric_profile="exact",
            ),
        ),
        "label planes of voxels smaller than an atom": (
            "segmentations",
            CropSegmented(
                crop=_crop("n0005", 3, borrowed.crop, models),
                planes=borrowed.planes,
                plane_voxel_size=TINY_VOXEL,
                numeric_profile="exact",
            ),
        ),
        "a volume whose changes are none": (
            "volumes",
            VolumeExtended(
                acquisition_id=GHOST,
                nucleus_id="n0006",
                z_first=0,
                clean_final_z=LARGEST_Z,
                volume_prefix=VOLUME,
                changes=rubbish["volume"],
                closed_tables=rubbish["volume"],
                plane_voxel_size=TINY_VOXEL,
            ),
        ),
        "a volume whose tables nobody stored": (
            "volumes",
            VolumeClosed(
                nucleus=_closed("n0007"),
                opened=_opened("n0007", ENDLESS),
                volume_prefix=VOLUME,
                tables=_nowhere("volume"),
                changes=_nowhere("volume"),
                summary=_nowhere("volume"),
            ),
        ),
        "a volume whose tables are none": (
            "volumes",
            VolumeClosed(
                nucleus=_closed("n0008"),
                opened=_opened("n0008", ENDLESS),
                volume_prefix=VOLUME,
                tables=rubbish["volume"],
                changes=rubbish["volume"],
                summary=rubbish["volume"],
            ),
        ),
    }
