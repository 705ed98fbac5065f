"""Crops are resampled to a model's voxel size without shifting, exactly where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.imaging.resampling import (
    VoxelSizeError,
    labels_to_shape,
    most_likely,
    resample_grey,
    resample_labels,
    resampled_shape,
)

SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))
EDGES = st.sampled_from([2.0, 3.0, 4.0, 5.3, 8.0, 16.0, 20.0])


@given(arrays(np.uint8, SHAPES), EDGES)
def test_the_same_voxel_size_gives_the_same_image_back(image: np.ndarray, edge_nm: float) -> None:
    assert resample_grey(image, (edge_nm, edge_nm), edge_nm) is image
    assert resample_labels(image, (edge_nm, edge_nm), edge_nm) is image


@given(st.integers(0, 255), SHAPES, EDGES, EDGES, EDGES)
def test_a_flat_image_stays_flat(grey: int, shape: tuple[int, int], y_nm: float, x_nm: float, to_nm: float) -> None:
    resampled = resample_grey(np.full(shape, grey, np.uint8), (y_nm, x_nm), to_nm)
    assert resampled.shape == resampled_shape(shape, (y_nm, x_nm), to_nm)
    assert (resampled == grey).all()


@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))), st.integers(2, 4))
def test_going_down_by_a_whole_factor_takes_the_mean_of_each_block(blocks: np.ndarray, factor: int) -> None:
    rng = np.random.default_rng(int(blocks.sum()))
    image = rng.integers(0, 256, (blocks.shape[0] * factor, blocks.shape[1] * factor)).astype(np.uint8)
    expected = image.reshape(blocks.shape[0], factor, blocks.shape[1], factor).mean(axis=(1, 3))
    resampled = resample_grey(image, (4.0, 4.0), 4.0 * factor)
    np.testing.assert_allclose(resampled, expected, atol=0.5 + 1e-9)


@given(arrays(np.uint8, SHAPES), EDGES, EDGES)
def test_grey_never_leaves_the_range_of_the_image(image: np.ndarray, y_nm: float, to_nm: float) -> None:
    resampled = resample_grey(image, (y_nm, 4.0), to_nm)
    assert image.min() <= resampled.min()
    assert resampled.max() <= image.max()


def test_axes_are_resampled_by_their_own_edges() -> None:
    image = np.arange(8, dtype=np.uint8).reshape(2, 4) * 10
    np.testing.assert_array_equal(resample_grey(image, (4.0, 2.0), 4.0), [[5, 25], [45, 65]])
    np.testing.assert_array_equal(resample_grey(image.T, (2.0, 4.0), 4.0), [[5, 45], [25, 65]])


def test_a_ramp_goes_up_without_a_shift() -> None:
    ramp = np.array([[0, 40, 80, 120]], np.uint8)
    np.testing.assert_array_equal(resample_grey(ramp, (8.0, 8.0), 4.0)[0], [0, 10, 30, 50, 70, 90, 110, 120])


@given(arrays(np.uint8, SHAPES, elements=st.integers(0, 5)), st.integers(2, 4))
def test_labels_come_back_from_finer_pixels_unchanged(labels: np.ndarray, factor: int) -> None:
    finer = resample_labels(labels, (16.0, 16.0), 16.0 / factor)
    np.testing.assert_array_equal(resample_labels(finer, (16.0 / factor, 16.0 / factor), 16.0), labels)


@given(arrays(np.uint16, SHAPES), EDGES, EDGES)
def test_resampling_invents_no_label(labels: np.ndarray, from_nm: float, to_nm: float) -> None:
    resampled = resample_labels(labels, (from_nm, from_nm), to_nm)
    assert resampled.dtype == labels.dtype
    assert set(np.unique(resampled)) <= set(np.unique(labels))


def test_a_plane_is_brought_back_to_the_shape_of_its_image() -> None:
    image_shape = (101, 63)
    plane = np.arange(25 * 16, dtype=np.uint16).reshape(25, 16)
    assert resampled_shape(image_shape, (4.0, 4.0), 16.0) == plane.shape
    back = labels_to_shape(plane, image_shape, (16.0, 16.0), 4.0)
    assert back.shape == image_shape
    np.testing.assert_array_equal(back[:100, :63], np.kron(plane, np.ones((4, 4), np.uint16))[:100, :63])
    np.testing.assert_array_equal(back[100], back[99])


@pytest.mark.parametrize(("from_nm", "to_nm"), [((0.0, 4.0), 16.0), ((4.0, -4.0), 16.0), ((4.0, 4.0), float("nan"))])
def test_an_edge_that_is_no_length_is_refused(from_nm: tuple[float, float], to_nm: float) -> None:
    with pytest.raises(VoxelSizeError):
        resampled_shape((4, 4), from_nm, to_nm)


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))),
    st.sampled_from([1, 2, 3, 4, 5, 6, 8, 12, 16]),
    st.sampled_from([1, 2, 3, 4, 6, 16]),
    st.booleans(),
)
@example(blocks=np.zeros((2, 4), np.uint8), height=1, width=6, flat=False)
def test_whole_blocks_give_the_bytes_of_running_sums(blocks: np.ndarray, height: int, width: int, flat: bool) -> None:
    """Running sums in doubles are the definition; blocks of some edges are summed as integers instead."""
    rng = np.random.default_rng(int(blocks.sum()))
    shape = (blocks.shape[0] * height, blocks.shape[1] * width)
    # Few levels make means that lie half-way between two, where rounding could differ.
    image = rng.integers(0, 2 if flat else 256, shape).astype(np.uint8)
    values = image.astype(np.float64)
    for edge in (width, height):
        if edge > 1:
            sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
            values = np.diff(sums[:, ::edge], axis=1) / edge
        values = values.T
    np.testing.assert_array_equal(resample_grey(image, (48.0 / height, 48.0 / width), 48.0), np.rint(values))


def ellipse(shape: tuple[int, int], edge: tuple[float, float]) -> np.ndarray:
    y, x = ((np.arange(n) + 0.5) * nm for n, nm in zip(shape, edge, strict=True))
    return np.hypot((y[:, None] - 130) / 90, (x[None] - 200) / 140) < 1


def test_borders_run_between_the_coarser_pixels() -> None:
    """The share of each coarse pixel that is inside says where the border is, finer than the pixels themselves."""
    fine = ellipse((52, 80), (5.0, 5.0))
    share = fine.reshape(26, 2, 40, 2).mean(axis=(1, 3)).astype(np.float32)
    answer = most_likely(np.stack([1 - share, share]), fine.shape, 10.0, (5.0, 5.0))
    nearest = labels_to_shape((share > 0.5).astype(np.uint8), fine.shape, (10.0, 10.0), 5.0)
    assert (answer != fine).sum() < 0.6 * (nearest != fine).sum()


def test_a_wide_image_is_answered_band_by_band_and_each_axis_by_its_own_edge() -> None:
    fine = ellipse((60, 700), (4.0, 0.8))
    coarse = ellipse((24, 56), (10.0, 10.0)).astype(np.float32)
    answer = most_likely(np.stack([1 - coarse, coarse]), fine.shape, 10.0, (4.0, 0.8))
    assert answer.shape == fine.shape
    assert (answer == fine).mean() > 0.97


def test_classes_that_are_sure_keep_their_middle() -> None:
    labels = np.array([[0, 2], [1, 1]])
    scores = np.stack([(labels == k) for k in range(3)]).astype(np.float32)
    answer = most_likely(scores, (10, 10), 10.0, (2.0, 2.0))
    assert [answer[2, 2], answer[2, 7], answer[7, 2], answer[7, 7]] == [0, 2, 1, 1]
