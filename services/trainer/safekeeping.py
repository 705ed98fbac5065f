"""Copies of checkpoints in the artefact store, so that a machine that is lost costs no more than a process that is.

A copy is written into the slot that the present one does not stand in, and becomes the present one with its last
artefact: whoever is killed meanwhile leaves the copy before. Nothing is deleted, and nothing grows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from services.contracts.values import Count, Identifier, Value
from services.runtime.store.port import ArtefactStore
from services.trainer.keeping import CURVES, LAST
from services.trainer.requests import REQUESTS, InputFile


class KeptCheckpoint(Value):
    """A checkpoint in the store, with the files that belong to it; the checkpoint itself is the last of them."""

    slot: Literal[0, 1]
    step: Count
    files: tuple[InputFile, ...]


class Safe:
    """Keeps the checkpoints of one request.

    Parameters
    ----------
    store
        Where they go.
    request_id
        Whose they are.
    work
        Folder of the training, with one folder for each network.
    """

    def __init__(self, store: ArtefactStore, request_id: str, work: Path) -> None:
        self._store = store
        self._prefix = f"{REQUESTS}/{request_id}/checkpoints"
        self._work = work

    def keep(self, folder: Identifier, step: int) -> None:
        """Copy a network's checkpoint into the store.

        Parameters
        ----------
        folder
            Of the network, in the work folder; nobody writes there meanwhile.
        step
            Of the checkpoint.

        Raises
        ------
        TransientError
            If the store cannot be written now; the copy before stays.
        """
        before = self._present(folder)
        if before is not None and before.step >= step:
            return
        slot: Literal[0, 1] = 0 if before is None or before.slot == 1 else 1
        here = self._work / folder
        names = [*sorted(path.name for path in here.glob("best-*.safetensors")), CURVES, LAST]
        kept = KeptCheckpoint(
            slot=slot,
            step=step,
            files=tuple(
                InputFile(
                    path=name,
                    content=self._store.put(f"{self._prefix}/{folder}/{slot}/{name}", (here / name).read_bytes()),
                )
                for name in names
            ),
        )
        self._store.put(self._key(folder), kept.model_dump_json(indent=2).encode())

    def restore(self) -> tuple[str, ...]:
        """Bring the checkpoints back that this machine does not have; return the folders that were brought.

        Raises
        ------
        TransientError
            If the store cannot be read now.
        """
        keys = [key for key in self._store.keys(self._prefix) if key.endswith("/checkpoint.json")]
        folders = [key.removeprefix(f"{self._prefix}/").split("/")[0] for key in keys]
        return tuple(folder for folder in folders if self._restore(folder))

    def _restore(self, folder: str) -> bool:
        here = self._work / folder
        kept = self._present(folder)
        # Of this machine's own checkpoint nothing is older: it is written before its copy.
        if kept is None or (here / LAST).exists():
            return False
        here.mkdir(parents=True, exist_ok=True)
        for path in here.glob("best-*.safetensors"):
            path.unlink()
        for file in kept.files:
            partial = here / f".{file.path}.partial"
            partial.write_bytes(self._store.get(file.content))
            partial.replace(here / file.path)
        return True

    def _present(self, folder: str) -> KeptCheckpoint | None:
        ref = self._store.find(self._key(folder))
        return None if ref is None else KeptCheckpoint.model_validate_json(self._store.get(ref))

    def _key(self, folder: str) -> str:
        return f"{self._prefix}/{folder}/checkpoint.json"
