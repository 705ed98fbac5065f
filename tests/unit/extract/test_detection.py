"""Nuclei are found where they are, each once, and nothing else is."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from scipy import ndimage

from services.extract.contours import fill_polygon
from services.extract.detection import DetectionInputError, detect
from services.extract.outlines import Outline
from services.extract.profiles import EXAMPLES, PROFILES, DetectionProfile
from services.simulator.phantom import Phantom, PhantomSpec

Draw = Callable[..., npt.NDArray[np.uint8]]
Make = Callable[..., object]

RECOMMENDED = PROFILES["recommended"]
VOXEL = (16.0, 16.0)


def overlap(outline: Outline, y_nm: float, x_nm: float, radius_nm: float, voxel_nm: float = 16.0) -> float:
    """Intersection over union of an outline and a circle."""
    shape = (700, 900)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    circle = np.hypot((y + 0.5) * voxel_nm - y_nm, (x + 0.5) * voxel_nm - x_nm) < radius_nm
    found = fill_polygon(outline.polygon_yx_px, (0, 0), shape) > 0
    return float((circle & found).sum() / (circle | found).sum())


def test_a_nucleus_is_found_where_it_is_and_y_is_not_taken_for_x(draw: Draw, make_nucleus: Make) -> None:
    found = detect(draw(make_nucleus(3000.0, 7500.0)), RECOMMENDED, VOXEL)
    assert len(found) == 1
    assert found[0].centroid_yx_px == pytest.approx((3000 / 16 - 0.5, 7500 / 16 - 0.5), abs=1.5)
    assert overlap(found[0], 3000.0, 7500.0, 1823.0) > 0.95
    assert not found[0].touches_border


def test_the_direction_of_an_oblong_nucleus_is_that_of_its_longer_axis(draw: Draw, make_disc: Make) -> None:
    tall = detect(draw(make_disc(4000.0, 5000.0, 2200.0, 1700.0)), RECOMMENDED, VOXEL)
    assert tall[0].semi_axes_px == pytest.approx(((2200 + 23) / 16, (1700 + 23) / 16), abs=2.5)
    assert tall[0].angle_rad == pytest.approx(math.pi / 2, abs=0.15)


def test_outlines_come_in_the_order_of_their_centroids(draw: Draw, make_nucleus: Make) -> None:
    found = detect(
        draw(make_nucleus(6200.0, 2500.0), make_nucleus(2400.0, 8500.0), make_nucleus(2600.0, 3000.0)),
        RECOMMENDED,
        VOXEL,
    )
    assert [outline.centroid_yx_px for outline in found] == sorted(outline.centroid_yx_px for outline in found)
    assert len(found) == 3


def test_touching_neighbours_stay_separate(draw: Draw, make_nucleus: Make) -> None:
    found = detect(draw(make_nucleus(4400.0, 3600.0, 1900.0), make_nucleus(4400.0, 7420.0, 1900.0)), RECOMMENDED, VOXEL)
    assert len(found) == 2
    assert overlap(found[0], 4400.0, 3600.0, 1923.0) > 0.92
    assert overlap(found[1], 4400.0, 7420.0, 1923.0) > 0.92


@pytest.mark.parametrize(
    ("y_nm", "x_nm", "side"),
    [(600.0, 5000.0, "y_min"), (8400.0, 5000.0, "y_max"), (4000.0, 700.0, "x_min"), (4000.0, 11000.0, "x_max")],
)
def test_a_nucleus_cut_by_the_border_is_kept_and_marked(
    draw: Draw, make_nucleus: Make, y_nm: float, x_nm: float, side: str
) -> None:
    found = detect(draw(make_nucleus(y_nm, x_nm)), RECOMMENDED, VOXEL)
    assert [outline.border_sides for outline in found] == [(side,)]
    assert overlap(found[0], y_nm, x_nm, 1823.0) > 0.5
    assert found[0].centre_yx_px == pytest.approx((y_nm / 16, x_nm / 16), abs=12)
    assert found[0].polygon_yx_px.min() >= 0
    assert (found[0].polygon_yx_px < (560, 720)).all()


def test_what_is_no_nucleus_is_not_detected(draw: Draw, make_disc: Make) -> None:
    sperm = make_disc(2500.0, 2500.0, 1400.0, 1400.0, 80.0, membrane=False)
    vacuole = make_disc(6000.0, 3000.0, 500.0, 700.0)
    granule = make_disc(3000.0, 8000.0, 300.0, 150.0, 130.0, membrane=False)
    yolk = make_disc(6500.0, 8000.0, 1300.0, 1300.0, 110.0)
    assert detect(draw(sperm, vacuole, granule, yolk), RECOMMENDED, VOXEL) == ()


def test_cytoplasm_alone_holds_no_nucleus(draw: Draw) -> None:
    assert detect(draw(), RECOMMENDED, VOXEL) == ()


def test_granules_on_the_membrane_and_a_broken_membrane_do_not_hide_a_nucleus(
    draw: Draw, make_nucleus: Make, make_disc: Make
) -> None:
    granules = [
        make_disc(4400 + 1980 * math.sin(a), 5500 + 1980 * math.cos(a), 150.0, 150.0, 140.0, membrane=False)
        for a in (0.3, 1.2, 2.0, 3.3, 4.9)
    ]
    found = detect(draw(*granules, make_nucleus(4400.0, 5500.0), gaps=0.3), RECOMMENDED, VOXEL)
    assert len(found) == 1
    assert overlap(found[0], 4400.0, 5500.0, 1823.0) > 0.92


@pytest.mark.parametrize("contrast", [0.4, 1.8])
def test_contrast_and_brightness_of_the_recording_do_not_matter(
    draw: Draw, make_nucleus: Make, contrast: float
) -> None:
    grey = draw(make_nucleus(4400.0, 5500.0)).astype(np.float64)
    changed = np.clip(np.rint(120 + (grey - 185) * contrast), 0, 255).astype(np.uint8)
    assert len(detect(changed, RECOMMENDED, VOXEL)) == 1


def test_shading_and_stripes_do_not_hide_a_nucleus(draw: Draw, make_nucleus: Make) -> None:
    grey = draw(make_nucleus(4400.0, 5500.0), make_nucleus(2400.0, 1900.0)).astype(np.float64)
    x = np.arange(grey.shape[1])
    shaded = grey * (0.8 + 0.3 * x / x.size) * (1 + 0.06 * (np.sin(x / 3) > 0.9))
    assert len(detect(np.clip(shaded, 0, 255).astype(np.uint8), RECOMMENDED, VOXEL)) == 2


@pytest.mark.parametrize("voxel_nm", [8.0, 16.0, 24.0, 40.0])
def test_a_nucleus_is_found_at_any_voxel_size(draw: Draw, make_nucleus: Make, voxel_nm: float) -> None:
    shape = (round(7200 / voxel_nm), round(8000 / voxel_nm))
    found = detect(
        draw(make_nucleus(3300.0, 4600.0), shape=shape, voxel_nm=voxel_nm), RECOMMENDED, (voxel_nm, voxel_nm)
    )
    assert len(found) == 1
    assert overlap(found[0], 3300.0, 4600.0, 1823.0, voxel_nm) > 0.9


def test_a_noisy_recording_of_large_voxels_is_blurred_enough(draw: Draw, make_nucleus: Make) -> None:
    centres = [(3300.0, 3000.0), (3300.0, 8000.0), (8300.0, 3000.0), (8300.0, 8000.0)]
    grey = draw(*(make_nucleus(*at) for at in centres), shape=(290, 280), voxel_nm=40.0, noise=13.0)
    assert len(detect(grey, RECOMMENDED, (40.0, 40.0))) == 4


def test_pixels_that_are_not_square_are_taken_for_what_they_are(draw: Draw, make_nucleus: Make) -> None:
    square = draw(make_nucleus(4400.0, 5500.0))
    stretched = np.repeat(square, 2, axis=0)
    found = detect(stretched, RECOMMENDED, (8.0, 16.0))
    assert len(found) == 1
    assert found[0].centroid_yx_px == pytest.approx((4400 / 8, 5500 / 16), abs=4)


def test_the_same_slice_gives_the_same_outlines(draw: Draw, make_nucleus: Make) -> None:
    grey = draw(make_nucleus(4400.0, 5500.0), make_nucleus(600.0, 2500.0))
    assert detect(grey, RECOMMENDED, VOXEL) == detect(grey.copy(), RECOMMENDED, VOXEL)


@pytest.mark.parametrize("name", ["manuscript", "as-run", "recommended"])
@pytest.mark.parametrize("value", [0, 255])
def test_a_blank_slice_holds_nothing(name: str, value: int) -> None:
    assert detect(np.full((300, 200), value, np.uint8), PROFILES[name], VOXEL) == ()


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 2)])
def test_a_tiny_slice_holds_nothing(shape: tuple[int, int]) -> None:
    assert detect(np.full(shape, 90, np.uint8), RECOMMENDED, VOXEL) == ()


@pytest.mark.parametrize("name", ["manuscript", "as-run"])
def test_the_printed_chain_finds_a_nucleus_in_the_middle(draw: Draw, make_nucleus: Make, name: str) -> None:
    grey = draw(make_nucleus(2600.0, 3000.0), noise=4.0, shape=(320, 380))
    assert any(overlap(outline, 2600.0, 3000.0, 1823.0) > 0.8 for outline in detect(grey, PROFILES[name], VOXEL))


def test_the_printed_size_window_leaves_out_what_is_larger(draw: Draw, make_nucleus: Make) -> None:
    grey = draw(make_nucleus(2800.0, 3000.0, 2200.0), noise=4.0, shape=(350, 380))
    assert not any(overlap(o, 2800.0, 3000.0, 2223.0) > 0.8 for o in detect(grey, PROFILES["manuscript"], VOXEL))
    assert len(detect(grey, RECOMMENDED, VOXEL)) == 1


@pytest.mark.parametrize(
    ("grey", "voxel"),
    [
        (np.zeros((4, 4), np.uint16), VOXEL),
        (np.zeros((4, 4, 3), np.uint8), VOXEL),
        (np.zeros((4, 4), np.uint8), (0.0, 16.0)),
        (np.zeros((4, 4), np.uint8), (16.0, 5000.0)),
    ],
)
def test_what_is_no_grey_slice_is_refused(grey: npt.NDArray[np.uint8], voxel: tuple[float, float]) -> None:
    with pytest.raises(DetectionInputError):
        detect(grey, RECOMMENDED, voxel)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 8])
def test_every_whole_nucleus_of_a_phantom_is_found_once_in_every_slice_it_is_large_enough_in(seed: int) -> None:
    phantom = Phantom(PhantomSpec(seed=seed, n_nuclei=3))
    missed, wrong = _missed_and_wrong(phantom, range(4, phantom.shape_zyx[0], 24), RECOMMENDED)
    assert (missed, wrong) == ([], [])


def _missed_and_wrong(
    phantom: Phantom, slices: range, profile: DetectionProfile
) -> tuple[list[tuple[int, int]], list[tuple[int, tuple[float, float]]]]:
    missed, wrong = [], []
    for z in slices:
        truth = phantom.truth(z).nuclei
        sizes = np.bincount(truth.ravel(), minlength=4)
        found: list[int] = []
        for outline in detect(phantom.slice(z), profile, VOXEL):
            drawn = fill_polygon(outline.polygon_yx_px, (0, 0), truth.shape) > 0
            nucleus = int(np.bincount(truth[drawn]).argmax())
            shared = int((truth[drawn] == nucleus).sum())
            if nucleus == 0 or shared / (int(drawn.sum()) + sizes[nucleus] - shared) < 0.75:
                wrong.append((z, outline.centroid_yx_px))
            found.append(nucleus)
        large = [n for n in (1, 2, 3) if sizes[n] * 0.016**2 > 1.05 * profile.min_area_um2]
        missed += [(z, n) for n in large if found.count(n) != 1]
    return missed, wrong


@pytest.mark.slow
@pytest.mark.data
def test_nuclei_of_cultured_cells_are_found_with_their_own_settings(real_data: Path) -> None:
    grey = tifffile.imread(real_data / "hela" / "slice030_full_40nm_raw_recovered.tif")
    truth, count = ndimage.label(tifffile.imread(real_data / "hela" / "slice030_full_40nm_nuclei.tif"))
    sizes = np.bincount(truth.ravel())
    found = set()
    outlines = detect(grey, EXAMPLES["hela-40nm"], (40.0, 40.0))
    for outline in outlines:
        drawn = fill_polygon(outline.polygon_yx_px, (0, 0), grey.shape) > 0
        shared = np.bincount(truth[drawn], minlength=count + 1)
        union = int(drawn.sum()) + sizes - shared
        found |= {n for n in range(1, count + 1) if shared[n] / union[n] > 0.5}
    assert len(found) >= 17
    assert len(outlines) - len(found) <= 4


def test_a_profile_can_be_changed_for_larger_nuclei(draw: Draw, make_nucleus: Make) -> None:
    large = dataclasses.replace(RECOMMENDED, min_area_um2=20.0, max_area_um2=60.0)
    grey = draw(make_nucleus(7000.0, 9000.0, 3600.0), make_nucleus(2000.0, 2200.0), shape=(440, 560), voxel_nm=32.0)
    found = detect(grey, large, (32.0, 32.0))
    assert len(found) == 1
    assert overlap(found[0], 7000.0, 9000.0, 3623.0, 32.0) > 0.93
