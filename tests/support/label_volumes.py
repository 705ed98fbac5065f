"""A small nucleus as the messages and artefacts that postprocess receives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.contracts.messages import CropAbsent, CropExtracted, CropSegmented, Message, NucleusClosed, NucleusOpened
from services.contracts.values import (
    AbsenceReason,
    AbsentPlane,
    ArtefactRef,
    GreyMapping,
    PixelWindow,
    PlaneKind,
    Transform,
    VoxelSize,
)
from services.imaging.planes import encode_crop, encode_planes
from services.runtime.store.port import ArtefactStore

VOXEL = VoxelSize(z_nm=16, y_nm=16, x_nm=16)
GREY = GreyMapping(low=0, high=255, mean=150, sd=20)
MODELS = "a" * 64
SIDE = 40
CANVAS = PixelWindow(y0_px=-10, x0_px=5, height_px=80, width_px=80)


def ball(z: int, y: int, x: int, radius: float, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Voxels within `radius` of a centre."""
    zz, yy, xx = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside: npt.NDArray[np.bool_] = (zz - z) ** 2 + (yy - y) ** 2 + (xx - x) ** 2 <= radius**2
    return inside


def classes_volume(planes: int = 40) -> npt.NDArray[np.uint8]:
    """A nucleus with a nucleolus, two chromosomes, and specks of each class that are to be removed."""
    shape = (planes, SIDE, SIDE)
    volume = np.zeros(shape, np.uint8)
    volume[ball(20, 20, 20, 17, shape)] = 5
    volume[ball(20, 20, 20, 15, shape)] = 1
    volume[ball(20, 20, 20, 5, shape)] = 3
    volume[ball(14, 12, 20, 3, shape)] = 2
    volume[ball(27, 28, 20, 4, shape)] = 2
    for label, place in {2: (20, 20, 31), 3: (12, 24, 24), 4: (28, 16, 16)}.items():
        volume[place] = label
    return volume


@dataclass
class Nucleus:
    """Writes the artefacts of one nucleus into a store and makes its messages."""

    store: ArtefactStore
    nucleus_id: str = "n0001"
    z_first: int = 100

    def opened(self) -> NucleusOpened:
        return NucleusOpened(
            acquisition_id="a", nucleus_id=self.nucleus_id, z_first=self.z_first, canvas=CANVAS, voxel_size=VOXEL,
            grey=GREY, model_set=MODELS,
        )  # fmt: skip

    def closed(self, planes: int, absent: tuple[int, ...] = ()) -> NucleusClosed:
        return NucleusClosed(
            acquisition_id="a", nucleus_id=self.nucleus_id, z_first=self.z_first, z_last=self.z_first + planes - 1,
            absent=tuple(AbsentPlane(z=z, reason=AbsenceReason.MISSING) for z in absent),
            detected_planes=planes - len(absent), bridged_planes=0, cap_planes=0,
        )  # fmt: skip

    def window(self, z: int) -> PixelWindow:
        # The window leans with z, as it does with a real nucleus.
        return PixelWindow(y0_px=8 + (z - self.z_first) // 10, x0_px=25, height_px=SIDE, width_px=SIDE)

    def segmented(self, z: int, classes: npt.NDArray[np.uint8]) -> CropSegmented:
        grey = np.full(classes.shape, 90, np.uint8)
        mask = np.full(classes.shape, 2, np.uint8)
        mask[:, -4:] = 0
        crop = self._put(f"crop-{z}", encode_crop(grey, mask))
        planes = self._put(f"planes-{z}", encode_planes(np.stack([classes, np.full_like(classes, 204)])))
        extracted = CropExtracted(
            acquisition_id="a", nucleus_id=self.nucleus_id, z=z, kind=PlaneKind.DETECTED, window=self.window(z),
            crop=crop, voxel_size=VOXEL, grey=GREY, transform=Transform(), model_set=MODELS,
        )  # fmt: skip
        return CropSegmented(crop=extracted, planes=planes, plane_voxel_size=VOXEL, numeric_profile="exact")

    def absent(self, z: int) -> CropAbsent:
        return CropAbsent(
            acquisition_id="a", nucleus_id=self.nucleus_id, z=z, reason=AbsenceReason.MISSING, detail="declared"
        )

    def messages(self, volume: npt.NDArray[np.uint8], absent: tuple[int, ...] = ()) -> list[Message]:
        """Everything postprocess needs of this nucleus; `absent` are planes from 0."""
        absent_z = tuple(self.z_first + index for index in absent)
        planes: list[Message] = [
            self.absent(self.z_first + index) if index in absent else self.segmented(self.z_first + index, plane)
            for index, plane in enumerate(volume)
        ]
        return [self.opened(), *planes, self.closed(len(volume), absent_z)]

    def _put(self, name: str, payload: bytes) -> ArtefactRef:
        return self.store.put(f"a/nuclei/{self.nucleus_id}/{name}", payload)
