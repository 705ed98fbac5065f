"""What every segmenter promises. A test module subclasses `SegmenterContract` and provides the `segmenter` fixture.

One segmenter may serve all tests: none of them changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.contracts.classes import LabelClass
from services.runtime.segmenter.port import (
    CropRefusedError,
    Normalisation,
    NumericProfile,
    Plane,
    Segmented,
    Segmenter,
)

NORMALISATION = Normalisation(170.0, 20.0)


def nucleus_like(shape_yx: tuple[int, int], seed: int) -> Plane:
    """Return a grainy crop with a bright disc, a dark rim and a few blobs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape_yx[0], : shape_yx[1]]
    radius = np.hypot(y - shape_yx[0] / 2, x - shape_yx[1] / 2) / (0.35 * min(shape_yx))
    grey = np.where(radius < 1, 212.0, 172.0) - 60 * (np.abs(radius - 1) < 0.04)
    for centre in rng.uniform(0.35, 0.65, (6, 2)) * shape_yx:
        grey[np.hypot(y - centre[0], x - centre[1]) < 9] = 178
    return np.asarray(np.clip(grey + rng.normal(0, 7, shape_yx), 0, 255), np.uint8)


def content(answers: Sequence[Segmented]) -> list[bytes]:
    """Return the bytes of each answer."""
    return [answer.classes_yx.tobytes() + answer.confidence_yx.tobytes() for answer in answers]


class SegmenterContract:
    """The suite."""

    @pytest.fixture
    def crops(self) -> list[Plane]:
        return [nucleus_like((104, 136), seed) for seed in range(4)] + [nucleus_like((97, 61), 9)]

    @pytest.fixture
    def alone(self, segmenter: Segmenter, crops: list[Plane]) -> list[bytes]:
        return content([segmenter.segment([crop], NORMALISATION)[0] for crop in crops])

    def test_planes_have_the_shape_of_their_crop_and_eight_bits(self, segmenter: Segmenter, crops: list[Plane]) -> None:
        answers = segmenter.segment(crops, NORMALISATION)
        assert [a.classes_yx.shape for a in answers] == [c.shape for c in crops]
        assert [a.confidence_yx.shape for a in answers] == [c.shape for c in crops]
        assert {a.classes_yx.dtype for a in answers} | {a.confidence_yx.dtype for a in answers} == {np.dtype(np.uint8)}

    def test_a_crop_of_one_pixel_is_segmented(self, segmenter: Segmenter) -> None:
        (answer,) = segmenter.segment([np.full((1, 1), 170, np.uint8)], NORMALISATION)
        assert answer.classes_yx.shape == (1, 1)

    def test_no_crops_give_no_answers(self, segmenter: Segmenter) -> None:
        assert list(segmenter.segment([], NORMALISATION)) == []

    def test_a_batch_answers_as_its_crops_alone_to_the_bit(
        self, segmenter: Segmenter, crops: list[Plane], alone: list[bytes]
    ) -> None:
        assert content(segmenter.segment(crops, NORMALISATION)) == alone
        assert content(segmenter.segment(crops[:3], NORMALISATION)) == alone[:3]

    def test_the_order_of_a_batch_changes_no_bit(
        self, segmenter: Segmenter, crops: list[Plane], alone: list[bytes]
    ) -> None:
        order = [3, 0, 4, 1, 2, 0]
        assert content(segmenter.segment([crops[k] for k in order], NORMALISATION)) == [alone[k] for k in order]

    def test_calls_at_the_same_time_change_no_bit(
        self, segmenter: Segmenter, crops: list[Plane], alone: list[bytes]
    ) -> None:
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(segmenter.segment, crops[k : k + 2], NORMALISATION) for k in (0, 1, 2, 3)]
            assert [content(call.result()) for call in calls] == [alone[k : k + 2] for k in (0, 1, 2, 3)]

    def test_a_view_of_a_larger_image_answers_as_its_copy(self, segmenter: Segmenter, crops: list[Plane]) -> None:
        view = crops[0][5:85:2, 100:3:-1]
        assert content(segmenter.segment([view], NORMALISATION)) == content(
            segmenter.segment([np.ascontiguousarray(view)], NORMALISATION)
        )

    def test_a_crop_is_left_as_it_was(self, segmenter: Segmenter, crops: list[Plane]) -> None:
        crop = crops[0].copy()
        crop.flags.writeable = False
        segmenter.segment([crop], NORMALISATION)
        np.testing.assert_array_equal(crop, crops[0])

    def test_classes_are_those_of_the_project_and_not_all_the_same(
        self, segmenter: Segmenter, crops: list[Plane]
    ) -> None:
        (answer,) = segmenter.segment(crops[:1], NORMALISATION)
        seen = set(np.unique(answer.classes_yx).tolist())
        assert seen <= set(LabelClass)
        assert len(seen) > 1

    def test_confidence_is_a_probability_that_differs_between_pixels(
        self, segmenter: Segmenter, crops: list[Plane]
    ) -> None:
        (answer,) = segmenter.segment(crops[:1], NORMALISATION)
        # The winner of at most five classes has at least a fifth of the probability, whatever fusion does
        # with the background, which may lose to a class that another network decides.
        assert answer.confidence_yx.max() > 255 // 5
        assert len(np.unique(answer.confidence_yx)) > 10

    def test_grey_and_normalisation_shifted_together_give_the_same_classes(
        self, segmenter: Segmenter, crops: list[Plane]
    ) -> None:
        darker = np.clip(crops[0], 20, 255) - np.uint8(20)
        (first,) = segmenter.segment([np.clip(crops[0], 20, 255)], NORMALISATION)
        (second,) = segmenter.segment([darker], Normalisation(NORMALISATION.offset - 20, NORMALISATION.scale))
        np.testing.assert_array_equal(first.classes_yx, second.classes_yx)

    @pytest.mark.parametrize(
        "unfit",
        [
            np.zeros((8, 8), np.uint16),
            np.zeros((8, 8), np.float32),
            np.zeros((8, 8), np.bool_),
            np.zeros((8, 8, 3), np.uint8),
            np.zeros((8,), np.uint8),
            np.zeros((0, 8), np.uint8),
        ],
    )
    def test_anything_but_eight_bit_pixels_in_two_axes_is_refused(
        self, segmenter: Segmenter, crops: list[Plane], unfit: NDArray[Any]
    ) -> None:
        with pytest.raises(CropRefusedError, match="crop 1 "):
            segmenter.segment([crops[0], unfit], NORMALISATION)

    def test_the_model_set_is_pinned_and_stays(self, segmenter: Segmenter) -> None:
        before = segmenter.model_set()
        segmenter.segment([np.full((16, 16), 170, np.uint8)], NORMALISATION)
        assert segmenter.model_set() == before
        assert segmenter.model_set().digest == before.digest
        assert tuple(card.name for card in before.cards) == before.fusion.networks

    def test_the_profile_is_one_of_those_that_have_a_name(self, segmenter: Segmenter) -> None:
        assert segmenter.profile in NumericProfile

    def test_it_answers_the_canary(self, segmenter: Segmenter) -> None:
        assert segmenter.ready()
