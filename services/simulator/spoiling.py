"""Faults of single slices: what goes wrong with one image, or from one image on.

Each kind is planned by a random stream of its own; its rate is fixed, and its strength is that of the artefact.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.simulator.artefacts import SPOILING_NAMES, Artefacts
from services.simulator.randomness import Stream, generator

Grey = NDArray[np.float32]

_RATE = 1 / 500
_FIRST_STREAM = 200
DEFOCUS_NM = 12.0
"""Width of the beam that defocus of strength 1 adds along both axes (domain: up to 3 px of 4 nm)."""
ASTIGMATISM_NM = 10.0
"""Width that astigmatism adds along one axis (domain: up to 2.5 px)."""
STEP_GREY = 12.0
"""Change of brightness that stays (domain: standard deviation of the offset after a restart)."""
SATURATION_GAIN, SATURATION_GREY = 0.5, 20.0
"""Contrast and brightness that are added when the detector is driven too far."""
FIELD_SHIFT_NM = 200.0
"""Jump of the field that stays (domain: median after a restart)."""
EXTRA_SLICES = 1.0
"""Thickness, in slices, that a z-jump takes away besides the slice itself."""
STRIPE_GREY = 25.0
"""Change of brightness of disturbed lines."""
TORN_NM = 100.0
"""Displacement of torn lines (domain: 5 to 50 px of 4 nm)."""
DEBRIS_GREY, DEBRIS_NM = 60.0, (500.0, 1000.0)
"""Change of grey of what lies on the block face, and its half axes."""


@dataclass(frozen=True)
class Spoilt:
    """Which slices are spoilt, and how.

    Attributes
    ----------
    slices
        ``(name, z)``, sorted, each name of `SPOILING_NAMES`; no slice twice.
    """

    slices: tuple[tuple[str, int], ...] = ()

    def of(self, name: str) -> tuple[int, ...]:
        """Slices of one kind, in order.

        Examples
        --------
        >>> Spoilt((("debris", 7), ("debris", 9), ("torn", 3))).of("debris")
        (7, 9)
        """
        return tuple(z for kind, z in self.slices if kind == name)

    def at(self, z: int) -> str:
        """Name of what is wrong with slice ``z``; empty if nothing is."""
        return next((kind for kind, slice_ in self.slices if slice_ == z), "")


SOUND = Spoilt()
"""No slice is spoilt."""


def planned_spoiling(seed: int, n_slices: int, artefacts: Artefacts, taken: frozenset[int] = frozenset()) -> Spoilt:
    """Draw which slices are spoilt.

    What is switched on happens at least once, if there are slices enough; never in the first or the last slice, nor
    in those ``taken`` by other faults.
    """
    busy = set(taken)
    chosen: list[tuple[str, int]] = []
    for number, name in enumerate(SPOILING_NAMES):
        if getattr(artefacts, name) <= 0:
            continue
        rng = generator(seed, Stream.FAULTS, _FIRST_STREAM + number)
        count = max(1, int(rng.poisson(_RATE * n_slices)))
        free = [int(z) for z in rng.permutation(n_slices) if 0 < z < n_slices - 1 and int(z) not in busy]
        busy.update(free[:count])
        chosen += [(name, z) for z in free[:count]]
    return Spoilt(tuple(sorted(chosen)))


def signs(seed: int, name: str, slices: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw -1 or 1 for each slice of a kind: up or down, dark or bright."""
    stream = _FIRST_STREAM + 50 + SPOILING_NAMES.index(name)
    return np.array([generator(seed, Stream.FAULTS, stream * 1_000_000 + z).choice([-1.0, 1.0]) for z in slices])


def disturbed_lines(seed: int, z: int, height: int) -> slice:
    """Draw the lines that a stripe or a tear takes: 1 to 10 of them."""
    rng = generator(seed, Stream.FAULTS, 2_000_000_000 + z)
    count = int(rng.integers(1, 11))
    first = int(rng.integers(0, max(1, height - count)))
    return slice(first, first + count)


def with_debris(grey: Grey, seed: int, z: int, voxel_nm: float, strength: float) -> Grey:
    """Lay an ellipse with a soft border on a slice, brighter or darker than what it hides."""
    rng = generator(seed, Stream.FAULTS, 1_000_000_000 + z)
    height, width = grey.shape
    axes = tuple(max(1, round(float(half) / voxel_nm)) for half in rng.uniform(*DEBRIS_NM, 2))
    centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
    mask = np.zeros((height, width), dtype=np.float32)
    cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, thickness=-1)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigmaX=max(0.5, 40.0 / voxel_nm)), dtype=np.float32)
    return grey + mask * np.float32(strength * DEBRIS_GREY * float(rng.choice([-1.0, 1.0])))


def torn(grey: Grey, seed: int, z: int, shift_px: float) -> Grey:
    """Displace some lines along x, by whole pixels and at least one; what comes in repeats the border."""
    lines = disturbed_lines(seed, z, grey.shape[0])
    shift = int(signs(seed, "torn", (z,))[0]) * max(1, round(shift_px))
    columns = np.clip(np.arange(grey.shape[1]) - shift, 0, grey.shape[1] - 1)
    displaced = grey.copy()
    displaced[lines] = grey[lines][:, columns]
    return displaced
