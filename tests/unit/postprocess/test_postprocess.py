"""Postprocess: one clean volume per nucleus, the same whatever the order, the restarts and the repetitions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from services.contracts.messages import (
    CropSegmented,
    Message,
    NucleusClosed,
    NucleusOpened,
    VolumeClosed,
    VolumeExtended,
)
from services.contracts.values import ArtefactRef
from services.imaging.labelling import LabelTables
from services.imaging.omezarr import open_volume
from services.postprocess.cleaning import minimum_voxels
from services.postprocess.handler import PostprocessHandler
from services.runtime.errors import PermanentError
from services.runtime.handler import Publication, Received
from services.runtime.store.directory import DirectoryStore
from tests.support.label_volumes import CANVAS, SIDE, Nucleus, classes_volume

Contents = dict[str, bytes]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    made = DirectoryStore(tmp_path / "store", reference_files=False)
    yield made
    made.close()


def received(message: Message) -> Received:
    topic = "nuclei" if isinstance(message, NucleusOpened | NucleusClosed) else "segmentations"
    return Received(topic, message)


def work(handler: PostprocessHandler, messages: Sequence[Message], batch: int = 5) -> list[Publication]:
    published = []
    for first in range(0, len(messages), batch):
        answers = handler.handle([received(message) for message in messages[first : first + batch]])
        published += [publication for answer in answers for publication in answer.publications]
    return published


def volume_files(store: DirectoryStore) -> Contents:
    found = {}
    for key in store.keys("a/nuclei/n0001"):
        head, inside, name = key.partition("/volume.ome.zarr/")
        if inside and "volume-" in head:
            ref = store.find(key)
            assert ref is not None
            found[name] = store.get(ref)
    return found


def classes_of(store: DirectoryStore) -> npt.NDArray[np.uint8]:
    array = open_volume(volume_files(store))["labels/classes/0"]
    return np.asarray(array[...])  # type: ignore[index]


def on_canvas(volume: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same volume placed as the windows of the test nucleus say."""
    canvas = np.zeros((len(volume), CANVAS.height_px, CANVAS.width_px), np.uint8)
    for index, plane in enumerate(volume):
        y0, x0 = 8 + index // 10 - CANVAS.y0_px, 25 - CANVAS.x0_px
        canvas[index, y0 : y0 + SIDE, x0 : x0 + SIDE] = plane
    return canvas


def test_the_volume_is_the_planes_without_the_specks(store: DirectoryStore) -> None:
    volume = classes_volume()
    work(PostprocessHandler(store, 16.0), Nucleus(store).messages(volume))
    expected = volume.copy()
    expected[:, :, -4:] = 0
    for place in ((20, 20, 31), (12, 24, 24), (28, 16, 16)):
        expected[place] = 1
    np.testing.assert_array_equal(classes_of(store), on_canvas(expected))


def test_slabs_are_final_before_the_nucleus_closes(store: DirectoryStore) -> None:
    messages = Nucleus(store).messages(classes_volume())
    published = work(PostprocessHandler(store, 16.0), messages[:-1])
    assert [publication.message.identity for publication in published] == ["a/n0001/clean000132"]
    assert isinstance(published[0].message, VolumeExtended)


def test_any_order_gives_the_same_files(store: DirectoryStore, tmp_path: Path) -> None:
    volume = classes_volume()
    work(PostprocessHandler(store, 16.0), Nucleus(store).messages(volume))
    for seed in range(4):
        other = DirectoryStore(tmp_path / f"other-{seed}", reference_files=False)
        messages = Nucleus(other).messages(volume)
        random.Random(seed).shuffle(messages)
        work(PostprocessHandler(other, 16.0), messages, batch=seed + 1)
        assert volume_files(other) == volume_files(store)
        other.close()


@pytest.mark.parametrize("killed_after", [1, 7, 20, 38, 41])
def test_a_restart_goes_on_with_the_same_files_and_messages(
    store: DirectoryStore, tmp_path: Path, killed_after: int
) -> None:
    volume = classes_volume()
    undisturbed = work(PostprocessHandler(store, 16.0), Nucleus(store).messages(volume), batch=1)
    other = DirectoryStore(tmp_path / "other", reference_files=False)
    messages = Nucleus(other).messages(volume)
    before = work(PostprocessHandler(other, 16.0), messages[:killed_after], batch=1)
    after = work(PostprocessHandler(other, 16.0), messages[killed_after:], batch=1)
    assert [p.message for p in before + after] == [p.message for p in undisturbed]
    assert volume_files(other) == volume_files(store)
    other.close()


