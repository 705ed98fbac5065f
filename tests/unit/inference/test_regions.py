"""Segmenting only what a mask asks for gives what segmenting the whole crop gives there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import services.inference
from services.inference.regions import region_of_interest
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import Normalisation
from tests.contract.segmenter_suite import nucleus_like

SHIPPED = Path(services.inference.__path__[0]) / "models"


def test_nobody_is_asked_about_an_empty_mask() -> None:
    assert region_of_interest(np.zeros((5, 5), np.uint8), 2, 4) is None


@given(
    y=st.integers(0, 99), x=st.integers(0, 79), height=st.integers(1, 100), width=st.integers(1, 80),
    context=st.integers(0, 60), multiple=st.sampled_from([1, 4, 8]),
)  # fmt: skip
def test_a_region_holds_the_mask_with_its_context_and_begins_on_the_pooling_grid(
    y: int, x: int, height: int, width: int, context: int, multiple: int
) -> None:
    mask = np.zeros((100, 80), np.uint8)
    mask[y : y + height, x : x + width] = 2
    region = region_of_interest(mask, context, multiple)
    assert region is not None
    for place, first, size, most in ((region[0], y, height, 100), (region[1], x, width, 80)):
        assert place.start % multiple == 0
        assert place.start <= max(0, first - context)
        assert place.stop >= min(most, first + size + context)
        assert 0 <= place.start < place.stop <= most


@pytest.mark.slow
def test_inside_the_mask_nothing_changes() -> None:
    crop = nucleus_like((200, 176), 2)
    mask = np.zeros(crop.shape, np.uint8)
    mask[70:130, 60:120] = 2
    normalisation = Normalisation(offset=170.0, scale=25.0)
    with InProcessSegmenter(SHIPPED) as segmenter:
        architectures = [card.architecture for card in segmenter.model_set().cards]
        region = region_of_interest(mask, max(a.context_px for a in architectures), 8)
        assert region is not None
        (whole,) = segmenter.segment([crop], normalisation)
        (part,) = segmenter.segment([np.ascontiguousarray(crop[region])], normalisation)
    ours, theirs = np.zeros_like(whole.classes_yx), whole.classes_yx
    ours[region] = part.classes_yx
    # Rounding may differ in the last bit of a logit, because convolutions are blocked otherwise.
    assert np.mean((ours != theirs)[mask > 0]) < 1e-3
