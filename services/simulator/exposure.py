"""From noiseless grey to a recorded image: beam, charging, curtains, gain, noise and line glitches."""

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.simulator.artefacts import Artefacts
from services.simulator.randomness import Stream, generator
from services.simulator.spoiling import SOUND, STRIPE_GREY, TORN_NM, Spoilt, disturbed_lines, signs, torn, with_debris
from services.simulator.stage import Pose

Grey = NDArray[np.float32]

_BLOCK_SLICES = 100
_LIFE_SLICES = (20, 200)
_STRIPES_PER_UM = 1.2
_GLITCH_RATE = 0.005
# Curtains of a single slice are those of slices that no acquisition reaches, so that they differ from the lasting ones.
_OTHER_CURTAINS = 10_000_000


def through_the_beam(grey: Grey, pose: Pose, voxel_nm: float) -> Grey:
    """Blur a plane by the beam of a slice; a beam of width 0 leaves it as it is."""
    sigmas = [float(np.hypot(width / voxel_nm, 0.4)) if width > 0 else 0.0 for width in pose.beam_yx_nm]
    if max(sigmas) == 0:
        return grey
    sigma_y, sigma_x = (max(sigma, 1e-3) for sigma in sigmas)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y), dtype=np.float32)


@njit(cache=True, nogil=True)
def _tail(source: Grey, keep: float) -> Grey:
    """Exponential trail of a plane along x."""
    out = np.empty_like(source)
    for y in range(source.shape[0]):
        level = np.float32(0.0)
        for x in range(source.shape[1]):
            out[y, x] = level
            level = np.float32(keep * level + (1 - keep) * source[y, x])
    return out


