"""Slices are read as pixels, from files of one page or many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import tifffile

from services.contracts.keys import sha256
from services.contracts.messages import SliceIngested
from services.contracts.values import ArtefactRef, GreyMapping, Transform, VoxelSize
from services.extract.reading import SliceReader
from services.runtime.errors import PermanentError
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactCorruptError

SHAPE = (12, 20)


class CountingStore(DirectoryStore):
    """Counts how often the bytes of each artefact are asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched: Counter[str] = Counter()

    @contextmanager
    def open(self, ref: ArtefactRef) -> Iterator[BinaryIO]:
        self.fetched[ref.key] += 1
        with super().open(ref) as stream:
            yield stream


def planes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def kept(store: DirectoryStore, folder: Path, key: str, pages: np.ndarray) -> ArtefactRef:
    file = folder / f"{key}.tif"
    tifffile.imwrite(file, pages, photometric="minisblack", metadata=None)
    return store.put_file(f"acquisition/raw/{key}", file, sha256(file.read_bytes()))


def message(raw: ArtefactRef, z: int, page: int = 0) -> SliceIngested:
    return SliceIngested(
        acquisition_id="acquisition",
        z=z,
        raw=raw,
        page=page,
        file_name="stack.tif",
        height_px=SHAPE[0],
        width_px=SHAPE[1],
        bits=8,
        voxel_size=VoxelSize(z_nm=4, y_nm=4, x_nm=4),
        grey=GreyMapping(low=0, high=255, mean=128, sd=30),
        transform=Transform(),
        channel=None,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CountingStore]:
    opened = CountingStore(tmp_path / "store")
    yield opened
    opened.close()


def test_every_page_of_a_stack_is_read_from_bytes_fetched_once(store: CountingStore, tmp_path: Path) -> None:
    pages = planes(5)
    raw = kept(store, tmp_path, "stack", pages)
    reader = SliceReader(store)
    for page in (0, 3, 1, 4, 2):
        assert np.array_equal(reader.read(message(raw, 10 + page, page)), pages[page])
    assert store.fetched[raw.key] == 1


def test_two_stacks_in_turn_are_told_apart(store: CountingStore, tmp_path: Path) -> None:
    first, second = planes(2, seed=1), planes(2, seed=2)
    one, two = kept(store, tmp_path, "one", first), kept(store, tmp_path, "two", second)
    reader = SliceReader(store, keep=1)
    assert np.array_equal(reader.read(message(one, 0)), first[0])
    assert np.array_equal(reader.read(message(two, 1)), second[0])
    assert np.array_equal(reader.read(message(one, 2, 1)), first[1])


def test_a_slice_read_again_at_once_is_not_fetched_again(store: CountingStore, tmp_path: Path) -> None:
    raw = kept(store, tmp_path, "slice", planes(1)[0])
    reader = SliceReader(store)
    assert reader.read(message(raw, 0)) is reader.read(message(raw, 0))
    assert store.fetched[raw.key] == 1


def test_bytes_that_changed_are_never_read(store: CountingStore, tmp_path: Path) -> None:
    raw = kept(store, tmp_path, "slice", planes(1)[0])
    store.path_of(raw.key).write_bytes(b"other")
    with pytest.raises(ArtefactCorruptError):
        SliceReader(store).read(message(raw, 0))


def test_a_page_that_is_not_there_is_a_fault_of_the_message(store: CountingStore, tmp_path: Path) -> None:
    raw = kept(store, tmp_path, "stack", planes(2))
    reader = SliceReader(store)
    with pytest.raises(PermanentError, match="no page 2"):
        reader.read(message(raw, 0, page=2))
    assert reader.read(message(raw, 1, page=1)).shape == SHAPE
