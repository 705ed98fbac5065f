"""The toy acquisition as an unsteady stage shows it: every slice shifted, with a jump, over tissue that has texture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from tests.support.toy_acquisition import FIELD, PLANES, slice_name, toy_slice

JUMP_Z, JUMP_YX_PX = 34, (7, -9)
_MARGIN_PX = 24


def stage_yx_px(planes: int = PLANES, seed: int = 5) -> npt.NDArray[np.int64]:
    """Return where the stage stood for each slice, whole pixels, (n, 2): jitter, and a jump that lasts."""
    steps = np.random.default_rng(seed).integers(-2, 3, (planes, 2))
    steps[0] = 0
    steps[JUMP_Z:] += JUMP_YX_PX
    return steps


def texture(z: int) -> npt.NDArray[np.float32]:
    """Return tissue that changes slowly along z, float32, wider than the field by 24 pixels on every side."""
    shape = (FIELD[0] + 2 * _MARGIN_PX, FIELD[1] + 2 * _MARGIN_PX)
    below, above = (np.random.default_rng([9, k]).normal(0, 1, shape) for k in (z // 12, z // 12 + 1))
    mixed = (below * (12 - z % 12) + above * (z % 12)) / 12
    smooth = cv2.GaussianBlur(mixed, (0, 0), 1.5)
    return np.asarray(7 * smooth / smooth.std(), np.float32)


def moved_slice(z: int, stage: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Draw one slice as the stage shows it."""
    wide = np.pad(toy_slice(z).astype(np.float32), _MARGIN_PX, mode="edge") + texture(z)
    y, x = (_MARGIN_PX + int(shift) for shift in stage[z])
    return np.asarray(np.clip(wide[y : y + FIELD[0], x : x + FIELD[1]], 0, 255), np.uint8)


def write_moved_toy(folder: Path, stage: npt.NDArray[np.int64] | None = None) -> Path:
    """Write a finished acquisition; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    places = stage_yx_px() if stage is None else stage
    for z in range(len(places)):
        tifffile.imwrite(folder / slice_name(z), moved_slice(z, places))
    return folder
