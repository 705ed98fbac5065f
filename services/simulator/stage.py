"""Where and how each slice was taken: the table of a microscope's stage, milling and beam."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from services.simulator.artefacts import Artefacts
from services.simulator.canvas import Frame
from services.simulator.randomness import Stream, generator
from services.simulator.spoiling import (
    ASTIGMATISM_NM,
    DEFOCUS_NM,
    EXTRA_SLICES,
    FIELD_SHIFT_NM,
    SATURATION_GAIN,
    SATURATION_GREY,
    SOUND,
    STEP_GREY,
    Spoilt,
    signs,
)

FloatArray = NDArray[np.float64]

BEAM_NM = 4.0
"""Standard deviation of a well focused beam."""
_TRANSIENT_SLICES = 5.0
_REFOCUS_SLICES = 20.0
_RESTARTS_PER_SLICE = 1 / 1500


@dataclass(frozen=True)
class Pose:
    """Conditions of one slice.

    Attributes
    ----------
    z_nm
        Depth of the plane in the specimen.
    dy_nm, dx_nm
        Shift of the image on the specimen.
    rotation, scale, shear
        Small affine errors about the middle of the field (radians, relative, relative).
    gain, offset
        Contrast about mid grey, and brightness in grey levels.
    beam_yx_nm
        Standard deviations of the beam.
    restarted
        Whether the microscope was stopped just before this slice.
    """

    z_nm: float
    dy_nm: float = 0.0
    dx_nm: float = 0.0
    rotation: float = 0.0
    scale: float = 1.0
    shear: float = 0.0
    gain: float = 1.0
    offset: float = 0.0
    beam_yx_nm: tuple[float, float] = (BEAM_NM, BEAM_NM)
    restarted: bool = False


@dataclass(frozen=True)
class StageTable:
    """Conditions of all slices: arrays of shape (n,), float64 but for ``restarted``, which is bool."""

    z_nm: FloatArray
    dy_nm: FloatArray
    dx_nm: FloatArray
    rotation: FloatArray
    scale: FloatArray
    shear: FloatArray
    gain: FloatArray
    offset: FloatArray
    beam_y_nm: FloatArray
    beam_x_nm: FloatArray
    restarted: NDArray[np.bool_]

    def pose(self, z: int) -> Pose:
        """Conditions of slice ``z``."""
        return Pose(
            z_nm=float(self.z_nm[z]),
            dy_nm=float(self.dy_nm[z]),
            dx_nm=float(self.dx_nm[z]),
            rotation=float(self.rotation[z]),
            scale=float(self.scale[z]),
            shear=float(self.shear[z]),
            gain=float(self.gain[z]),
            offset=float(self.offset[z]),
            beam_yx_nm=(float(self.beam_y_nm[z]), float(self.beam_x_nm[z])),
            restarted=bool(self.restarted[z]),
        )


def _wandering(rng: np.random.Generator, n: int, memory: float) -> FloatArray:
    """Stationary first-order walk with mean 0 and standard deviation 1."""
    steps = rng.normal(size=n) * np.sqrt(1 - memory**2)
    if n:
        steps[0] = rng.normal()
    return np.asarray(lfilter([1.0], [1.0, -memory], steps))


def _bounded_walk(rng: np.random.Generator, n: int, bounds: tuple[float, float], step: float) -> FloatArray:
    """Random walk that is reflected at its bounds."""
    low, high = bounds
    free = rng.uniform(low, high) + np.cumsum(rng.normal(size=n) * step)
    folded = np.mod(free - low, 2 * (high - low))
    return np.asarray(low + np.minimum(folded, 2 * (high - low) - folded))


def _since(restarted: NDArray[np.bool_]) -> FloatArray:
    """Slices since the start of the acquisition or the last restart."""
    index = np.arange(len(restarted))
    return np.asarray(index - np.maximum.accumulate(np.where(restarted, index, 0)), dtype=np.float64)


def _depths_nm(
    seed: int, voxel_nm: float, strength: float, restarted: NDArray[np.bool_], repeated: frozenset[int]
) -> FloatArray:
    """Depth of every slice: nominal steps, thicker or thinner ones, none where milling failed."""
    n = len(restarted)
    rng = generator(seed, Stream.STAGE, 1)
    noise, slow, phase = rng.normal(size=n), rng.uniform(300, 900), rng.uniform(0, 2 * np.pi)
    transient = rng.uniform(-0.5, 0.5, n) * np.exp(-_since(restarted) / _TRANSIENT_SLICES)
    error = 0.15 * noise + 0.10 * np.sin(2 * np.pi * np.arange(n) / slow + phase) + transient
    steps = voxel_nm * np.clip(1 + strength * error, 0, None)
    steps[list(repeated)] = 0.0
    return np.asarray(np.cumsum(steps) - steps[:1])


def _drift_nm(seed: int, n: int, axis: int) -> FloatArray:
    """Slow walk along one axis, about its middle."""
    rng = generator(seed, Stream.STAGE, 10 + axis)
    size, period, phase = rng.uniform(200, 1000), rng.uniform(1000, 5000), rng.uniform(0, 2 * np.pi)
    path = np.cumsum(rng.normal(size=n)) + size * np.sin(2 * np.pi * np.arange(n) / period + phase)
    return np.asarray(path - (path.max() + path.min()) / 2)


def _jitter_nm(seed: int, n: int, axis: int) -> FloatArray:
    """Independent shifts along one axis; Student's t with 3 degrees of freedom, cut at 400 nm."""
    return np.asarray(np.clip(24.0 * generator(seed, Stream.STAGE, 20 + axis).standard_t(3, n), -400, 400))


