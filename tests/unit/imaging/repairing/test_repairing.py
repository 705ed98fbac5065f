"""Repairs of single slices: what was put in goes, good slices stay, and nothing depends on any other slice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from services.imaging.repairing.destriping import destriped, stripes_of
from services.imaging.repairing.gain import NO_SHIFT, Level, Shift, level_after, regained

VOXEL_NM = (16.0, 16.0)
SHAPE = (500, 420)
Grey = NDArray[np.uint8]


@pytest.fixture(scope="module")
def tissue() -> NDArray[np.float32]:
    """Return tissue without noise: texture of some 50 nm, and a dark membrane that stands upright for 2 um."""
    rng = np.random.default_rng(3)
    field = gaussian_filter(rng.standard_normal(SHAPE).astype(np.float32), 3.0)
    grey = 170 + 15 * field / field.std()
    grey[150:275, 200:204] = 90
    return np.asarray(grey + 7 * rng.standard_normal(SHAPE), np.float32)


def as_grey(plane: NDArray[np.float32]) -> Grey:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def curtain(amplitude: float, centre: int = 90, sigma: float = 3.0) -> NDArray[np.float32]:
    stripe = 1 + amplitude * np.exp(-0.5 * ((np.arange(SHAPE[1]) - centre) / sigma) ** 2)
    return np.broadcast_to(stripe.astype(np.float32), SHAPE)


def rms(first: Grey, second: Grey) -> float:
    return float(np.sqrt(np.mean((first.astype(float) - second) ** 2)))


@pytest.mark.parametrize("amplitude", [-0.06, -0.03, 0.03, 0.06])
def test_a_faint_curtain_goes_or_stays_but_nothing_worse_comes(tissue: NDArray[np.float32], amplitude: float) -> None:
    clean, spoilt = as_grey(tissue), as_grey(tissue * curtain(amplitude))
    assert rms(destriped(spoilt, VOXEL_NM), clean) <= 1.02 * rms(spoilt, clean)


def test_a_field_in_which_the_specimen_does_not_average_out_is_left_alone(tissue: NDArray[np.float32]) -> None:
    spoilt = as_grey(tissue * curtain(0.12))[:490]
    assert destriped(spoilt, VOXEL_NM) is spoilt


@pytest.mark.parametrize("amplitude", [-0.15, -0.1, 0.1, 0.15])
def test_most_of_a_curtain_goes(tissue: NDArray[np.float32], amplitude: float) -> None:
    clean, spoilt = as_grey(tissue), as_grey(tissue * curtain(amplitude))
    assert rms(destriped(spoilt, VOXEL_NM), clean) < 0.7 * rms(spoilt, clean)
    stripes = stripes_of(spoilt, VOXEL_NM)
    strongest = np.abs(stripes).mean(axis=0).argmax()
    assert abs(int(strongest) - 90) <= 3
    assert np.sign(stripes[:, strongest].mean()) == np.sign(amplitude)


def test_an_upright_membrane_is_no_curtain(tissue: NDArray[np.float32]) -> None:
    clean = as_grey(tissue)
    assert rms(destriped(clean, VOXEL_NM), clean) < 0.3
    changed = destriped(clean, VOXEL_NM).astype(int) - clean
    assert np.abs(changed[150:275, 198:206]).max() <= 5


def test_stripes_along_x_stay(tissue: NDArray[np.float32]) -> None:
    across = tissue.copy()
    across[240:246] += 20
    assert rms(destriped(as_grey(across), VOXEL_NM), as_grey(across)) < 0.3


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_slice_that_shows_nothing_is_left_alone(value: int) -> None:
    empty = np.full((40, 50), value, np.uint8)
    assert destriped(empty, VOXEL_NM) is empty


@given(offset=st.floats(-40, 40), log_contrast=st.floats(-0.3, 0.2))
def test_a_shift_of_the_detector_is_taken_out(tissue: NDArray[np.float32], offset: float, log_contrast: float) -> None:
    usual = np.clip(tissue * 0.7, 80, 160)
    mean = float(usual.mean())
    shifted = as_grey(np.asarray((usual - mean) * np.exp(log_contrast) + mean + offset, np.float32))
    assert rms(regained(shifted, Shift(offset, log_contrast)), as_grey(usual)) < 1.0


@given(
    drift=st.lists(st.floats(-1, 1), min_size=20, max_size=20),
    size=st.floats(8, 30),
    back=st.one_of(st.none(), st.integers(11, 18)),
)
def test_steps_add_up_and_what_the_specimen_changes_stays(drift: list[float], size: float, back: int | None) -> None:
    content = 170 + np.cumsum(drift)
    level, shifts = Level(), []
    for z, mean in enumerate(content):
        on = z >= 10 and (back is None or z < back)
        # Judging tells of a step once, and of none that goes back.
        level = level_after(level, mean + size * on, 3.0, stepped=z == 10)
        shifts.append(level.now.grey)
    assert shifts[:10] == [0.0] * 10
    stop = 20 if back is None else back
    assert shifts[10:stop] == pytest.approx([size] * (stop - 10), abs=1.1)
    assert shifts[stop:] == [0.0] * (20 - stop)


def test_where_the_detector_has_not_moved_a_slice_is_the_very_same(tissue: NDArray[np.float32]) -> None:
    usual = as_grey(tissue)
    assert regained(usual, NO_SHIFT) is usual
