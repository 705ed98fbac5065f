"""Images that show the same: exactly, or nearly, also mirrored or turned; time grows about linearly with their number.

Small high-pass pictures are hashed by random hyperplanes (Charikar 2002, STOC, "Similarity estimation techniques from
rounding algorithms"); only images that share a bucket are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from services.trainer.annotations.checks import TRANSFORMS

Plane = NDArray[np.uint8]
Fingerprint = NDArray[np.float32]

EDGE_PX = 32
_BANDS, _BITS, _SEED = 24, 12, 20240601
_LARGEST_BUCKET = 64


def fingerprint(image_yx: Plane) -> Fingerprint:
    """Return a small picture of an image without its slow shading, of mean 0 and length 1.

    Returns
    -------
    numpy.ndarray
        (32, 32) float32; all 0 for an image of one grey.

    Examples
    --------
    >>> float(abs(fingerprint(np.full((50, 70), 9, np.uint8))).max())
    0.0
    """
    shrunk = np.asarray(cv2.resize(image_yx, (EDGE_PX, EDGE_PX), interpolation=cv2.INTER_AREA), np.float32)
    sharp = shrunk - cv2.GaussianBlur(shrunk, (0, 0), 4.0)
    sharp -= sharp.mean()
    length = float(np.linalg.norm(sharp))
    return np.asarray(sharp / length if length > 1e-3 else np.zeros_like(sharp), np.float32)


def candidate_pairs(prints: Sequence[Fingerprint], likeness: float = 0.9) -> list[tuple[int, int, str]]:
    """Return pairs of images whose fingerprints nearly agree in one of eight orientations.

    Parameters
    ----------
    prints
        Of all images.
    likeness
        Least correlation of two fingerprints.

    Returns
    -------
    list of (int, int, str)
        Two indices, the smaller first, and how the second must be moved to lie like the first, in order.
    """
    if len(prints) < 2:
        return []
    stack = np.stack(prints)
    found: dict[tuple[int, int], tuple[float, str]] = {}
    buckets = _buckets(stack)
    for name, transform in TRANSFORMS.items():
        moved = np.stack([np.ascontiguousarray(transform(picture)) for picture in stack])
        for first, second in _meeting(buckets, _hashes(moved)):
            alike = float((stack[first] * moved[second]).sum())
            if first < second and alike >= likeness and alike > found.get((first, second), (0.0, ""))[0]:
                found[first, second] = (alike, name)
    return [(first, second, name) for (first, second), (_, name) in sorted(found.items())]


def likeness(first_yx: Plane, second_yx: Plane) -> float:
    """Return the correlation of two images of one shape at full resolution, -1 to 1.

    Slices of one nucleus that lie near each other share their shapes but not their noise; two copies of one
    slice, brightened or compressed, share both.

    Examples
    --------
    >>> picture = np.array([[1, 9], [5, 0]], np.uint8)
    >>> round(likeness(picture, 200 - 3 * picture), 6)
    -1.0
    """
    if first_yx.shape != second_yx.shape:
        return 0.0
    a, b = (plane.astype(np.float32) - plane.mean(dtype=np.float64) for plane in (first_yx, second_yx))
    length = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float((a * b).sum(dtype=np.float64)) / length if length else 0.0


def _hashes(stack: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bucket of each picture in each band, (n, bands)."""
    planes = np.random.default_rng(_SEED).standard_normal((EDGE_PX * EDGE_PX, _BANDS * _BITS)).astype(np.float32)
    bits = (stack.reshape(len(stack), -1) @ planes > 0).reshape(len(stack), _BANDS, _BITS)
    return np.asarray(bits @ (1 << np.arange(_BITS)), np.int64)


def _buckets(stack: NDArray[np.float32]) -> Mapping[tuple[int, int], list[int]]:
    buckets: dict[tuple[int, int], list[int]] = {}
    for index, row in enumerate(_hashes(stack)):
        if stack[index].any():
            for band, key in enumerate(row):
                buckets.setdefault((band, int(key)), []).append(index)
    return buckets


def _meeting(buckets: Mapping[tuple[int, int], list[int]], hashes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield pairs that share a bucket, each once; a bucket that holds very many tells nothing."""
    for second, row in enumerate(hashes):
        met = {
            first
            for band, key in enumerate(row)
            for first in buckets.get((band, int(key)), [])[:_LARGEST_BUCKET]
            if first != second
        }
        yield from ((first, second) for first in sorted(met))


def same_pixels(hashes: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of images whose pixels are the same, by their hashes, each with the first of its kind.

    >>> same_pixels(["a", "b", "a", "a"])
    [(0, 2), (0, 3)]
    """
    first: dict[str, int] = {}
    pairs = [(first.setdefault(value, index), index) for index, value in enumerate(hashes)]
    return [(earlier, index) for earlier, index in pairs if earlier != index]