@dataclass(frozen=True)
class _Restarts:
    """Jumps of the field and of the detector that last from each restart on."""

    restarted: NDArray[np.bool_]
    dy_nm: FloatArray
    dx_nm: FloatArray
    gain: FloatArray
    offset: FloatArray
    defocus_nm: FloatArray


def _restarts(seed: int, n: int, strength: float) -> _Restarts:
    rng = generator(seed, Stream.STAGE, 2)
    restarted = np.zeros(n, dtype=bool)
    zero = np.zeros(n)
    if strength <= 0 or n < 3:
        return _Restarts(restarted, zero, zero, zero + 1, zero, zero)
    count = max(1, int(rng.poisson(_RESTARTS_PER_SLICE * strength * n)))
    first = np.sort(rng.choice(np.arange(1, n - 1), min(count, n - 2), replace=False))
    restarted[first] = True
    epoch = np.cumsum(restarted)
    jump = np.minimum(200.0 * np.exp(0.8 * rng.normal(size=count + 1)), 2000.0) * strength
    angle = rng.uniform(0, 2 * np.pi, count + 1)
    jump[0] = 0.0
    gain, offset = 1 + 0.1 * strength * rng.normal(size=count + 1), 12.0 * strength * rng.normal(size=count + 1)
    gain[0], offset[0] = 1.0, 0.0
    blur = rng.uniform(4.0, 12.0, count + 1) * strength
    blur[0] = 0.0
    fading = np.exp(-_since(restarted) / _REFOCUS_SLICES)
    return _Restarts(
        restarted,
        np.cumsum(jump * np.sin(angle))[epoch],
        np.cumsum(jump * np.cos(angle))[epoch],
        np.clip(gain, 0.6, 1.4)[epoch],
        offset[epoch],
        blur[epoch] * fading,
    )


def _beam_nm(seed: int, n: int, artefacts: Artefacts, axis: int) -> FloatArray:
    """Width of the beam along one axis, without what restarts add."""
    walk = _bounded_walk(generator(seed, Stream.STAGE, 30 + axis), n, (3.2, 10.0), 0.3)
    return np.asarray(np.maximum(artefacts.blur * BEAM_NM + artefacts.defocus * (walk - BEAM_NM), 0.0))


def stage_table(
    seed: int,
    n_slices: int,
    voxel_nm: float,
    artefacts: Artefacts,
    repeated: frozenset[int] = frozenset(),
    spoilt: Spoilt = SOUND,
) -> StageTable:
    """Draw the conditions of all slices of an acquisition in one pass.

    Every artefact has its own random stream, so that its switch changes what it stands for and nothing else.

    Parameters
    ----------
    seed
        Seed of the acquisition.
    n_slices
        Number of slices.
    voxel_nm
        Nominal thickness of a slice.
    artefacts
        Strengths.
    repeated
        Slices before which nothing was milled.
    spoilt
        Slices with a fault of their own.
    """
    jumps = _restarts(seed, n_slices, artefacts.restart)
    slow = [_wandering(generator(seed, Stream.STAGE, 40 + k), n_slices, 0.98) for k in range(5)]
    drift, jitter, bright = artefacts.drift, artefacts.jitter, artefacts.brightness
    table = StageTable(
        z_nm=_depths_nm(seed, voxel_nm, artefacts.thickness, jumps.restarted, repeated),
        dy_nm=drift * _drift_nm(seed, n_slices, 0) + jitter * _jitter_nm(seed, n_slices, 0) + jumps.dy_nm,
        dx_nm=drift * _drift_nm(seed, n_slices, 1) + jitter * _jitter_nm(seed, n_slices, 1) + jumps.dx_nm,
        rotation=drift * np.deg2rad(0.02) * slow[0],
        scale=1 + drift * 5e-4 * slow[1],
        shear=drift * 5e-4 * slow[2],
        gain=(1 + bright * 0.02 * slow[3]) * jumps.gain,
        offset=bright * 3.0 * slow[4] + jumps.offset,
        beam_y_nm=np.hypot(_beam_nm(seed, n_slices, artefacts, 0), jumps.defocus_nm),
        beam_x_nm=np.hypot(_beam_nm(seed, n_slices, artefacts, 1), jumps.defocus_nm),
        restarted=jumps.restarted,
    )
    return _spoilt(table, seed, voxel_nm, artefacts, spoilt) if spoilt.slices else table


