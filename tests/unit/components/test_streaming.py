"""Chromosomes told while a nucleus grows: what is closed at once, and confirmed or revised when the nucleus closes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.components.handler import ComponentsHandler
from services.components.separation import GroupRows, Nucleus, chromosomes_by_group, groups_of, separate, target_of
from services.contracts.messages import ChromosomesSeparated, ComponentsMeasured, Message, VolumeClosed, VolumeExtended
from services.imaging.labelling import LabelTables
from services.postprocess.handler import PostprocessHandler
from services.runtime.handler import Publication, Received
from services.runtime.store.directory import DirectoryStore
from tests.support.label_volumes import SIDE
from tests.support.label_volumes import Nucleus as Arriving
from tests.support.rods import rod_tables

Volume = NDArray[np.uint8]
FIRST_Z = 100
PLANES = 136
FREE, PAIR, LATE = (3, 46), (4, 105), (60, 135)
"""Planes of a rod that is free, of two that touch, and of one whose end comes with that of the nucleus."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectoryStore]:
    """One store for all: what handlers put there depends on nothing but their messages."""
    made = DirectoryStore(tmp_path_factory.mktemp("streaming") / "store", reference_files=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def sent(store: DirectoryStore) -> list[Message]:
    """What postprocess says of the rods."""
    return volumes(store, rods())


@pytest.fixture(scope="module")
def published(store: DirectoryStore, sent: list[Message]) -> list[Publication]:
    """What components says of the rods where four chromosomes are expected."""
    return said(ComponentsHandler(store, 4), sent)


def rods() -> Volume:
    volume = np.ones((PLANES, SIDE, SIDE), np.uint8)
    for planes, (y, x), radius in ((PAIR, (9, 8), 9), (PAIR, (28, 8), 9), (FREE, (9, 27), 7), (LATE, (28, 27), 7)):
        column = volume[planes[0] : planes[1]]
        column[:, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = 2
        column[2:-2, y - 3 : y + 4, x - 3 : x + 4] = 4
    return volume


def volumes(store: DirectoryStore, classes: Volume) -> list[Message]:
    handler = PostprocessHandler(store, 16.0)
    answers = handler.handle([Received("segmentations", m) for m in Arriving(store).messages(classes)])
    return [publication.message for answer in answers for publication in answer.publications]


def said(handler: ComponentsHandler, messages: Sequence[Message]) -> list[Publication]:
    answers = [answer for message in messages for answer in handler.handle([Received("volumes", message)])]
    assert not any(answer.fault for answer in answers)
    return [publication for answer in answers for publication in answer.publications]


def separated(publications: Sequence[Publication]) -> list[ChromosomesSeparated]:
    return [p.message for p in publications if isinstance(p.message, ChromosomesSeparated)]


def rows_of(store: DirectoryStore, message: ChromosomesSeparated) -> GroupRows:
    return GroupRows.model_validate_json(store.get(message.rows))


def told(message: ChromosomesSeparated) -> tuple[int, str, int]:
    return message.z_front - FIRST_Z, message.standing.value, message.chromosome_count


def test_a_group_is_told_with_the_slab_after_its_last_plane_and_confirmed_at_the_close(
    published: list[Publication],
) -> None:
    events = separated(published)
    assert [told(event) for event in events] == [
        (64, "PROVISIONAL", 1),
        (128, "PROVISIONAL", 2),
        (PLANES, "CONFIRMED", 1),
        (PLANES, "CONFIRMED", 2),
    ]
    assert {event.group for event in events[:2]} == {event.group for event in events[2:]}


def test_what_is_told_early_is_what_the_whole_nucleus_has_there(
    store: DirectoryStore, published: list[Publication]
) -> None:
    events = separated(published)
    for early, final in zip(events[:2], events[2:], strict=True):
        first, last = (
            sorted((c.voxels, c.z_nm, c.y_nm, c.x_nm, c.sc_path_nm) for c in rows_of(store, event).chromosomes)
            for event in (early, final)
        )
        assert first == last
        assert early.voxels == final.voxels == sum(chromosome[0] for chromosome in first)


@pytest.mark.parametrize("method", ["sc_link_watershed", "path_cover"])
def test_a_group_alone_is_separated_voxel_by_voxel_as_in_the_whole(
    store: DirectoryStore, sent: list[Message], method: str
) -> None:
    closed = sent[-1]
    assert isinstance(closed, VolumeClosed)
    tables = LabelTables.from_bytes(store.get(closed.tables))
    whole = separate(tables, Nucleus((16.0,) * 3), target_of(4), method)
    for group in groups_of(tables):
        alone = separate(group.tables(tables), Nucleus((16.0,) * 3, part=True), target_of(4), method)
        renamed: dict[int, int] = {}
        for z, (y0, _), plane in alone.planes():
            inside = plane > 0
            window = next(w for w in tables.windows() if w.z == z)
            rows = slice(y0 - window.y0, y0 - window.y0 + len(plane))
            for early, final in zip(plane[inside], whole.paint_plane(z)[rows][inside], strict=True):
                assert renamed.setdefault(int(early), int(final)) == final
        assert len(set(renamed.values())) == len(renamed)


def test_what_the_number_makes_different_is_revised(store: DirectoryStore, sent: list[Message]) -> None:
    # Three are asked for where there are four: the free one is joined to the one that came after it was told.
    events = separated(said(ComponentsHandler(store, 3), sent))
    final = {event.group: event for event in events[2:]}
    assert [told(final[event.group])[1:] for event in events[:2]] == [("REVISED", 1), ("CONFIRMED", 2)]


def measured(publications: Sequence[Publication]) -> ComponentsMeasured:
    (found,) = [p.message for p in publications if isinstance(p.message, ComponentsMeasured)]
    return found


def test_the_rows_of_the_nucleus_do_not_depend_on_what_was_told_before(
    store: DirectoryStore, published: list[Publication], tmp_path: Path
) -> None:
    other = DirectoryStore(tmp_path / "other", reference_files=False)
    untold = said(ComponentsHandler(other, 4), volumes(other, rods())[-1:])
    assert not separated(untold)
    assert measured(untold) == measured(published)
    assert other.get(measured(untold).measurements) == store.get(measured(published).measurements)
    other.close()


def test_homologs_are_told_one_by_one(store: DirectoryStore, sent: list[Message]) -> None:
    events = separated(said(ComponentsHandler(store, 8), sent[:-1]))
    assert [event.chromosome_count for event in events] == [2, 4]


def test_a_repeated_message_is_answered_in_the_same_words_by_any_replica(
    store: DirectoryStore, sent: list[Message], published: list[Publication]
) -> None:
    again = [p for message in sent[::-1] for p in said(ComponentsHandler(store, 4), [message])]
    assert len(again) == len(published)
    assert all(p in again for p in published)


def test_a_handler_holds_nothing_of_a_group_that_it_told_of(store: DirectoryStore, sent: list[Message]) -> None:
    handler = ComponentsHandler(store, 4)
    before = dict(vars(handler))
    assert separated(said(handler, sent[:-1]))
    assert vars(handler) == before


def test_chromatin_without_a_complex_is_no_group(tmp_path: Path) -> None:
    classes = rods()
    classes[classes == 4] = 2
    store = DirectoryStore(tmp_path / "bare", reference_files=False)
    extended = volumes(store, classes)[:-1]
    assert any(isinstance(message, VolumeExtended) and message.closed_tables for message in extended)
    assert separated(said(ComponentsHandler(store, 4), extended)) == []
    store.close()


def test_a_chromosome_of_two_groups_is_told_whole_in_both() -> None:
    # Two ends in a row, 10 planes apart: one chromosome where one is asked for, two groups of voxels all the same.
    classes = np.ones((PLANES, SIDE, SIDE), np.uint8)
    for planes in ((4, 54), (64, 118)):
        classes[planes[0] : planes[1], 10:30, 8:28] = 2
        classes[planes[0] : planes[1], 17:23, 15:21] = 4
    tables = rod_tables(classes)
    groups = list(groups_of(tables))
    whole = separate(tables, Nucleus((16.0,) * 3), target_of(1))
    assert len(groups) == 2
    both = chromosomes_by_group(whole, groups)
    assert both[0] == both[1]
    assert both[0][0].voxels == sum(group.voxels for group in groups)
