"""Planes and patches come out the same for the same seed, and truth stays on its grey."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.contracts.model_card import DataSource
from services.trainer.augmentation import jittered_normalisation, varied, warped
from services.trainer.datasets import (
    DataRequestError,
    PlaneRequest,
    PlaneSet,
    collect_planes,
    stored_planes,
)
from services.trainer.patches import PatchRule, PatchSource

REQUEST = PlaneRequest(voxel_size_nm=16.0, nuclei=1, planes=4, first_slices=2)


@dataclass(frozen=True)
class SquareTruth:
    classes: NDArray[np.uint8]


class Squares:
    """A specimen whose grey is ten times its class plus its depth."""

    def __init__(self, seed: int, shape_zyx: tuple[int, int, int] = (8, 48, 64)) -> None:
        self.shape_zyx = shape_zyx
        self._seed = seed

    def truth(self, z: int) -> SquareTruth:
        classes = np.zeros(self.shape_zyx[1:], np.uint8)
        classes[10:20, 30 : 40 + self._seed % 3] = 2
        classes[30:34, 8:12] = 4
        return SquareTruth(classes)

    def slice(self, z: int) -> NDArray[np.uint8]:
        return np.asarray(self.truth(z).classes * 10 + 50 + z, np.uint8)


def planes_of(*seeds: int) -> list[PlaneSet]:
    return [collect_planes(Squares(seed), seed, REQUEST) for seed in seeds]


def test_planes_are_spread_over_the_whole_depth() -> None:
    (planes,) = planes_of(1)
    assert (planes.grey_zyx[:, 0, 0] - 50).tolist() == [1, 3, 5, 7]
    assert isinstance(planes.source, DataSource)
    assert planes.source.planes == 4


def test_the_normalisation_is_that_of_the_first_slices_alone() -> None:
    (planes,) = planes_of(0)
    first = np.stack([Squares(0).slice(z) for z in (0, 1)]).astype(float)
    assert (planes.mean, planes.sd) == (first.mean(), first.std())


def test_planes_are_kept_and_found_again_without_the_specimen(tmp_path: Path) -> None:
    first = stored_planes(tmp_path, 3, REQUEST, lambda seed, _voxel, _nuclei: Squares(seed))

    def never(*_: object) -> Squares:
        raise AssertionError("the specimen was grown again")

    again = stored_planes(tmp_path, 3, REQUEST, never)
    assert again.source == first.source
    np.testing.assert_array_equal(again.grey_zyx, first.grey_zyx)
    np.testing.assert_array_equal(again.classes_zyx, first.classes_zyx)
    assert (again.mean, again.sd) == (first.mean, first.sd)


def test_another_request_does_not_find_the_planes_of_the_first(tmp_path: Path) -> None:
    stored_planes(tmp_path, 3, REQUEST, lambda seed, _voxel, _nuclei: Squares(seed))
    other = PlaneRequest(voxel_size_nm=16.0, nuclei=1, planes=2, first_slices=2)
    assert len(stored_planes(tmp_path, 3, other, lambda seed, _voxel, _nuclei: Squares(seed)).grey_zyx) == 2


def test_a_specimen_of_too_few_slices_is_refused() -> None:
    with pytest.raises(DataRequestError, match="has 3 slices"):
        collect_planes(Squares(0, (3, 8, 8)), 0, REQUEST)


def test_patches_of_a_step_are_the_same_every_time_and_differ_between_steps() -> None:
    source = PatchSource(planes_of(0, 1), PatchRule(16, 3, (2,), 0.5))
    first, again, other = (source.batch(7, step) for step in (5, 5, 6))
    assert all((a.grey == b.grey).all() and (a.classes == b.classes).all() for a, b in zip(first, again, strict=True))
    assert any((a.grey != b.grey).any() for a, b in zip(first, other, strict=True))


def test_truth_is_turned_with_its_grey() -> None:
    source = PatchSource(planes_of(0, 1, 2), PatchRule(24, 4, (2, 4), 0.8))
    for step in range(10):
        for patch in source.batch(0, step):
            depth = patch.grey - patch.classes * 10.0 - 50
            assert np.unique(depth).size == 1


def test_patches_are_turned_every_way() -> None:
    source = PatchSource(planes_of(0), PatchRule(48, 8, (2,), 1.0))
    seen = {patch.classes.tobytes() for step in range(10) for patch in source.batch(0, step)}
    assert len(seen) >= 8


def test_a_focus_class_stands_in_the_patches_it_was_asked_for() -> None:
    source = PatchSource(planes_of(0), PatchRule(16, 8, (4,), 1.0))
    assert all((patch.classes == 4).any() for step in range(5) for patch in source.batch(1, step))


def test_a_focus_class_that_never_occurs_does_not_stop_training() -> None:
    assert len(PatchSource(planes_of(0), PatchRule(16, 2, (5,), 1.0)).batch(0, 0)) == 2


def test_planes_without_a_label_are_no_training_data() -> None:
    (planes,) = planes_of(0)
    with pytest.raises(DataRequestError, match="nothing is labelled"):
        PatchSource([replace(planes, classes_zyx=np.full_like(planes.classes_zyx, 255))], PatchRule(64, 2))


def test_a_plane_smaller_than_a_patch_is_mirrored_and_unlabelled_past_its_ends() -> None:
    (planes,) = planes_of(0)
    (patch,) = PatchSource([planes], PatchRule(80, 1, turned=False)).batch(0, 0)
    assert patch.grey.shape == patch.classes.shape == (1, 80, 80)
    inside = patch.classes[0] != 255
    assert (int(inside.any(axis=1).sum()), int(inside.any(axis=0).sum())) == (48, 64)
    np.testing.assert_array_equal(patch.grey[0, 15], patch.grey[0, 16])


def test_neighbours_are_shown_and_the_middle_plane_is_labelled() -> None:
    request = replace(REQUEST, slab_planes=3)
    planes = collect_planes(Squares(0), 0, request)
    assert planes.runs == (3, 3, 3, 3)
    assert planes.labelled.tolist() == [1, 4, 7, 10]
    source = PatchSource([planes], PatchRule(16, 2, neighbours=1))
    for patch in source.batch(0, 0):
        assert patch.grey.shape == (3, 16, 16)
        assert patch.classes.shape == (1, 16, 16)
        assert np.unique(np.diff(patch.grey, axis=0)).tolist() == [1.0]


def test_the_end_of_a_run_is_repeated_and_never_the_next_run() -> None:
    (planes,) = planes_of(0)
    joined = replace(planes, runs=(2, 2))
    assert joined.around(1, 1, 1).tolist() == [0, 1, 1]
    assert joined.around(2, 1, 1).tolist() == [2, 2, 3]


def test_blocks_of_three_dimensions_are_labelled_throughout() -> None:
    planes = collect_planes(Squares(0), 0, replace(REQUEST, slab_planes=4, middle_labelled=False))
    for patch in PatchSource([planes], PatchRule(16, 3, patch_planes=4)).batch(0, 0):
        assert patch.grey.shape == patch.classes.shape == (4, 16, 16)
        depth = patch.grey - patch.classes * 10.0
        # Each plane has one grey but for its classes, and deeper planes are not darker.
        assert [np.unique(plane).size for plane in depth] == [1, 1, 1, 1]
        assert (np.diff(depth[:, 0, 0]) >= 0).all()


def test_a_pass_shows_every_labelled_plane_once() -> None:
    source = PatchSource(planes_of(0, 1), PatchRule(48, 2, turned=False, in_passes=True))
    passes = [
        sorted(float(patch.grey.min()) for step in range(4 * k, 4 * k + 4) for patch in source.batch(0, step))
        for k in range(3)
    ]
    assert passes[0] == passes[1] == passes[2]
    assert len(passes[0]) == 8


@pytest.mark.parametrize("seed", range(4))
def test_truth_is_warped_with_its_grey(seed: int) -> None:
    y, x = np.mgrid[:96, :96]
    disc = (np.hypot(y - 40, x - 55) < 18).astype(np.uint8)[None] * 2
    grey, classes = warped(disc.astype(np.float32) * 60 + 60, disc, seed)
    assert not (classes == disc).all()
    inside, around = grey[classes == 2], grey[classes == 0]
    assert len(inside) > 400
    # Only the rim is mixed: grey is interpolated, and classes are not.
    assert (inside > 110).mean() > 0.9
    assert (around < 130).mean() > 0.9
    again = warped(disc.astype(np.float32) * 60 + 60, disc, seed)
    assert (again[0] == grey).all()


def test_what_a_warp_brings_in_from_outside_counts_as_unlabelled() -> None:
    classes = np.ones((1, 40, 40), np.uint8)
    kinds = {int(c) for seed in range(6) for c in np.unique(warped(classes.astype(np.float32), classes, seed)[1])}
    assert kinds == {1, 255}


def test_warped_patches_are_filled_from_the_plane() -> None:
    (planes,) = planes_of(0)
    patches = PatchSource([planes], PatchRule(16, 12, warp_share=1.0)).batch(0, 0)
    assert np.mean([(patch.classes == 255).mean() for patch in patches]) < 0.05


def test_artefacts_take_their_share_of_the_patches_and_stay_eight_bit() -> None:
    patch = np.random.default_rng(0).uniform(100, 240, (1, 32, 40)).astype(np.float32)
    patches = [varied(patch, 0.5, np.random.default_rng(seed)) for seed in range(60)]
    assert 15 < sum((varied_patch == patch).all() for varied_patch in patches) < 45
    assert all(p.shape == patch.shape and p.dtype == np.float32 and p.min() >= 0 and p.max() <= 255 for p in patches)


def test_the_jittered_normalisation_stays_near_or_goes_towards_slices_with_nuclei() -> None:
    drawn = np.array([jittered_normalisation(169.0, 16.0, np.random.default_rng(seed)) for seed in range(200)])
    assert drawn[:, 0].min() > 164
    assert drawn[:, 0].max() < 188
    assert drawn[:, 1].min() > 13
    assert 20 < drawn[:, 1].max() < 28