def _spoilt(table: StageTable, seed: int, voxel_nm: float, artefacts: Artefacts, spoilt: Spoilt) -> StageTable:
    """Put the faults of single slices into the table; what stays is added from its slice on."""
    n = len(table.z_nm)
    beam_y, beam_x, gain = table.beam_y_nm.copy(), table.beam_x_nm.copy(), table.gain.copy()
    alone, stays = np.zeros(n), np.zeros((3, n))
    for z in spoilt.of("defocused"):
        beam_y[z] = np.hypot(beam_y[z], artefacts.defocused * DEFOCUS_NM)
        beam_x[z] = np.hypot(beam_x[z], artefacts.defocused * DEFOCUS_NM)
    astigmatic = spoilt.of("astigmatic")
    for z, sign in zip(astigmatic, signs(seed, "astigmatic", astigmatic), strict=True):
        beam = beam_y if sign > 0 else beam_x
        beam[z] = np.hypot(beam[z], artefacts.astigmatic * ASTIGMATISM_NM)
    for z in spoilt.of("saturated"):
        gain[z] += artefacts.saturated * SATURATION_GAIN
        alone[z] += artefacts.saturated * SATURATION_GREY
    for row, (name, size) in enumerate((("brightness_step", STEP_GREY), ("field_shift", FIELD_SHIFT_NM))):
        slices = spoilt.of(name)
        # Every other step goes back, so that the brightness and the field stay in range however many there are.
        turns = signs(seed, name, slices[:1]) * np.where(np.arange(len(slices)) % 2, -1.0, 1.0) if slices else ()
        for z, turn in zip(slices, turns, strict=True):
            stays[row, z:] += turn * size * getattr(artefacts, name)
    for z in spoilt.of("z_jump"):
        stays[2, z:] += artefacts.z_jump * EXTRA_SLICES * voxel_nm
    angle = generator(seed, Stream.STAGE, 50).uniform(0, 2 * np.pi)
    return replace(
        table,
        z_nm=table.z_nm + stays[2],
        dy_nm=table.dy_nm + np.sin(angle) * stays[1],
        dx_nm=table.dx_nm + np.cos(angle) * stays[1],
        gain=gain,
        offset=table.offset + alone + stays[0],
        beam_y_nm=beam_y,
        beam_x_nm=beam_x,
    )


def frame_of(
    pose: Pose, shape_yx_px: tuple[int, int], voxel_nm: float, row_nm: NDArray[np.float32] | None = None
) -> Frame:
    """Sample positions of a slice for the rasteriser.

    Parameters
    ----------
    pose
        Conditions of the slice.
    shape_yx_px
        Size of the field; pixel (0, 0) of an undisturbed slice lies at the specimen's origin.
    voxel_nm
        Pixel size.
    row_nm
        Shift of each line along x, float32 of shape (y,); None for none.

    Examples
    --------
    >>> frame = frame_of(Pose(z_nm=32.0, dx_nm=8.0), (3, 5), 16.0)
    >>> frame.z, frame.oy, frame.ox, frame.xx
    (32.0, 0.0, 8.0, 16.0)
    """
    cos, sin = float(np.cos(pose.rotation)) * pose.scale, float(np.sin(pose.rotation)) * pose.scale
    yy, yx, xy, xx = cos, sin, pose.shear - sin, cos
    mid_y, mid_x = (shape_yx_px[0] - 1) / 2 * voxel_nm, (shape_yx_px[1] - 1) / 2 * voxel_nm
    return Frame(
        z=float(pose.z_nm),
        voxel=float(voxel_nm),
        oy=float(pose.dy_nm + mid_y - yy * mid_y - yx * mid_x),
        ox=float(pose.dx_nm + mid_x - xy * mid_y - xx * mid_x),
        yy=float(yy * voxel_nm),
        yx=float(yx * voxel_nm),
        xy=float(xy * voxel_nm),
        xx=float(xx * voxel_nm),
        row_nm=np.zeros(shape_yx_px[0], dtype=np.float32) if row_nm is None else row_nm,
    )