def test_a_repeated_message_says_again_what_it_said(store: DirectoryStore) -> None:
    messages = Nucleus(store).messages(classes_volume())
    handler = PostprocessHandler(store, 16.0)
    first = work(handler, messages, batch=1)
    again = work(PostprocessHandler(store, 16.0), messages, batch=1)
    assert each_once(again) == [p.message for p in first]


def each_once(publications: Sequence[Publication]) -> list[Message]:
    """Return what was said, each as it was said first."""
    found: dict[str, Message] = {}
    for publication in publications:
        found.setdefault(publication.message.identity, publication.message)
    return list(found.values())


def test_a_close_that_comes_again_first_is_said_again_behind_everything_before_it(store: DirectoryStore) -> None:
    messages = Nucleus(store).messages(classes_volume())
    said = work(PostprocessHandler(store, 16.0), messages)
    (close,) = [message for message in messages if isinstance(message, NucleusClosed)]
    again = work(PostprocessHandler(store, 16.0), [close, *messages])
    assert [p.message for p in again[: len(said)]] == [p.message for p in said]
    assert isinstance(said[-1].message, VolumeClosed)


def test_absent_planes_are_bridged_and_empty(store: DirectoryStore) -> None:
    volume = classes_volume()
    published = work(PostprocessHandler(store, 16.0), Nucleus(store).messages(volume, absent=(19, 20)))
    closed = published[-1].message
    assert isinstance(closed, VolumeClosed)
    tables = LabelTables.from_bytes(store.get(closed.tables))
    nucleolus = tables.objects[(tables.objects["class_id"] == 3) & tables.kept]
    assert (len(nucleolus), bool(nucleolus["bridged"][0])) == (1, True)
    assert not classes_of(store)[19:21].any()


def test_a_damaged_plane_is_a_fault_of_its_own_message(store: DirectoryStore) -> None:
    nucleus = Nucleus(store)
    messages = nucleus.messages(classes_volume())
    damaged = messages[5]
    assert isinstance(damaged, CropSegmented)
    ref = store.put("a/damaged", b"FNP1 nonsense")
    messages[5] = damaged.model_copy(update={"planes": ArtefactRef.model_validate(ref.model_dump())})
    handler = PostprocessHandler(store, 16.0)
    work(handler, messages[:5], batch=1)
    with pytest.raises(PermanentError, match="damaged_planes"):
        handler.handle([received(messages[5])])
    absent = [p.message for p in handler.dead_lettered(received(messages[5]), PermanentError("damaged_planes", "x"))]
    published = work(handler, [*absent, *messages[6:]], batch=1)
    assert isinstance(published[-1].message, VolumeClosed)


def test_objects_are_born_grow_and_close(store: DirectoryStore) -> None:
    published = work(PostprocessHandler(store, 16.0), Nucleus(store).messages(classes_volume()))
    changes = [
        (change["change"], change["label_class"])
        for publication in published
        if isinstance(publication.message, VolumeExtended | VolumeClosed)
        for change in json.loads(store.get(publication.message.changes))
    ]
    assert sorted(label for change, label in changes if change == "BORN") == [1, 2, 2, 3, 5]
    assert sorted(label for change, label in changes if change == "CLOSED") == [1, 2, 2, 3, 5]
    assert ("GREW", 1) in changes


def test_the_printed_thresholds_are_volumes_at_four_nanometres() -> None:
    assert minimum_voxels(4.0**3) == {4: 1000, 2: 2000, 3: 3000}


def test_per_slice_removal_takes_regions_that_are_small_in_their_slice(store: DirectoryStore) -> None:
    # A cross-cut synaptonemal complex of 4 x 3 pixels in every slice: small in 2-D, large in 3-D.
    volume = np.ones((20, SIDE, SIDE), np.uint8)
    volume[:, 10:14, 10:13] = 4
    work(PostprocessHandler(store, 16.0, "2d"), Nucleus(store).messages(volume))
    assert 4 not in classes_of(store)
