"""What is judged of HeLa patches, and the fields that stand in for whole slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.evaluation.comparison import LabelPair
from tests.benchmarks.science.hela import (
    ENVELOPE,
    FIELDS,
    NUCLEUS,
    OUTSIDE,
    UNJUDGED,
    beyond,
    field_score,
    halved,
    patch_scores,
    pictures_of,
    read,
    sides,
)
from tests.benchmarks.science.hela_fields import AROUND, INSIDE, Textures, composed, quilted, textures_of

SLICE_030 = 30


def patch() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Outside to the left, 14 px of envelope, the nucleus to the right."""
    labels = np.full((64, 64), OUTSIDE, np.uint8)
    labels[:, 20:34], labels[:, 34:] = ENVELOPE, NUCLEUS
    return labels


def shifted(by: int) -> LabelPair:
    truth = patch()[None]
    return LabelPair("a", truth, np.roll(truth, by, axis=2))


def test_a_perfect_prediction_is_perfect_in_every_row() -> None:
    assert {score.value for score in patch_scores([shifted(0), shifted(0)])} == {1.0}


def test_tolerance_forgives_a_shift_that_is_smaller() -> None:
    # One px of wrap-around on the far side is an error of every row but the last, whose borders are cut off here.
    truth = patch()[None]
    moved = truth.copy()
    moved[:, :, 34] = ENVELOPE
    scores = {score.name: score.value for score in patch_scores([LabelPair("a", truth, moved)])}
    assert scores["held-out patches, nucleus, Jaccard"] == pytest.approx(29 / 30)
    assert scores["held-out patches, nucleus, Jaccard beyond 2 px"] == 1.0
    assert scores["held-out patches, nucleus against outside, Jaccard"] == 1.0


def test_what_is_near_another_label_is_not_judged() -> None:
    judged = beyond(patch()[None], 5)[0]
    row = judged[10]
    assert np.flatnonzero(row == UNJUDGED).tolist() == [*range(15, 25), *range(29, 39)]
    assert row[14] == OUTSIDE
    assert row[39] == NUCLEUS


def test_the_outline_runs_midway_along_the_envelope() -> None:
    assert np.flatnonzero(halved(patch())[0])[0] == 27


def test_a_patch_without_a_nucleus_has_none() -> None:
    assert not halved(np.full((4, 4), OUTSIDE, np.uint8)).any()
    assert not halved(np.full((4, 4), ENVELOPE, np.uint8)).any()
    assert halved(np.full((4, 4), NUCLEUS, np.uint8)).all()


def test_taking_one_side_for_the_other_is_an_error_when_the_envelope_is_not_judged() -> None:
    pair = shifted(0)
    mirrored = sides(LabelPair("a", pair.truth, pair.truth[:, :, ::-1]))
    judged = mirrored.truth != UNJUDGED
    assert (mirrored.truth[judged] != mirrored.prediction[judged]).mean() > 0.9


def test_slice_030_is_scored_by_its_nuclei() -> None:
    truth = np.zeros((8, 10), np.uint8)
    truth[2:6, 2:6] = 1
    found = np.where(truth, NUCLEUS, OUTSIDE).astype(np.uint8)
    found[2:6, 6] = NUCLEUS
    assert field_score(LabelPair("slice030", truth, found)).value == pytest.approx(16 / 20)


def toy_textures() -> Textures:
    rng = np.random.default_rng(0)
    return Textures(*(rng.normal(mean, 8, (40, 6, 6)).astype(np.float32) for mean in (152, 143)))


def test_textures_are_of_one_label_each() -> None:
    labels = patch()
    labels[:, :28], labels[:, 28:36] = OUTSIDE, ENVELOPE
    grey = np.select([labels == NUCLEUS, labels == OUTSIDE], [150, 90], 20).astype(np.uint8)
    found = textures_of(grey[None], labels[None])
    assert set(np.unique(found.nucleus).tolist()) == {150.0}
    assert set(np.unique(found.cytoplasm).tolist()) == {90.0}


def test_a_quilt_has_mean_and_deviation_of_its_blocks() -> None:
    rng = np.random.default_rng(1)
    blocks = rng.normal(140, 10, (500, 6, 6)).astype(np.float32)
    plane = quilted(blocks, (120, 90), np.random.default_rng(2))
    assert plane.shape == (120, 90)
    assert plane.mean() == pytest.approx(140, abs=1)
    assert plane.std() == pytest.approx(10, rel=0.15)


def test_a_field_has_the_shapes_it_was_made_of() -> None:
    shapes = np.full((160, 200), 4, np.uint8)
    shapes[20:140, 20:180], shapes[60:110, 60:120] = 3, 2
    field = composed(shapes, toy_textures(), 70, seed=1)
    assert field.labels_yx.shape in {(80, 100), (100, 80)}
    assert (field.labels_yx == INSIDE).sum() == 25 * 30
    assert set(np.unique(field.labels_yx)) == {AROUND, INSIDE}
    again = composed(shapes, toy_textures(), 70, seed=1)
    assert np.array_equal(field.grey_yx, again.grey_yx)
    assert not np.array_equal(field.grey_yx, composed(shapes, toy_textures(), 70, seed=2).grey_yx)


def test_no_field_is_of_a_slice_near_030() -> None:
    used = FIELDS.training | FIELDS.validation | FIELDS.test
    assert min(used) - SLICE_030 >= 30


@pytest.mark.data
def test_every_second_slice_has_patches(real_data: Path) -> None:
    pictures = pictures_of(read(real_data))
    assert len({picture.name for picture in pictures}) == len(pictures) == 1744
    assert {picture.z for picture in pictures} == set(range(100, 160, 2))
    assert {picture.labels_yx.shape for picture in pictures} == {(64, 64)}
