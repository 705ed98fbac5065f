"""Detection as a service: one slice in, its outlines out; without memory, so that it scales out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.contracts.keys import digest, outlines_key, quality_key, slice_digest_key
from services.contracts.messages import OutlinesDetected, SliceAbsent, SliceIngested
from services.contracts.values import AbsenceReason, ArtefactRef
from services.extract.detection import DetectionInputError, detect
from services.extract.digests import STAGE_VERSION as DIGEST_VERSION
from services.extract.digests import digest_of, digest_to_bytes
from services.extract.learned import said
from services.extract.outlines import Outline, make_outline, outlines_from_bytes, outlines_to_bytes
from services.extract.profiles import DetectionProfile
from services.extract.quality import STAGE_VERSION as QUALITY_VERSION
from services.extract.quality import quality_of, quality_to_bytes
from services.extract.reading import SliceReader
from services.extract.repairing import RepairingReader, repair_recipe
from services.runtime.errors import PermanentError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.metrics.port import Metrics
from services.runtime.store.port import ArtefactStore

# Raised by hand when the same slice and profile give other outlines.
STAGE_VERSION = 1


class DetectHandler:
    """Answers each slice with the outlines found in it.

    Parameters
    ----------
    store
        Slices in, outlines out.
    profile
        Settings of the detection.
    metrics
        Counts slices and nuclei.
    whole_field
        Take the field itself for the only outline, where there are no nuclei to find.
    digests
        Keep each slice made small, for its registration.
    repair
        Repairs of slices, of which ``destripe`` comes before they are searched; a step of brightness hides no outline.
        Their quality is that of the slice as it is.
    """

    name = "extract-detect"
    topics = ("slices",)
    batch_size = 4

    def __init__(
        self,
        store: ArtefactStore,
        profile: DetectionProfile,
        metrics: Metrics,
        *,
        whole_field: bool = False,
        digests: bool = False,
        repair: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._profile = profile
        self._metrics = metrics
        self._whole_field = whole_field
        self._digests = digests
        self._reader = SliceReader(store, keep=1)
        self._destripe = "destripe" in repair
        self._repaired = RepairingReader(self._reader, destripe=self._destripe)

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Detect in each slice; an absent slice travels on as absent."""
        return [self._answer(item) for item in received]

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Return the slice as absent: everybody behind goes on without it."""
        message = received.message
        if not isinstance(message, SliceIngested):
            return ()
        absent = SliceAbsent(
            acquisition_id=message.acquisition_id,
            z=message.z,
            reason=AbsenceReason.DEAD_LETTERED,
            detail=str(fault)[:4000],
        )
        return (Publication("outlines", absent),)

    def _answer(self, item: Received) -> Answer:
        message = item.message
        if isinstance(message, SliceAbsent):
            return Answer((Publication("outlines", message),))
        if not isinstance(message, SliceIngested):
            return Answer(fault=PermanentError("unexpected_message", f"{type(message).__name__} on {item.topic}"))
        try:
            outlines, count = self._outlines(message)
            quality = self._quality(message)
            small = self._digest(message) if self._digests else None
            repairs = ("destripe",) if self._repaired.changes(message) else ()
        except PermanentError as fault:
            return Answer(fault=fault)
        self._metrics.increment("fibsem_slices_processed_total", 1, stage=self.name)
        self._metrics.observe("fibsem_slice_nuclei", count, acquisition=message.acquisition_id)
        found = OutlinesDetected(
            slice=message, outlines=outlines, outline_count=count, quality=quality, digest=small, repairs=repairs
        )
        return Answer((Publication("outlines", found),))

    def _outlines(self, message: SliceIngested) -> tuple[ArtefactRef, int]:
        recipe = digest(
            repair_recipe(["destripe"] if self._destripe else [])
            | _pixels_of(message)
            | {
                "voxel": message.voxel_size.model_dump(),
                "profile": said(self._profile),
                "whole_field": self._whole_field,
                "version": STAGE_VERSION,
            }
        )
        key = outlines_key(message.acquisition_id, message.z, recipe)
        known = self._store.find(key)
        if known is not None:
            return known, len(outlines_from_bytes(self._store.get(known)))
        voxel = message.voxel_size
        grey = self._repaired.read(message)
        self._metrics.set("fibsem_slice_intensity_mean", float(grey.mean()), acquisition=message.acquisition_id)
        try:
            whole = (_field(grey.shape),) if self._whole_field else None
            found = whole or detect(grey, self._profile, (voxel.y_nm, voxel.x_nm))
        except DetectionInputError as error:
            raise PermanentError("undetectable_slice", f"{message.identity}: {error}") from error
        return self._store.put(key, outlines_to_bytes(found)), len(found)

    def _quality(self, message: SliceIngested) -> ArtefactRef | None:
        """Measure the quality of a slice; None where it is too small to be judged."""
        recipe = digest(_pixels_of(message) | {"voxel": message.voxel_size.model_dump(), "version": QUALITY_VERSION})
        key = quality_key(message.acquisition_id, message.z, recipe)
        known = self._store.find(key)
        if known is not None:
            return known
        voxel = message.voxel_size
        quality = quality_of(self._reader.read(message), (voxel.y_nm, voxel.x_nm))
        return None if quality is None else self._store.put(key, quality_to_bytes(quality))

    def _digest(self, message: SliceIngested) -> ArtefactRef:
        """Keep a slice made small."""
        recipe = digest(_pixels_of(message) | {"version": DIGEST_VERSION})
        key = slice_digest_key(message.acquisition_id, message.z, recipe)
        return self._store.find(key) or self._store.put(key, digest_to_bytes(digest_of(self._reader.read(message))))


def _pixels_of(message: SliceIngested) -> dict[str, object]:
    """Return what the pixels of a slice depend on."""
    return {
        "raw": message.raw.sha256,
        "page": message.page,
        "channel": message.channel,
        "grey": message.grey.model_dump(),
    }


def _field(shape: tuple[int, ...]) -> Outline:
    """Return the outline of the whole field."""
    last_y, last_x = shape[0] - 1, shape[1] - 1
    corners = np.array([[0, 0], [0, last_x], [last_y, last_x], [last_y, 0]], np.int32)
    return make_outline(corners, (shape[0], shape[1]))
