"""A bus that was lost is filled again from the store, by somebody who may write next to nothing there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from services.contracts.messages import Message
from services.contracts.topics import TOPICS
from services.contracts.values import ArtefactRef
from services.deployed.rebuilding import reconcile
from services.ingest.registry import register
from services.ingest.settings import AcquisitionSettings
from services.runtime.bus.replay import replay_messages
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.store.port import ArtefactStore
from services.runtime.store.s3_setup import ACCESS
from tests.support.ingest_bench import VOXEL, Bench, content
from tests.unit.deployed.conftest import stack_of


class AsOperator:
    """A store that lets through what the operator's user may do."""

    def __init__(self, store: ArtefactStore) -> None:
        self._store = store

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        if not any(fnmatchcase(key, pattern) for pattern in ACCESS["operator"].writes):
            raise PermissionError(key)
        return self._store.put(key, payload)

    def put_file(self, key: str, path: Path, expected_sha256: str) -> ArtefactRef:
        raise PermissionError(f"{key} from {path} ({expected_sha256})")

    def get(self, ref: ArtefactRef) -> bytes:
        return self._store.get(ref)

    def open(self, ref: ArtefactRef) -> AbstractContextManager[BinaryIO]:
        return self._store.open(ref)

    def find(self, key: str) -> ArtefactRef | None:
        return self._store.find(key)

    def keys(self, prefix: str) -> Iterator[str]:
        return self._store.keys(prefix)

    def close(self) -> None:
        """It is another's."""


def said(bus: SqliteBus) -> list[Message]:
    return list(replay_messages(bus, ("acquisitions", "slices", "dead-letters")))


def test_everything_that_ingest_said_is_said_again_however_long_the_journal(bench: Bench) -> None:
    # One journal entry per file: more of them than ingest lets go by before it notes how far it is.
    bench.write_slices([*range(80), 90])
    bench.write("broken_0085.tif", b"II*\0 and no more")
    (bench.folder / "ACQUISITION_FINISHED").touch()
    bench.run(bench.ingest(watch=True, files_per_step=1), most_polls=400)
    register(bench.store, AcquisitionSettings(acquisition="roi", slices=(bench.folder,), voxel_size=VOXEL))
    lost = said(bench.bus)
    assert len(lost) > 80
    with_nothing = SqliteBus(clock=bench.clock)
    try:
        counts = reconcile(stack_of(AsOperator(bench.store), with_nothing))
        assert counts == {"roi": len(lost)}
        assert content(said(with_nothing)) == content(lost)
        reconcile(stack_of(AsOperator(bench.store), with_nothing))
        assert content(said(with_nothing)) == content(lost)
    finally:
        with_nothing.close()


def test_a_store_without_acquisitions_gives_topics_and_nothing_else(bench: Bench) -> None:
    with_nothing = SqliteBus(clock=bench.clock)
    try:
        assert reconcile(stack_of(bench.store, with_nothing)) == {}
        assert list(replay_messages(with_nothing, [topic.name for topic in TOPICS])) == []
    finally:
        with_nothing.close()
