"""Shadow mode: a candidate segments the crops that the current networks have segmented; nobody uses its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import structlog
from pydantic import Field

from services.contracts.keys import MODELS
from services.contracts.messages import CropSegmented
from services.contracts.values import Identifier, Sha256, Text, Value
from services.imaging.planes import PlaneFormatError, decode_planes
from services.inference.agreement import Agreement, counted
from services.inference.crops import read_crop
from services.runtime.clock import Clock
from services.runtime.errors import PermanentError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.metrics.port import Metrics
from services.runtime.segmenter.port import CropRefusedError, Normalisation, Segmenter
from services.runtime.store.port import ArtefactStore
from services.runtime.store.rewritten import read_latest

log = structlog.get_logger()

NAME = "shadow"
PREFIX = f"{MODELS}/shadow"
LOOK_EVERY_S, KEEP_EVERY_S = 5.0, 5.0


class Candidate(Value):
    """A set that somebody wants compared with the one in use; `model_set` absent: none any more."""

    model_set: Sha256 | None
    networks: tuple[Identifier, ...] = Field(default=(), description="addresses that differ from those in use")
    asked_by: Identifier = "operator"
    reason: Text = "on request"


class ShadowBox:
    """Who the candidate is, and how it compares.

    Parameters
    ----------
    store
        Where whoever asks and whoever compares meet.
    """

    def __init__(self, store: ArtefactStore) -> None:
        self._store = store

    def ask(self, candidate: Candidate) -> None:
        """Have a set compared from now on, or none."""
        self._store.put(f"{PREFIX}/candidate.json", candidate.model_dump_json().encode())

    def candidate(self) -> Candidate | None:
        """Return who is to be compared."""
        content = read_latest(self._store, f"{PREFIX}/candidate.json")
        found = None if content is None else Candidate.model_validate_json(content)
        return found if found is not None and found.model_set is not None else None

    def keep(self, digest: str, member: str, agreement: Agreement) -> None:
        """Keep what one replica has counted of a set."""
        self._store.put(f"{PREFIX}/{digest}/{member}.json", agreement.model_dump_json().encode())

    def counted(self, digest: str, member: str | None = None) -> Agreement:
        """Return what was counted of a set, by one replica or by all."""
        total = Agreement()
        for key in self._store.keys(f"{PREFIX}/{digest}"):
            if member is None or key.endswith(f"/{member}.json"):
                found = Agreement.model_validate(json.loads(read_latest(self._store, key) or b"{}"))
                total = total.plus(np.array(found.pixels, np.int64), found.crops)
        return total


class ShadowHandler:
    """Compares a candidate's answers with those in use; answers every message with nothing.

    Parameters
    ----------
    store
        Crops and planes; the candidate's name, and what was counted.
    segmenter_of
        From a set's digest to its networks.
    metrics, clock
        Say how far they agree; time the looks for another candidate.
    member
        Lasting name of this replica.
    """

    name = NAME
    topics = ("segmentations",)
    batch_size = 8

    def __init__(
        self,
        store: ArtefactStore,
        segmenter_of: Callable[[str], Segmenter],
        metrics: Metrics,
        clock: Clock,
        member: str = "0",
    ) -> None:
        self._store, self._box = store, ShadowBox(store)
        self._segmenter_of, self._metrics, self._clock, self._member = segmenter_of, metrics, clock, member
        self._candidate: Candidate | None = None
        self._agreement = Agreement()
        self._look_at_s = self._keep_at_s = float("-inf")

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Compare what can be compared; a crop that cannot is left out, as inference says itself what is wrong."""
        self._look()
        for item in received:
            if self._candidate is not None and isinstance(item.message, CropSegmented):
                self._compare(item.message, str(self._candidate.model_set))
        if self._clock.monotonic_s() >= self._keep_at_s:
            self.keep()
        return [Answer() for _ in received]

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Nobody waits for a comparison: nothing travels on."""
        return ()

    def keep(self) -> None:
        """Keep what was counted."""
        if self._candidate is not None:
            self._box.keep(str(self._candidate.model_set), self._member, self._agreement)
        self._keep_at_s = self._clock.monotonic_s() + KEEP_EVERY_S

    def forget(self) -> None:
        """Begin to count anew."""
        self._look()
        self._agreement = Agreement()

    def close(self) -> None:
        """Keep what was counted last."""
        self.keep()

    def __enter__(self) -> Self:
        """Return the handler itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _look(self) -> None:
        """Look whether somebody named another candidate."""
        if self._clock.monotonic_s() < self._look_at_s:
            return
        self._look_at_s = self._clock.monotonic_s() + LOOK_EVERY_S
        found = self._box.candidate()
        if found == self._candidate:
            return
        self.keep()
        self._candidate = found
        if found is not None and found.model_set is not None:
            self._agreement = self._box.counted(found.model_set, self._member)
            log.info("candidate", networks=found.networks, digest=found.model_set)

    def _compare(self, message: CropSegmented, digest: str) -> None:
        if message.crop.model_set == digest:
            return
        segmenter = self._segmenter_of(digest)
        models = segmenter.model_set()
        if models.voxel_size_nm != message.plane_voxel_size.x_nm:
            # Planes of two voxel sizes have no pixels in common.
            return
        try:
            crop = read_crop(self._store, message.crop, models)
            planes = decode_planes(self._store.get(message.planes))
            if crop.region is None:
                return
            grey = message.crop.grey
            (answer,) = segmenter.segment(
                [np.ascontiguousarray(crop.grey[crop.region])], Normalisation(offset=grey.mean, scale=grey.sd)
            )
        except (PermanentError, PlaneFormatError, CropRefusedError) as fault:
            log.warning("not_compared", crop=message.identity, fault=str(fault))
            return
        now = planes[0][crop.region]
        self._agreement = self._agreement.plus(counted(now, answer.classes_yx, crop.mask[crop.region] > 0), 1)
        self._measure(self._agreement)

    def _measure(self, agreement: Agreement) -> None:
        assert self._candidate is not None
        name = "+".join(self._candidate.networks) or str(self._candidate.model_set)[:12]
        self._metrics.increment("fibsem_shadow_crops_total", 1, model=name)
        if (share := agreement.equal_share()) is not None:
            self._metrics.set("fibsem_shadow_equal_ratio", share, model=name)
        for label_class, dice in agreement.dice().items():
            self._metrics.set("fibsem_shadow_dice_ratio", dice, model=name, label_class=label_class)
