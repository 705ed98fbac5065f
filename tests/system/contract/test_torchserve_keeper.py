"""A real TorchServe serves further model sets beside its own while it works, and drops them again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.contracts.model_card import RECOMMENDED_FUSION, ModelSet
from services.runtime.errors import TransientError
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.segmenter.cards import published as shipped_cards
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import CANARY_NORMALISATION, Segmented, canary_crop
from services.runtime.segmenter.sets import served_name
from services.runtime.segmenter.shelf import ModelShelf, StatedSet
from services.runtime.segmenter.torchserve import TorchServeSegmenter
from services.runtime.segmenter.torchserve_keeper import Keeper, KeeperSettings, ManagementError
from services.runtime.store.directory import DirectoryStore
from tests.support.shipped_networks import altered
from tests.system.servers.torchserve import SHIPPED_MODELS, TorchServeServer, running_torchserve

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

S3 = {"endpoint": "http://nowhere:1", "access_key": "torchserve", "secret_key": "of no use"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeServer]:
    with running_torchserve(tmp_path_factory.mktemp("torchserve")) as running:
        yield running


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[ModelShelf]:
    store = DirectoryStore(tmp_path / "store")
    yield ModelShelf(store)
    store.close()


def keeper_of(server: TorchServeServer, tmp_path: Path, **changes: object) -> Keeper:
    settings = KeeperSettings.model_validate(
        {"s3": S3, "server_management_url": server.management_url, "server_model_store": server.model_store, **changes}
    )
    return Keeper(DirectoryStore(tmp_path / "store"), settings)


def published(shelf: ModelShelf, folder: Path, licence: str) -> ModelSet:
    """Publish the shipped networks under other cards; return their set."""
    for card in shipped_cards(SHIPPED_MODELS):
        shelf.put_network(folder / altered(folder, card.name, licence=licence))
    model_set = read_model_set(folder, RECOMMENDED_FUSION)
    shelf.put_set(model_set)
    shelf.serve(model_set.digest)
    return model_set


def answer_of(server: TorchServeServer, model_set: ModelSet | None) -> Segmented:
    changes = {} if model_set is None else {
        "model": served_name("nucleus", model_set.digest), "model_set_digest": model_set.digest
    }  # fmt: skip
    with TorchServeSegmenter(server.settings.model_copy(update=changes), RecordingMetrics()) as segmenter:
        (answer,) = segmenter.segment([canary_crop()], CANARY_NORMALISATION)
        assert model_set is None or segmenter.model_set() == model_set
        return answer


def test_a_set_is_served_beside_the_built_in_one_and_dropped_when_it_is_no_longer_wanted(
    server: TorchServeServer, shelf: ModelShelf, tmp_path: Path
) -> None:
    first = published(shelf, tmp_path / "first", "first")
    with pytest.raises(TransientError, match="not_loaded"):
        answer_of(server, first)
    keeper = keeper_of(server, tmp_path, server_sets=1)
    assert keeper.look() == (served_name("nucleus", first.digest),)
    with InProcessSegmenter(SHIPPED_MODELS) as here:
        (expected,) = here.segment([canary_crop()], CANARY_NORMALISATION)
    for model_set in (first, None):
        answer = answer_of(server, model_set)
        np.testing.assert_array_equal(answer.classes_yx, expected.classes_yx)
        np.testing.assert_array_equal(answer.confidence_yx, expected.confidence_yx)
    worker = server.worker_pid()
    assert keeper.look() == (served_name("nucleus", first.digest),)
    second = published(shelf, tmp_path / "second", "second")
    assert keeper.look() == (served_name("nucleus", second.digest),)
    answer_of(server, second)
    with pytest.raises(TransientError, match="not_loaded"):
        answer_of(server, first)
    assert server.worker_pid() == worker, "the built-in set was served all the while"


def test_an_altered_archive_is_never_served(server: TorchServeServer, shelf: ModelShelf, tmp_path: Path) -> None:
    model_set = published(shelf, tmp_path / "third", "third")
    other = published(shelf, tmp_path / "fourth", "fourth")
    shelf.serve(model_set.digest)
    shelf.put_served(model_set.digest, b"an archive that brings code")
    # It is built from the networks instead, whose hashes are known.
    name = served_name("nucleus", model_set.digest)
    assert name in keeper_of(server, tmp_path).look()
    answer_of(server, model_set)
    assert other.digest != model_set.digest


def test_a_server_that_is_away_is_said_to_be(tmp_path: Path, shelf: ModelShelf) -> None:
    settings = KeeperSettings.model_validate({"s3": S3, "server_management_url": "http://127.0.0.1:9"})
    with pytest.raises(ManagementError, match="GET /models"):
        Keeper(DirectoryStore(tmp_path / "store"), settings).look()


def test_a_set_of_other_cards_is_not_taken_for_the_one_that_is_named(shelf: ModelShelf, tmp_path: Path) -> None:
    model_set = published(shelf, tmp_path / "fifth", "fifth")
    stated = StatedSet(
        cards=tuple(card.encoded().decode() for card in model_set.cards),
        fusion=model_set.fusion,
        model_set_digest="0" * 64,
    )
    with pytest.raises(ValueError, match="were sent for"):
        stated.model_set()
