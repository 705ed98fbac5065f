"""Crops are read once where memory allows, and are the same however they were kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.contracts.messages import CropSegmented
from services.contracts.values import ArtefactRef, VoxelSize
from services.postprocess.crops import CropReader
from services.runtime.errors import PermanentError
from services.runtime.store.directory import DirectoryStore
from tests.support.label_volumes import SIDE, Nucleus

SHAPE = (SIDE, SIDE)
PAIR_BYTES = 2 * SIDE * SIDE


class CountingStore(DirectoryStore):
    """Remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, reference_files=False)
        self.asked: list[str] = []

    def get(self, ref: ArtefactRef) -> bytes:
        self.asked.append(ref.key)
        return super().get(ref)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CountingStore]:
    made = CountingStore(tmp_path / "store")
    yield made
    made.close()


def segmented(store: CountingStore, count: int) -> list[CropSegmented]:
    nucleus = Nucleus(store)
    return [nucleus.segmented(100 + number, np.full(SHAPE, 1, np.uint8)) for number in range(count)]


def test_a_crop_is_read_once_for_its_mask_and_its_grey(store: CountingStore) -> None:
    (message,) = segmented(store, 1)
    crops = CropReader(store)
    for _ in range(2):
        np.testing.assert_array_equal(crops.mask(message, SHAPE)[0], [2] * (SIDE - 4) + [0] * 4)
    grey, mask = crops.take(message)
    assert store.asked == [message.crop.crop.key]
    np.testing.assert_array_equal(grey, np.full(SHAPE, 90))
    np.testing.assert_array_equal(mask, CropReader(store).take(message)[1])


def test_a_crop_that_was_taken_is_kept_no_longer(store: CountingStore) -> None:
    (message,) = segmented(store, 1)
    crops = CropReader(store)
    crops.mask(message, SHAPE)
    crops.take(message)
    crops.take(message)
    assert len(store.asked) == 2


def test_a_crop_that_nobody_will_take_is_let_go(store: CountingStore) -> None:
    first, second = segmented(store, 2)
    crops = CropReader(store, kept_bytes=PAIR_BYTES)
    crops.mask(first, SHAPE)
    crops.let_go(first)
    crops.let_go(first)
    crops.mask(second, SHAPE)
    crops.take(second)
    assert store.asked == [first.crop.crop.key, second.crop.crop.key]


def test_no_more_is_kept_than_was_said_and_what_was_let_go_is_read_again(store: CountingStore) -> None:
    messages = segmented(store, 5)
    crops = CropReader(store, kept_bytes=3 * PAIR_BYTES)
    for message in messages:
        crops.mask(message, SHAPE)
    del store.asked[:]
    for message in messages:
        np.testing.assert_array_equal(crops.take(message)[0], np.full(SHAPE, 90))
    assert store.asked == [message.crop.crop.key for message in messages[:2]]


def test_planes_of_another_voxel_size_are_another_reading(store: CountingStore) -> None:
    (message,) = segmented(store, 1)
    crops = CropReader(store)
    crops.mask(message, SHAPE)
    coarse = message.model_copy(update={"plane_voxel_size": VoxelSize(z_nm=32, y_nm=32, x_nm=32)})
    assert crops.mask(coarse, (SIDE // 2, SIDE // 2)).shape == (SIDE // 2, SIDE // 2)
    assert crops.take(coarse)[0].shape == (SIDE // 2, SIDE // 2)
    assert crops.take(message)[0].shape == SHAPE


def test_a_crop_of_another_shape_than_its_planes_is_refused(store: CountingStore) -> None:
    (message,) = segmented(store, 1)
    crops = CropReader(store)
    for _ in range(2):
        with pytest.raises(PermanentError, match="planes of \\(7, 7\\) pixels for a crop of \\(40, 40\\)"):
            crops.mask(message, (7, 7))
