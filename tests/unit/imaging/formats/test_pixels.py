"""What pixels give away: contrast turned round, data bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from services.imaging.formats.description import GreyPlane
from services.imaging.formats.pixels import Contrast, balance_of_lines, contrast_of, data_bar_rows
from services.simulator.phantom import Phantom
from services.simulator.simulate import spec_for

REAL = {
    "fib25/sample1_raw_z000-099_unlabelled.tif": 50,
    "fib25/sample2_raw_z000-149.tif": 75,
    "epfl6/train_raw.tif": 13,
    "hela/slice030_full_40nm_raw_recovered.tif": 0,
    "vnc/raw.tif": 7,
    "cdeep3m_sbem_mito/train_raw_z010-019.tif": 5,
    "isbi2012/raw.tif": 12,
}


def lines(bits: int = 8) -> GreyPlane:
    """Return bright ground with thin dark lines, as membranes are, and noise."""
    grey = np.full((200, 150), 180.0)
    grey[::20] = grey[:, ::25] = 90
    grey += np.random.default_rng(3).normal(0, 8, grey.shape)
    return grey.astype(np.uint8) if bits == 8 else (grey * 200).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 16])
def test_thin_dark_lines_are_stained_membranes_and_bright_ones_inverted_contrast(bits: int) -> None:
    assert contrast_of(lines(bits)) is Contrast.METAL_DARK
    assert contrast_of(np.invert(lines(bits))) is Contrast.METAL_BRIGHT


def test_noise_and_blank_slices_decide_nothing() -> None:
    noise = np.random.default_rng(1).normal(128, 10, (300, 300)).astype(np.uint8)
    assert contrast_of(noise) is Contrast.UNDECIDED
    assert contrast_of(np.zeros((50, 60), np.uint8)) is Contrast.UNDECIDED


def test_turning_grey_round_turns_the_sign_of_the_balance() -> None:
    assert balance_of_lines(np.invert(lines())) == pytest.approx(-balance_of_lines(lines()), abs=0.02)


def test_a_phantom_shows_metal_dark() -> None:
    assert contrast_of(Phantom(spec_for(1, 32.0, 1)).slice(60)) is Contrast.METAL_DARK


def test_rows_that_are_merely_dark_are_no_bar() -> None:
    grey = lines()
    grey[150:] //= 4
    assert data_bar_rows(grey) == 0
    assert data_bar_rows(np.zeros((100, 100), np.uint8)) == 0


def test_a_black_border_of_half_the_image_is_no_bar() -> None:
    grey = lines()
    grey[100:] = 0
    assert data_bar_rows(grey) == 0


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_contrast_of_real_slices_is_told_and_so_is_its_inverse(name: str, real_data: Path) -> None:
    stack = tifffile.imread(real_data / name)
    grey = stack[REAL[name]] if stack.ndim == 3 else stack
    assert contrast_of(grey) is Contrast.METAL_DARK
    assert contrast_of(np.invert(grey)) is Contrast.METAL_BRIGHT


@pytest.mark.data
def test_the_real_data_bar_is_found_in_the_pixels_too(real_data: Path) -> None:
    grey = tifffile.imread(real_data / "fei_tif" / "fei-sem-rbc.tif")
    assert data_bar_rows(grey) == 70
    assert data_bar_rows(grey[:1024]) == 0


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real_slices_without_a_bar_have_none(name: str, real_data: Path) -> None:
    stack = tifffile.imread(real_data / name)
    assert data_bar_rows(stack[REAL[name]] if stack.ndim == 3 else stack) == 0
