"""Whole fields of HeLa cells at 40 nm to learn from: true shapes, textures of the patches, and resin drawn by hand.

There are shapes of whole slices without grey, and grey on the envelope alone. So fields are composed: nucleus and
cytoplasm are quilted from blocks of the training patches, and what no patch shows is drawn: organelles wider than a
patch, resin, charging, debris. What those look like was taken from slice 030, by eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.imaging.resampling import resample_grey, resample_labels
from tests.benchmarks.science.pictures import Picture

Labels = NDArray[np.uint8]
Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]

SHAPES_NM, FIELD_NM, PATCH_NM = 20.0, 40.0, 10.0
NUCLEAR, CELL = (1, 2), (1, 2, 3)
"""Labels of the shapes: 1 envelope, 2 nucleus, 3 cell, 4 background."""
AROUND, INSIDE = 2, 3
"""Labels of the fields, as in the patches: outside, and nucleus with its envelope."""
BLOCK_PX = 6
SMALL_PX, THIN_PX = 2500, 9
"""Pieces of cells so small, and protrusions so thin, hold no organelles."""


@dataclass(frozen=True, eq=False, slots=True)
class Textures:
    """Blocks (n, y, x) of nucleus and of cytoplasm at 40 nm, cut out of patches."""

    nucleus: Grey
    cytoplasm: Grey


def textures_of(grey: Labels, labels: Labels) -> Textures:
    """Cut blocks of one label out of patches (n, y, x) of 10 nm, in which 2 is outside and 3 the nucleus.

    Examples
    --------
    >>> grey, labels = np.full((1, 64, 64), 80, np.uint8), np.full((1, 64, 64), 3, np.uint8)
    >>> labels[:, :32] = 2
    >>> textures_of(grey, labels).nucleus.shape[1:]
    (6, 6)
    """
    found: dict[int, list[Labels]] = {INSIDE: [], AROUND: []}
    edges = (PATCH_NM, PATCH_NM)
    for patch, truth in zip(grey, labels, strict=True):
        coarse = resample_grey(patch, edges, FIELD_NM)
        owner = resample_labels(truth, edges, FIELD_NM)
        for y in range(0, coarse.shape[0] - BLOCK_PX + 1, 2):
            for x in range(0, coarse.shape[1] - BLOCK_PX + 1, 2):
                where = (slice(y, y + BLOCK_PX), slice(x, x + BLOCK_PX))
                only = int(owner[y, x])
                if only in found and (owner[where] == only).all():
                    found[only].append(coarse[where])
    return Textures(*(np.stack(found[label]).astype(np.float32) for label in (INSIDE, AROUND)))


def composed(shapes: Labels, textures: Textures, z: int, seed: int) -> Picture:
    """Return a field of one slice of shapes.

    Parameters
    ----------
    shapes
        (y, x) at 20 nm.
    textures
        Of the training patches.
    z
        Of the slice, for its name.
    seed
        Decides everything.
    """
    rng = np.random.default_rng([seed, z])
    classes = np.asarray(resample_labels(shapes, (SHAPES_NM, SHAPES_NM), FIELD_NM), np.uint8)
    classes = np.ascontiguousarray(np.rot90(classes, int(rng.integers(4))))
    nucleus, cell = np.isin(classes, NUCLEAR), np.isin(classes, CELL)
    grey = _resin(classes.shape, rng)
    body = _cytoplasm(cell, textures, rng)
    grey[cell] = body[cell]
    inside = _nucleus(nucleus, textures, rng)
    grey[nucleus] = inside[nucleus]
    grey += _lined(nucleus, rng, rng.uniform(10, 28)) + _lined(cell, rng, rng.uniform(4, 16))
    grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(0.35, 0.9))), np.float32)
    grey += rng.normal(0, rng.uniform(1.5, 6), grey.shape).astype(np.float32)
    grey = 148 + (grey - 148) * np.float32(rng.uniform(0.85, 1.15)) + np.float32(rng.normal(0, 4))
    labels = np.where(nucleus, INSIDE, AROUND).astype(np.uint8)
    # One stack whatever the seed: shapes of neighbouring slices are alike.
    return Picture(f"z{z:03}-field{seed:02}", "hela", z, np.clip(grey, 0, 255).astype(np.uint8), labels)


def quilted(blocks: Grey, shape: tuple[int, ...], rng: np.random.Generator) -> Grey:
    """Return a plane of overlapping blocks, with the mean and the variance that they have."""
    mean = np.float32(blocks.mean())
    turned = np.concatenate([np.rot90(blocks, turns, axes=(1, 2)) for turns in range(4)]) - mean
    window = np.outer(*[np.hanning(BLOCK_PX + 2)[1:-1].astype(np.float32)] * 2)
    down, across = (-(-edge // BLOCK_PX) + 1 for edge in shape)
    tall, wide, half = down * BLOCK_PX, across * BLOCK_PX, BLOCK_PX // 2
    plane, power = (np.zeros((tall + half, wide + half), np.float32) for _ in range(2))
    # Four tilings, each shifted by half a block.
    for y, x in ((0, 0), (0, half), (half, 0), (half, half)):
        tiles = turned[rng.integers(len(turned), size=(down, across))] * window
        plane[y : y + tall, x : x + wide] += tiles.transpose(0, 2, 1, 3).reshape(tall, wide)
        power[y : y + tall, x : x + wide] += np.tile(window**2, (down, across))
    middle = tuple(slice(half, half + edge) for edge in shape)
    return np.asarray((mean + plane / np.sqrt(power))[middle], np.float32)


def _waves(shape: tuple[int, ...], sigma_px: float, rng: np.random.Generator) -> Grey:
    """Return smooth noise of deviation 1."""
    coarse = max(1, int(sigma_px / 3))
    small = rng.normal(0, 1, [-(-edge // coarse) + 1 for edge in shape]).astype(np.float32)
    smooth = cv2.GaussianBlur(small, (0, 0), sigma_px / coarse)
    wide = cv2.resize(smooth, None, fx=coarse, fy=coarse, interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]
    return np.asarray(wide / max(float(wide.std()), 1e-6), np.float32)


def _resin(shape: tuple[int, ...], rng: np.random.Generator) -> Grey:
    grey = np.float32(rng.uniform(172, 200)) + 5 * _waves(shape, 40, rng) + rng.normal(0, 3, shape).astype(np.float32)
    if rng.random() < 0.5:
        # Charging: broad dark streaks.
        grey -= np.float32(rng.uniform(20, 120)) * np.clip(_waves(shape, 18, rng) - 1.5, 0, 1)
    for _ in range(int(rng.integers(0, 6))):
        centre = tuple(int(rng.integers(edge)) for edge in shape[::-1])
        cv2.circle(grey, centre, int(rng.integers(6, 18)), float(rng.uniform(120, 165)), 1, cv2.LINE_AA)
    return np.asarray(grey, np.float32)


def _cytoplasm(cell: Mask, textures: Textures, rng: np.random.Generator) -> Grey:
    shape = cell.shape
    plain = quilted(textures.nucleus, shape, rng) + np.float32(rng.normal(-2, 5)) + 2 * _waves(shape, 8, rng)
    # Blocks are of the envelope's surroundings; farther away cytoplasm is often calmer.
    calm = np.float32(rng.uniform(0.45, 1.0))
    rich = quilted(textures.cytoplasm, shape, rng)
    rich = rich.mean() + calm * (rich - rich.mean()) + 3 * _waves(shape, 12, rng)
    # Membranes of the reticulum: level lines of smooth noise, here more and there fewer.
    for sigma in (4.0, 7.0):
        near = np.exp(-((_waves(shape, sigma, rng) / rng.uniform(0.08, 0.16)) ** 2))
        rich -= np.float32(rng.uniform(8, 22)) * near * np.clip(0.5 + 0.6 * _waves(shape, 20, rng), 0, 1)
    _organelles(rich, rng)
    small = _small(cell) if rng.random() < 0.8 else np.zeros(shape, bool)
    return np.asarray(np.where(small, plain, rich), np.float32)


def _organelles(grey: Grey, rng: np.random.Generator) -> None:
    """Draw mitochondria and vesicles: dark and bright ellipses with a rim, in places crowded."""
    crowded = _waves(grey.shape, 25, rng)
    for _ in range(int(grey.size / rng.uniform(250, 700))):
        y, x = (int(rng.integers(edge)) for edge in grey.shape)
        if crowded[y, x] < rng.normal(-0.3, 0.7):
            continue
        long, wide = float(rng.uniform(3, 12)), float(rng.uniform(2.5, 5))
        inner = float(grey[y, x] + rng.choice([-1, -1, -1, 1]) * rng.uniform(6, 32))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(grey, ((x, y), (long * 2, wide * 2), angle), inner, -1, cv2.LINE_AA)
        cv2.ellipse(grey, ((x, y), (long * 2, wide * 2), angle), inner - float(rng.uniform(5, 25)), 1, cv2.LINE_AA)


def _nucleus(nucleus: Mask, textures: Textures, rng: np.random.Generator) -> Grey:
    shape = nucleus.shape
    grey = quilted(textures.nucleus, shape, rng) + 3 * _waves(shape, 5, rng) + 3 * _waves(shape, 15, rng)
    # Nucleoli: broad, a little darker.
    grey -= np.float32(rng.uniform(4, 18)) * np.clip(3 * (_waves(shape, 15, rng) - 1.2), 0, 1)
    return np.asarray(grey, np.float32)


def _small(cell: Mask) -> Mask:
    """Return where cells are thin, or pieces of them small."""
    numbers, count = ndimage.label(cell)
    areas = np.bincount(numbers.ravel(), minlength=count + 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * THIN_PX + 1,) * 2)
    thick = cv2.morphologyEx(cell.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    return np.asarray(cell & (~thick | (areas[numbers] < SMALL_PX)), bool)


def _lined(mask: Mask, rng: np.random.Generator, depth: float) -> Grey:
    """Return a dark line along an outline, fainter here and there."""
    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    strength = np.clip(0.7 + 0.4 * _waves(mask.shape, 10, rng), 0, 1.2)
    return np.asarray(-depth * strength * np.exp(-((distance / rng.uniform(0.7, 1.1)) ** 2)), np.float32)
