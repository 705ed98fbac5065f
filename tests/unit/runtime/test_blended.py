"""Planes too large for one window are labelled as if they were not; neighbours and blocks are those of the stack."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from services.contracts.architectures import MixedScaleDenseArchitecture, TUNetArchitecture
from services.runtime.segmenter.blended import CORE_PLANES, BlendedNetwork, WindowSizes
from services.runtime.segmenter.port import Plane

FLAT = TUNetArchitecture(depth=2, base_channels=2)
NEIGHBOURS = TUNetArchitecture(depth=2, base_channels=2, input_planes=3)
BLOCKS = TUNetArchitecture(depth=2, base_channels=2, dimensions=3)
SMALL_WINDOWS = WindowSizes(window_px=16, whole_px=16, window_planes=8)


def brighter(images: Tensor) -> Tensor:
    """Say of each pixel whether it is bright: channel 1."""
    return torch.cat([-images[:, :1], images[:, :1]], dim=1)


def local_mean(images: Tensor) -> Tensor:
    """Say where the neighbourhood is bright, zeros around the window taken for dark, as padded networks do."""
    mean = torch.nn.functional.avg_pool2d(images, 5, stride=1, padding=2)
    return torch.cat([-mean, mean], dim=1)


def noise(*shape: int) -> Plane:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 40, 55), (2, 16, 16), (1, 3, 70)])
@pytest.mark.parametrize("architecture", [FLAT, BLOCKS], ids=["planes", "blocks"])
def test_every_pixel_is_labelled_whatever_the_shape(
    architecture: TUNetArchitecture, shape: tuple[int, int, int]
) -> None:
    grey = noise(*shape)
    labelled = BlendedNetwork(brighter, architecture, 2, sizes=SMALL_WINDOWS).label(grey, 127.5, 20.0)
    np.testing.assert_array_equal(labelled, grey > 127.5)


def test_blended_windows_agree_with_the_whole_plane_but_for_hairs_breadths() -> None:
    grey = np.repeat(np.repeat(noise(1, 8, 8), 8, axis=1), 8, axis=2)
    whole = BlendedNetwork(local_mean, FLAT, 2).label(grey, 127.5, 20.0)
    cut = BlendedNetwork(local_mean, FLAT, 2, sizes=SMALL_WINDOWS).label(grey, 127.5, 20.0)
    assert 0.1 < whole.mean() < 0.9
    assert (whole != cut).mean() < 0.01


def test_neighbours_are_the_planes_before_and_behind_and_the_ends_are_repeated() -> None:
    seen: list[list[int]] = []

    def remember(images: Tensor) -> Tensor:
        seen.append(images[0, :, 0, 0].round().int().tolist())
        return brighter(images)

    grey = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8)
    blended = BlendedNetwork(remember, NEIGHBOURS, 2)
    labelled = blended.label(grey, 0.0, 1.0)
    assert seen == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    seen.clear()
    streamed = list(blended.label_stream(iter(grey), 0.0, 1.0))
    assert seen == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    np.testing.assert_array_equal(np.stack(streamed), labelled)


@pytest.mark.parametrize("planes", [1, CORE_PLANES, 2 * CORE_PLANES + 5])
def test_a_stream_of_blocks_gives_each_plane_once(planes: int) -> None:
    grey = noise(planes, 8, 12)
    blended = BlendedNetwork(brighter, BLOCKS, 2, sizes=SMALL_WINDOWS)
    streamed = list(blended.label_stream(iter(grey), 127.5, 20.0))
    np.testing.assert_array_equal(np.stack(streamed), grey > 127.5)


@pytest.mark.parametrize("architecture", [FLAT, NEIGHBOURS, BLOCKS], ids=["planes", "neighbours", "blocks"])
@pytest.mark.parametrize("wanted", [set(), {0}, {3, 40}, {CORE_PLANES - 1, CORE_PLANES}, {52}])
def test_planes_that_are_not_wanted_are_not_computed_alone_and_change_no_answer(
    architecture: TUNetArchitecture, wanted: set[int]
) -> None:
    calls: list[int] = []

    def counted(images: Tensor) -> Tensor:
        calls.append(1)
        middle = images.shape[1] // 2
        return brighter(images[:, middle : middle + 1])

    grey = noise(2 * CORE_PLANES + 5, 8, 12)
    blended = BlendedNetwork(counted, architecture, 2, sizes=SMALL_WINDOWS)
    every = list(blended.decided_stream(iter(grey), 127.5, 20.0))
    all_calls = len(calls)
    calls.clear()
    some = list(blended.decided_stream(iter(grey), 127.5, 20.0, wanted.__contains__))
    assert len(some) == len(grey)
    assert len(calls) < all_calls if architecture is not BLOCKS or len(wanted) < 2 else len(calls) <= all_calls
    for plane in wanted:
        (mine, other) = (some[plane], every[plane])
        assert mine is not None
        assert other is not None
        np.testing.assert_array_equal(mine.channels, grey[plane] > 127.5)
        np.testing.assert_array_equal(mine.channels, other.channels)
        np.testing.assert_array_equal(mine.confidence, other.confidence)


def test_confidence_is_255_times_the_probability_of_the_channel() -> None:
    grey = np.array([[[127, 128, 137, 255]]], np.uint8).repeat(4, axis=1)
    (answer,) = BlendedNetwork(brighter, FLAT, 2).decided_stream(iter(grey), 127.0, 10.0)
    assert answer is not None
    expected = [255 / (1 + np.exp(-2 * value)) for value in (0.0, 0.1, 1.0, 12.8)]
    assert answer.confidence[0].tolist() == [round(value) for value in expected]


def test_an_empty_stream_has_no_labels() -> None:
    assert list(BlendedNetwork(brighter, FLAT, 2).label_stream(iter([]), 0.0, 1.0)) == []


def test_a_network_of_no_stride_takes_any_shape() -> None:
    dense = MixedScaleDenseArchitecture(family="dlsia.MixedScaleDenseNetwork", layers=1, max_dilation=1)
    grey = noise(1, 5, 7)
    np.testing.assert_array_equal(BlendedNetwork(brighter, dense, 2).label(grey, 127.5, 9.0), grey > 127.5)
