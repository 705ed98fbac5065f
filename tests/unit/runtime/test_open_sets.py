"""A deployed service asks its model server for a published set, and for no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.contracts.model_card import RECOMMENDED_FUSION
from services.runtime.deployment import SHIPPED_MODELS, Deployment, open_set_of
from services.runtime.errors import TransientError
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.sets import Segmenters
from services.runtime.segmenter.shelf import ModelShelf, UnknownModelError
from services.runtime.store.directory import DirectoryStore

SHIPPED = read_model_set(SHIPPED_MODELS, RECOMMENDED_FUSION)
DEPLOYMENT = Deployment.model_validate(
    {
        "kafka": {"bootstrap": "nowhere:1"},
        "s3": {"endpoint": "http://nowhere:1", "access_key": "inference", "secret_key": "of no use"},
        "torchserve": {"url": "http://127.0.0.1:9"},
    }
)


def test_a_published_set_is_asked_for_by_its_name_and_an_unknown_one_is_a_fault(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    shelf = ModelShelf(store)
    for address in SHIPPED.names:
        shelf.put_network(SHIPPED_MODELS / address)
    shelf.put_set(SHIPPED)
    sets = Segmenters(open_set_of(DEPLOYMENT, store, RecordingMetrics(), tmp_path))
    with pytest.raises(UnknownModelError):
        sets.of("0" * 64)
    # Nobody answers there: which of the server's models was meant stands in what went wrong.
    with pytest.raises(TransientError, match=f"predictions/nucleus-{SHIPPED.digest[:12]}"):
        sets.of(SHIPPED.digest).model_set()
    sets.close()
    store.close()


def test_without_a_model_server_networks_run_in_the_process(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    shelf = ModelShelf(store)
    for address in SHIPPED.names:
        shelf.put_network(SHIPPED_MODELS / address)
    shelf.put_set(SHIPPED)
    alone = DEPLOYMENT.model_copy(update={"torchserve": None})
    sets = Segmenters(open_set_of(alone, store, RecordingMetrics(), tmp_path / "networks"))
    segmenter = sets.of(SHIPPED.digest)
    assert segmenter.model_set() == SHIPPED
    assert segmenter.ready()
    sets.close()
    assert not segmenter.ready()
    store.close()
