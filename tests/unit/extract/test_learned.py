"""Nuclei by a small network on a reduced image."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from services.extract import learned
from services.extract.contours import fill_polygon
from services.extract.detection import detect
from services.extract.learned import NETWORKS, Detector, DetectorError, cleaned, detector, said
from services.extract.outlines import Outline
from services.extract.profiles import EXAMPLES, get_profile

PROFILE = get_profile("hela-learned")
GREY = NDArray[np.uint8]


@pytest.fixture
def field(real_data: Path) -> GREY:
    """A part of a real slice with three whole nuclei, pixels of 40 nm."""
    return np.asarray(tifffile.imread(real_data / "hela" / "slice030_full_40nm_raw_recovered.tif")[750:1400, 1100:1750])


def found_at(outlines: tuple[Outline, ...], y: float, x: float, within_px: float) -> list[Outline]:
    return [one for one in outlines if np.hypot(one.centroid_yx_px[0] - y, one.centroid_yx_px[1] - x) < within_px]


@pytest.fixture
def outlines(field: GREY) -> tuple[Outline, ...]:
    return detect(field, PROFILE, (40.0, 40.0))


@pytest.mark.data
@pytest.mark.parametrize(("y_nm", "x_nm"), [(20.0, 20.0), (40.0, 20.0), (60.0, 60.0)])
def test_other_pixels_give_the_same_nuclei(
    field: GREY, outlines: tuple[Outline, ...], y_nm: float, x_nm: float
) -> None:
    size = (round(field.shape[1] * 40 / x_nm), round(field.shape[0] * 40 / y_nm))
    other = detect(cv2.resize(field, size, interpolation=cv2.INTER_AREA).astype(np.uint8), PROFILE, (y_nm, x_nm))
    assert len(other) == len(outlines) >= 2
    for one in outlines:
        y, x = one.centroid_yx_px
        (same,) = found_at(other, y * 40 / y_nm, x * 40 / x_nm, 5 * 40 / min(y_nm, x_nm))
        assert same.area_px * y_nm * x_nm == pytest.approx(one.area_px * 1600, rel=0.06)


def test_a_blank_slice_and_a_tiny_one_hold_no_nucleus() -> None:
    assert detect(np.full((300, 300), 128, np.uint8), PROFILE, (40.0, 40.0)) == ()
    assert detect(np.full((3, 5), 128, np.uint8), PROFILE, (40.0, 40.0)) == ()


@pytest.mark.data
def test_tiles_see_enough_around_them(field: GREY, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = detector("hela-40nm").mask(field)
    monkeypatch.setattr(learned, "CORE_PX", 256)
    tiled = detector("hela-40nm").mask(field)
    assert np.count_nonzero(whole) > 10_000
    # The coarsest level of the network pools from the corner of what it is shown.
    assert np.mean(whole != tiled) < 2e-3


def test_lobes_are_joined_specks_are_dropped_and_holes_are_filled() -> None:
    mask = np.zeros((120, 160), np.uint8)
    cv2.circle(mask, (50, 60), 30, 1, -1)
    cv2.circle(mask, (112, 60), 28, 1, -1)
    cv2.circle(mask, (50, 60), 6, 0, -1)
    mask[5:9, 5:9] = 1
    clean = cleaned(mask, dataclasses.replace(PROFILE, closing_nm=400.0, opening_nm=300.0), 40.0)
    assert ndimage.label(clean)[1] == 1
    assert clean[60, 50] == 1
    assert not clean[:12, :12].any()


def test_a_nucleus_at_the_border_keeps_its_rim() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[30:80, :60] = 1
    clean = cleaned(mask, PROFILE, 40.0)
    assert clean[40:70, 0].all()
    assert not clean[:25].any()


def test_what_a_profile_without_a_network_decides_is_said_as_before() -> None:
    recommended = said(get_profile("recommended"))
    assert "network" not in recommended
    assert "closing_nm" not in recommended
    assert said(PROFILE)["network"] == detector("hela-40nm").card.onnx_sha256


def test_a_detector_that_is_not_the_one_described_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no detector 'none'"):
        Detector(tmp_path, "none")
    card = json.loads((NETWORKS / "hela-40nm.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(card))
    (tmp_path / "other.onnx").write_bytes((NETWORKS / "hela-40nm.onnx").read_bytes()[:-1] + b"?")
    with pytest.raises(DetectorError, match=r"is not the file that other\.json describes"):
        Detector(tmp_path, "other")


@pytest.mark.slow
@pytest.mark.data
def test_every_nucleus_of_cultured_cells_is_found_and_nothing_else(real_data: Path) -> None:
    grey = tifffile.imread(real_data / "hela" / "slice030_full_40nm_raw_recovered.tif")
    truth, count = ndimage.label(tifffile.imread(real_data / "hela" / "slice030_full_40nm_nuclei.tif"))
    sizes = np.bincount(truth.ravel())
    found, false = set(), 0
    for outline in detect(grey, EXAMPLES["hela-learned"], (40.0, 40.0)):
        drawn = fill_polygon(outline.polygon_yx_px, (0, 0), grey.shape) > 0
        shared = np.bincount(truth[drawn], minlength=count + 1)
        overlap = shared / (int(drawn.sum()) + sizes - shared)
        matched = {n for n in range(1, count + 1) if overlap[n] > 0.5}
        found |= matched
        false += not matched
    large = {n for n in range(1, count + 1) if sizes[n] * 0.04**2 >= PROFILE.min_area_um2}
    assert len(large) == 20
    assert large <= found
    assert false == 0
