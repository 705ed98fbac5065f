import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.report.colours import CLASS_COLOURS
from services.report.content import Outline, OverviewSlice, Section
from services.report.drawing import bar_length_um, to_data_uri, to_png, with_scale_bar
from services.report.pictures import (
    CLIPPED_OUTLINE,
    WHOLE_OUTLINE,
    SectionShapeError,
    overlay_picture,
    raw_picture,
    series_picture,
    slice_picture,
)

Pixels = NDArray[np.uint8]


def section(name: str = "xy", position_nm: float = 0.0) -> Section:
    """A plane of 40 rows and 60 columns of 20 nm, with one block of each class in a row."""
    grey = np.random.default_rng(3).integers(90, 200, (40, 60)).astype(np.uint8)
    classes = np.zeros((40, 60), np.uint8)
    for index, label in enumerate((2, 3, 4, 5)):
        classes[8:20, 6 + 14 * index : 16 + 14 * index] = label
    return Section(grey, classes, (20.0, 20.0), name, position_nm)


def test_a_raw_picture_is_grey_and_has_the_width_asked_for() -> None:
    picture = raw_picture(section(), 180)
    assert picture.shape == (120, 180, 3)
    np.testing.assert_array_equal(picture[..., 0], picture[..., 2])


@pytest.mark.parametrize(("label", "column"), [(2, 11), (3, 25), (4, 39), (5, 53)])
def test_an_overlay_tints_each_class_with_its_colour_and_nothing_else(label: int, column: int) -> None:
    raw, overlaid = raw_picture(section(), 180).astype(int), overlay_picture(section(), 180).astype(int)
    row, column = 14 * 3, column * 3
    expected = (raw[row, column] + np.array(CLASS_COLOURS[label])) / 2.0
    np.testing.assert_allclose(overlaid[row, column], expected, atol=1.0)
    np.testing.assert_array_equal(overlaid[26 * 3 : 30 * 3, :90], raw[26 * 3 : 30 * 3, :90])


def test_pixels_that_are_not_square_keep_their_proportions() -> None:
    flat = Section(np.full((10, 60), 90, np.uint8), np.zeros((10, 60), np.uint8), (60.0, 20.0), "xz", 0.0)
    assert raw_picture(flat, 120).shape == (60, 120, 3)


def test_image_and_classes_must_have_one_shape() -> None:
    torn = Section(np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8), (1.0, 1.0), "xy", 0.0)
    with pytest.raises(SectionShapeError, match="differ in shape"):
        overlay_picture(torn, 50)


def test_a_series_is_laid_out_in_rows_and_its_free_places_are_transparent() -> None:
    sheet = series_picture([section(position_nm=100.0 * i) for i in range(5)], columns=3, tile_px=90)
    assert sheet.shape == (2 * 60 + 4, 3 * 90 + 2 * 4, 4)
    assert sheet[30, 45, 3] == 255
    assert not sheet[64:, 2 * 94 :, 3].any()


def overview(is_clipped: bool) -> OverviewSlice:
    outline = Outline("n0001", ((20.0, 30.0), (20.0, 90.0), (70.0, 90.0), (70.0, 30.0)), is_clipped)
    return OverviewSlice(7, np.full((100, 160), 128, np.uint8), (outline,), 64.0)


@pytest.mark.parametrize(("is_clipped", "colour"), [(False, WHOLE_OUTLINE), (True, CLIPPED_OUTLINE)])
def test_an_outline_is_drawn_where_it_lies_in_the_colour_of_its_state(
    is_clipped: bool, colour: tuple[int, int, int]
) -> None:
    picture = slice_picture(overview(is_clipped), 320)
    assert picture.shape == (200, 320, 3)
    np.testing.assert_allclose(picture[40, 120].astype(int), colour, atol=40)
    assert (picture[10, 10] == picture[10, 11]).all()


def test_the_id_of_a_nucleus_stands_in_its_outline() -> None:
    with_id = slice_picture(overview(False), 320)
    bare = slice_picture(OverviewSlice(7, np.full((100, 160), 128, np.uint8), (), 64.0), 320)
    assert (with_id[70:110, 90:150] != bare[70:110, 90:150]).any()


@pytest.mark.parametrize("width_um", [0.3, 1.0, 4.6, 17.0, 60.0, 900.0])
def test_a_scale_bar_takes_between_a_tenth_and_a_third_of_a_picture(width_um: float) -> None:
    assert 0.1 * width_um <= bar_length_um(width_um) <= width_um / 3.0


def test_a_scale_bar_is_as_long_as_it_says() -> None:
    black = np.zeros((200, 400, 3), np.uint8)
    drawn = with_scale_bar(black, 0.01, (255, 255, 255))
    bar = drawn[200 - 14, :, 0] == 255
    assert int(bar.sum()) == round(bar_length_um(4.0) / 0.01)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_gives_back_the_same_pixels_in_the_same_order_of_colours(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    picture = picture[..., 0] if channels == 1 else picture
    back = cv2.imdecode(np.frombuffer(to_png(picture), np.uint8), cv2.IMREAD_UNCHANGED)
    assert back is not None
    turned = back if channels == 1 else back[..., [2, 1, 0, 3][:channels]]
    np.testing.assert_array_equal(turned, picture)


def test_an_embedded_picture_is_an_address_of_its_own() -> None:
    assert to_data_uri(np.zeros((4, 4, 4), np.uint8)).startswith("data:image/webp;base64,")
