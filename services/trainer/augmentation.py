"""Varies patches as specimens and microscopes do: pose and shape; contrast, focus and noise; curtains, charging.

Geometry, contrast, blur and noise are torchvision's `transforms.v2` (BSD-3, maintained, and pinned already since DLSIA
needs it; albumentations is no longer maintained under a free licence, MONAI would bring a framework of its own).
Curtains and charging no library has: they are shaped as `services.simulator` makes them.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision import tv_tensors
from torchvision.transforms import v2

from services.trainer.losses import IGNORED

Grey = NDArray[np.float32]
Plane = NDArray[np.uint8]

_LARGEST_SEED = 2**31
_OUTSIDE = {tv_tensors.Image: 0.0, tv_tensors.Mask: IGNORED}
_STRETCH = v2.RandomApply([v2.ElasticTransform(alpha=40.0, sigma=6.0, fill=_OUTSIDE)])
# The stretch is smoothed by a kernel of this width, which a patch must hold.
_STRETCH_PX = 49
_POSE = v2.RandomAffine(
    degrees=180, scale=(0.85, 1.18), interpolation=v2.InterpolationMode.BILINEAR, fill=_OUTSIDE
)  # fmt: skip
_CONTRAST = v2.ColorJitter(brightness=0.06, contrast=0.15)
_BLUR = v2.GaussianBlur(kernel_size=7, sigma=(0.2, 1.0))


def warped(grey: Grey, classes: Plane, seed: int) -> tuple[Grey, Plane]:
    """Rotate by any angle, scale, and stretch elastically, truth with its grey.

    Parameters
    ----------
    grey
        8-bit grey as float32, (plane, y, x); all planes are moved alike.
    classes
        uint8, (plane, y, x), of the same rows and columns.
    seed
        Decides everything.

    Returns
    -------
    grey, classes : numpy.ndarray
        What came from outside has the mean grey and is `IGNORED`.
    """
    middle = np.float32(grey.mean())
    image = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(grey - middle)))
    mask = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(classes)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if min(image.shape[1:]) >= _STRETCH_PX:
            image, mask = _STRETCH(image, mask)
        image, mask = _POSE(image, mask)
    return np.asarray(image.numpy() + middle, np.float32), np.asarray(mask.numpy(), np.uint8)


def varied(grey_zyx: Grey, share: float, rng: np.random.Generator) -> Grey:
    """Return a patch with artefacts of random kind and strength, or as it was.

    Parameters
    ----------
    grey_zyx
        8-bit grey as float32, (plane, y, x).
    share
        Chance of having artefacts.
    rng
        Decides everything.

    Returns
    -------
    numpy.ndarray
        float32, (plane, y, x), clipped to 0..255.

    Examples
    --------
    >>> patch = np.full((1, 8, 8), 100, np.float32)
    >>> first, again = (varied(patch, 1.0, np.random.default_rng(3)) for _ in range(2))
    >>> bool((first == again).all())
    True
    """
    if rng.random() >= share:
        return grey_zyx
    grey = grey_zyx
    for artefact, chance in (
        (_defocused, 0.25),
        (_curtained, 0.3),
        (_charged, 0.25),
        (_noisier, 0.3),
        (_rescaled, 0.8),
    ):
        if rng.random() < chance:
            grey = artefact(grey, rng)
    return np.clip(grey, 0, 255)


def jittered_normalisation(mean: float, sd: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return a normalisation as other first slices of the same block might have given it.

    Slices without nuclei are darker and have less contrast than those with, so most patches keep the
    specimen's own figures with a small error, and some get those of slices with nuclei.
    """
    if rng.random() < 0.2:
        mean, sd = mean + 14 * rng.random(), sd * (1 + 0.5 * rng.random())
    return mean + rng.normal(0, 1.0), sd * float(np.exp(rng.normal(0, 0.04)))


def _by_torchvision(change: Callable[[torch.Tensor], torch.Tensor], grey: Grey, rng: np.random.Generator) -> Grey:
    """Apply a transform to planes as images of one channel, drawn from the generator."""
    images = torch.from_numpy(np.ascontiguousarray(grey[:, None])) / 255
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(_LARGEST_SEED)))
        changed: torch.Tensor = change(images)
    return np.asarray(changed[:, 0].numpy() * np.float32(255), np.float32)


def _defocused(grey: Grey, rng: np.random.Generator) -> Grey:
    return _by_torchvision(_BLUR, grey, rng)


def _rescaled(grey: Grey, rng: np.random.Generator) -> Grey:
    return _by_torchvision(_CONTRAST, grey, rng)


def _noisier(grey: Grey, rng: np.random.Generator) -> Grey:
    return _by_torchvision(v2.GaussianNoise(sigma=rng.uniform(1, 6) / 255), grey, rng)


def _curtained(grey: Grey, rng: np.random.Generator) -> Grey:
    """Stripes along the milling direction (y), stronger below, the same for neighbouring planes."""
    rows, columns = grey.shape[1:]
    x, down = np.arange(columns, dtype=np.float32), np.linspace(0.5, 1.0, rows, dtype=np.float32)
    stripes = np.zeros(columns, np.float32)
    for _ in range(int(rng.integers(1, 6))):
        centre, width = rng.uniform(0, columns), rng.uniform(0.7, 5)
        stripes += np.float32(rng.uniform(-0.06, 0.06)) * np.exp(-(((x - centre) / width) ** 2) / 2).astype(np.float32)
    return np.asarray(grey * (1 + down[:, None] * stripes[None, :]), np.float32)


def _charged(grey: Grey, rng: np.random.Generator) -> Grey:
    """Slow shading across the patch, the same for neighbouring planes."""
    coarse = rng.normal(0, 6, (3, 3)).astype(np.float32)
    return np.asarray(grey + cv2.resize(coarse, grey.shape[:0:-1], interpolation=cv2.INTER_CUBIC), np.float32)