def charged(grey: Grey, voxel_nm: float, strength: float) -> Grey:
    """Brighten the surroundings of what holds no stain, and draw dark tails behind it along x (the fast axis).

    Parameters
    ----------
    grey
        float32, shape (y, x).
    voxel_nm
        Pixel size; the halo is 800 nm wide, the tails fall off over 400 nm.
    strength
        1 for a halo of a tenth of the grey.
    """
    if strength <= 0:
        return grey
    height, width = grey.shape
    factor = max(1, round(120 / voxel_nm))
    small = cv2.resize(grey, (max(2, width // factor), max(2, height // factor)), interpolation=cv2.INTER_AREA)
    unstained = np.clip((small - 172.0) / 50.0, 0, 1).astype(np.float32)
    step_nm = voxel_nm * width / small.shape[1]
    halo = np.asarray(cv2.GaussianBlur(unstained, (0, 0), sigmaX=800.0 / step_nm))
    trail = _tail(unstained, float(np.exp(-step_nm / 400.0))) * (1 - unstained)
    change = strength * (0.10 * (halo - 0.35) - 0.12 * trail).astype(np.float32)
    return np.asarray(
        grey * (1 + cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)), dtype=np.float32
    )


@dataclass(frozen=True)
class Recorder:
    """Turns the noiseless grey of a slice into what is recorded.

    Attributes
    ----------
    seed, voxel_nm, shape_yx_px
        Of the acquisition.
    artefacts
        Their strengths.
    spoilt
        Slices with a fault of their own.
    """

    seed: int
    voxel_nm: float
    shape_yx_px: tuple[int, int]
    artefacts: Artefacts
    spoilt: Spoilt = SOUND

    def row_shifts_nm(self, z: int) -> NDArray[np.float32] | None:
        """Shift of every line of slice ``z`` along x, float32 of shape (y,); None where lines keep their places."""
        strength = self.artefacts.glitches
        if strength <= 0:
            return None
        rng = generator(self.seed, Stream.GLITCHES, z)
        shifts = 1.2 * strength * rng.normal(size=self.shape_yx_px[0])
        bad = self._bad_lines(rng)
        shifts[bad] += rng.choice([-1, 1]) * rng.uniform(20, 200)
        return np.asarray(shifts, dtype=np.float32)

    def _bad_lines(self, rng: np.random.Generator) -> slice:
        """Draw a run of lines that is disturbed, empty in most slices."""
        chance, first, count = rng.random(), int(rng.integers(0, self.shape_yx_px[0])), int(rng.integers(1, 11))
        return slice(first, first + count) if chance < _GLITCH_RATE * self.artefacts.glitches else slice(0, 0)

    def recorded(self, grey: Grey, pose: Pose, z: int) -> Grey:
        """Image of slice ``z`` as float32 grey of shape (y, x), before it is digitised.

        Parameters
        ----------
        grey
            Noiseless grey at the slice's sample positions.
        pose
            Conditions of the slice.
        z
            Its number: noise, curtains and glitches depend on it.
        """
        fault = self.spoilt.at(z)
        charging = self.artefacts.charging + (self.artefacts.charged if fault == "charged" else 0.0)
        grey = through_the_beam(grey, pose, self.voxel_nm)
        if fault == "debris":
            grey = with_debris(grey, self.seed, z, self.voxel_nm, self.artefacts.debris)
        grey = charged(grey, self.voxel_nm, charging)
        grey = self._curtained(grey, z, self.artefacts.curtaining)
        if fault == "curtained":
            grey = self._curtained(grey, _OTHER_CURTAINS + z, self.artefacts.curtained)
        if fault == "torn":
            grey = torn(grey, self.seed, z, self.artefacts.torn * TORN_NM / self.voxel_nm)
        grey = (grey - np.float32(128)) * np.float32(pose.gain) + np.float32(128 + pose.offset)
        if self.artefacts.noise > 0:
            rng = generator(self.seed, Stream.NOISE, z)
            spread = np.sqrt(np.float32(25) + np.float32(0.71) * np.maximum(np.float32(255) - grey, 0))
            grey += np.float32(self.artefacts.noise) * spread * rng.standard_normal(grey.shape, dtype=np.float32)
        if self.artefacts.glitches > 0:
            rng = generator(self.seed, Stream.GLITCHES, 1_000_000 + z)
            grey[self._bad_lines(rng)] += np.float32(rng.normal() * 25)
        if fault == "striped":
            lines = disturbed_lines(self.seed, z, grey.shape[0])
            grey[lines] += np.float32(float(signs(self.seed, fault, (z,))[0]) * self.artefacts.striped * STRIPE_GREY)
        return grey

    def _curtained(self, grey: Grey, z: int, strength: float) -> Grey:
        if strength <= 0:
            return grey
        stripes = self._stripes(z, strength)
        factor = np.ones_like(grey)
        _draw_stripes(factor, stripes, self.voxel_nm)
        return grey * factor

    def _stripes(self, z: int, strength: float) -> NDArray[np.float64]:
        """Stripes that live at slice ``z``: x at the top, width, amplitude, slope, first y, growth length, in nm."""
        height_nm, width_nm = (n * self.voxel_nm for n in self.shape_yx_px)
        mean_life = sum(_LIFE_SLICES) / 2
        births = _STRIPES_PER_UM * width_nm / 1000 * _BLOCK_SLICES / mean_life
        alive = []
        for block in range(z // _BLOCK_SLICES - 2, z // _BLOCK_SLICES + 1):
            rng = generator(self.seed, Stream.CURTAINS, block + 10)
            for _ in range(int(rng.poisson(births))):
                born = block * _BLOCK_SLICES + rng.uniform(0, _BLOCK_SLICES)
                life = rng.uniform(*_LIFE_SLICES)
                row = (
                    rng.uniform(0, width_nm),
                    rng.uniform(8, 80),
                    rng.choice([-1, 1]) * rng.uniform(0.02, 0.06) * strength,
                    np.tan(np.deg2rad(rng.uniform(-1, 1))),
                    rng.uniform(-0.5, 0.7) * height_nm,
                    0.3 * height_nm,
                )
                fade = min(1.0, (z - born) / 8, (born + life - z) / 8)
                if fade > 0:
                    alive.append((*row[:2], row[2] * fade, *row[3:]))
        return np.array(alive, dtype=np.float64).reshape(-1, 6)


@njit(cache=True, nogil=True)
def _draw_stripes(factor: Grey, stripes: NDArray[np.float64], voxel_nm: float) -> None:
    """Multiply vertical stripes into a plane."""
    height, width = factor.shape
    for k in range(len(stripes)):
        x_nm, sigma, amplitude, slope, start, growth = stripes[k]
        sigma = max(sigma, 0.4 * voxel_nm)
        for y in range(height):
            grown = min(1.0, max(0.0, (y * voxel_nm - start) / growth))
            if grown == 0.0:
                continue
            middle = (x_nm + slope * y * voxel_nm) / voxel_nm
            reach = 3 * sigma / voxel_nm
            for x in range(max(0, int(middle - reach)), min(width, int(middle + reach) + 2)):
                off = (x - middle) * voxel_nm / sigma
                factor[y, x] *= 1 + amplitude * grown * np.exp(-0.5 * off * off)


def digitised(grey: Grey) -> NDArray[np.uint8]:
    """Round a recorded image to 8 bits.

    Examples
    --------
    >>> digitised(np.array([[-3.0, 100.4, 300.0]], dtype=np.float32)).tolist()
    [[0, 100, 255]]
    """
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def digitised_16bit(grey: Grey) -> NDArray[np.uint16]:
    """Round a recorded image to 16 bits that span the same range of grey.

    Examples
    --------
    >>> digitised_16bit(np.array([[-3.0, 100.0, 300.0]], dtype=np.float32)).tolist()
    [[0, 25700, 65535]]
    """
    return np.asarray(np.clip(np.rint(grey * np.float32(257)), 0, 65535), dtype=np.uint16)
