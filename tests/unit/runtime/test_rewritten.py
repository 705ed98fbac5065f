"""What is replaced while it is read is read whole, as it was before or after."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.contracts.values import ArtefactRef
from services.ingest.registry import keep_status, status_of
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactCorruptError
from services.runtime.store.rewritten import LOOKS, read_latest


class Replaced(DirectoryStore):
    """Somebody replaces what is read, so many times."""

    times = 0
    replaced_by = b"newer"

    def get(self, ref: ArtefactRef) -> bytes:
        if self.times:
            self.times -= 1
            self.put(ref.key, self.replaced_by * (self.times + 1))
        return super().get(ref)


@pytest.mark.parametrize("times", [0, 1, LOOKS - 1])
def test_what_is_replaced_meanwhile_is_read_again(tmp_path: Path, times: int) -> None:
    store = Replaced(tmp_path)
    assert read_latest(store, "standing") is None
    store.put("standing", b"first")
    store.times = times
    assert read_latest(store, "standing") == (b"newer" if times else b"first")
    store.close()


def test_what_never_is_what_was_found_is_damaged(tmp_path: Path) -> None:
    store = Replaced(tmp_path)
    store.put("standing", b"first")
    store.times = LOOKS + 1
    with pytest.raises(ArtefactCorruptError):
        read_latest(store, "standing")
    store.close()


def test_how_an_acquisition_stands_is_read_while_ingest_writes_it(tmp_path: Path) -> None:
    store = Replaced(tmp_path)
    keep_status(store, "a", {"slices": 1})
    store.replaced_by = b'{"slices": 2}'
    store.times = 1
    assert status_of(store, "a") == {"slices": 2}
    store.close()
