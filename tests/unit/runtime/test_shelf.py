"""Published networks lie under their hashes: what was altered is not taken, and sets say of what they are made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.contracts.classes import LabelClass
from services.contracts.model_card import RECOMMENDED_FUSION, ModelCard
from services.deployed.__main__ import keep_networks
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.errors import PermanentError, TransientError
from services.runtime.segmenter.cards import ARCHIVE, CARD, WEIGHTS, published, read_model_set
from services.runtime.segmenter.port import ModelSetError, Segmenter
from services.runtime.segmenter.sets import MOST_OPEN, Segmenters, voxel_sizes
from services.runtime.segmenter.shelf import (
    MOST_WANTED,
    NETWORKS,
    ModelShelf,
    UnknownModelError,
    composed,
)
from services.runtime.store.directory import DirectoryStore
from tests.support.grey_segmenter import GreySegmenter, grey_model_set
from tests.support.shipped_networks import altered

SHIPPED = read_model_set(SHIPPED_MODELS, RECOMMENDED_FUSION)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    store = DirectoryStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def shelf(store: DirectoryStore) -> ModelShelf:
    return ModelShelf(store)


def filled(shelf: ModelShelf) -> ModelShelf:
    for address in SHIPPED.names:
        shelf.put_network(SHIPPED_MODELS / address)
    return shelf


def test_a_network_is_brought_away_as_it_was_put(shelf: ModelShelf, tmp_path: Path) -> None:
    (folder,) = SHIPPED_MODELS.glob("membrane-*")
    message = shelf.put_network(folder)
    assert shelf.put_network(folder) == message
    assert shelf.addresses() == (folder.name,)
    brought = shelf.bring_network(folder.name, tmp_path / "brought")
    for name in (CARD, WEIGHTS, ARCHIVE):
        assert (brought / name).read_bytes() == (folder / name).read_bytes()
    assert [card.address for card in published(tmp_path / "brought")] == [folder.name]


@pytest.mark.parametrize("name", [WEIGHTS, ARCHIVE, CARD])
def test_a_network_that_was_altered_on_the_shelf_is_not_brought_away(
    shelf: ModelShelf, store: DirectoryStore, tmp_path: Path, name: str
) -> None:
    (folder,) = SHIPPED_MODELS.glob("membrane-*")
    other = altered(tmp_path / "other", "complex", licence="another")
    shelf.put_network(folder)
    content = (tmp_path / "other" / other / name).read_bytes()
    store.put(f"{NETWORKS}/{folder.name}/{name}", content)
    with pytest.raises(ModelSetError, match=r"vouches for|lies where"):
        shelf.bring_network(folder.name, tmp_path / "brought")
    assert not (tmp_path / "brought" / folder.name).exists()


@pytest.mark.parametrize("name", [WEIGHTS, ARCHIVE])
def test_a_network_whose_files_are_not_those_of_its_card_is_not_published(
    shelf: ModelShelf, tmp_path: Path, name: str
) -> None:
    address = altered(tmp_path, "membrane", licence="another")
    (tmp_path / address / name).write_bytes(b"something else")
    with pytest.raises(ModelSetError, match="vouches for"):
        shelf.put_network(tmp_path / address)
    assert shelf.addresses() == ()


def test_a_set_is_read_as_it_was_put_and_needs_its_networks(shelf: ModelShelf) -> None:
    with pytest.raises(UnknownModelError, match="before a set that needs it"):
        shelf.put_set(SHIPPED)
    filled(shelf).put_set(SHIPPED)
    assert shelf.read_set(SHIPPED.digest) == SHIPPED
    assert shelf.sets() == (SHIPPED.digest,)
    with pytest.raises(UnknownModelError, match="no model set"):
        shelf.read_set("0" * 64)


def test_a_set_under_another_digest_is_not_taken(shelf: ModelShelf, store: DirectoryStore) -> None:
    filled(shelf).put_set(SHIPPED)
    ref = store.find(f"models/sets/{SHIPPED.digest}/set.json")
    assert ref is not None
    store.put(f"models/sets/{'1' * 64}/set.json", store.get(ref))
    with pytest.raises(ModelSetError, match="lies where"):
        shelf.read_set("1" * 64)


def test_sets_are_served_in_the_order_in_which_they_were_asked_for(shelf: ModelShelf) -> None:
    for digest in ("a" * 64, "b" * 64, "a" * 64):
        shelf.serve(digest)
    assert shelf.wanted() == ("b" * 64, "a" * 64)
    for number in range(30):
        shelf.serve(f"{number:064d}")
    assert len(shelf.wanted()) == MOST_WANTED + 1


def test_a_set_takes_one_network_of_each_of_its_names(tmp_path: Path) -> None:
    addresses = [altered(tmp_path, "complex", licence=licence) for licence in ("one", "two")]
    cards = {card.address: card for card in published(tmp_path)}
    chosen = composed(SHIPPED, [cards[addresses[0]]])
    assert [name for name in chosen.names if name not in SHIPPED.names] == [addresses[0]]
    assert composed(SHIPPED, []) == SHIPPED
    with pytest.raises(UnknownModelError, match="two networks of one name"):
        composed(SHIPPED, list(cards.values()))


def test_a_network_that_knows_every_class_takes_the_place_of_all_and_gives_it_back() -> None:
    every = ModelCard.model_validate(
        SHIPPED.cards[0].model_dump()
        | {"name": "all", "classes": [{"name": label.label, "class_id": int(label)} for label in LabelClass]}
    )
    alone = composed(SHIPPED, [every])
    assert alone.cards == (every,)
    assert alone.fusion.class_ids == SHIPPED.fusion.class_ids
    assert composed(alone, list(SHIPPED.cards)) == SHIPPED
    newer = every.model_copy(update={"licence": "another"})
    assert composed(alone, [newer]).cards == (newer,)


def test_a_network_that_lacks_a_class_has_no_place_of_its_own() -> None:
    other = SHIPPED.cards[0].model_copy(update={"name": "other"})
    with pytest.raises(UnknownModelError, match="every class that they tell"):
        composed(SHIPPED, [other])


class Closing(GreySegmenter):
    def __init__(self) -> None:
        super().__init__(16.0)
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_segmenters_are_opened_once_and_closed_when_others_are_asked_for() -> None:
    opened: dict[str, Closing] = {}

    def open_set(digest: str) -> Segmenter:
        assert digest not in opened or opened[digest].is_closed
        opened[digest] = Closing()
        return opened[digest]

    sets = Segmenters(open_set)
    first = sets.of("0")
    for number in range(1, MOST_OPEN):
        sets.of(str(number))
        assert sets.of("0") is first
    sets.of("more")
    assert [digest for digest, segmenter in opened.items() if segmenter.is_closed] == ["1"]
    sets.close()
    assert all(segmenter.is_closed for segmenter in opened.values())


def test_networks_that_cannot_run_here_are_waited_for_and_unknown_ones_are_not() -> None:
    def fails(digest: str) -> Segmenter:
        raise (UnknownModelError if digest == "unknown" else ModelSetError)("exported for another torch")

    with pytest.raises(TransientError, match="another torch"):
        Segmenters(fails).of("0")
    with pytest.raises(UnknownModelError):
        Segmenters(fails).of("unknown")


def test_the_size_of_voxels_is_known_of_the_deployed_set_and_of_those_on_the_shelf(
    shelf: ModelShelf, store: DirectoryStore
) -> None:
    coarse = grey_model_set(32.0)
    voxel_of = voxel_sizes(filled(shelf), coarse)
    shelf.put_set(SHIPPED)
    assert (voxel_of(coarse.digest), voxel_of(SHIPPED.digest)) == (32.0, 16.0)
    assert voxel_of("0" * 64) == 32.0
    ref = store.find(f"models/sets/{SHIPPED.digest}/set.json")
    assert ref is not None
    store.put(f"models/sets/{'1' * 64}/set.json", store.get(ref))
    with pytest.raises(PermanentError, match="other_models"):
        voxel_of("1" * 64)


def test_networks_of_the_set_up_before_are_served_beside_those_of_this_one(shelf: ModelShelf) -> None:
    first, second = "1" * 64, "2" * 64
    shelf.set_up(first)
    shelf.set_up(first)
    assert shelf.wanted() == ()
    shelf.set_up(second)
    assert shelf.wanted() == (first,)


def test_the_set_up_job_puts_the_networks_that_it_comes_with_on_the_shelf(shelf: ModelShelf) -> None:
    for _ in range(2):
        keep_networks(shelf, SHIPPED_MODELS)
        assert shelf.read_set(SHIPPED.digest) == SHIPPED
        assert shelf.addresses() == tuple(sorted(SHIPPED.names))
