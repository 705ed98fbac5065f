"""Judging the slices of an acquisition while they are followed: quality in from the store, a verdict out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from services.contracts.messages import OutlinesDetected, SliceAbsent, SliceJudged
from services.contracts.values import AbsenceReason, ArtefactRef
from services.extract.quality import (
    QualityFormatError,
    QualityRecord,
    SliceQuality,
    judged_message,
    quality_from_bytes,
)
from services.imaging.quality.kinds import SPOILING, Trouble
from services.runtime.errors import PermanentError
from services.runtime.metrics.port import Metrics
from services.runtime.store.port import ArtefactStore


class SliceJudge:
    """Judges slices in z order.

    Parameters
    ----------
    store
        Where detection left what each slice says by itself.
    metrics
        Counts slices and their troubles.
    """

    def __init__(self, store: ArtefactStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def judged(self, record: QualityRecord, message: OutlinesDetected | SliceAbsent) -> SliceJudged | None:
        """Judge the next slice; None where detection measured nothing, and the slice is not absent.

        Raises
        ------
        PermanentError
            If what detection left is damaged.
        """
        if isinstance(message, SliceAbsent):
            if message.reason is AbsenceReason.BLANK:
                # Found before detection, which had nothing to measure; the microscope's trouble all the same.
                self._count(message.acquisition_id, Trouble.BLANK)
            return SliceJudged(acquisition_id=message.acquisition_id, z=message.z, absent=message.reason)
        quality = self.read(message)
        if quality is None or message.quality is None:
            return None
        place = message.slice
        verdict = record.judge(place.z, message.quality, quality, place.voxel_size.z_nm)
        told = judged_message(place.acquisition_id, place.z, verdict, place.voxel_size.z_nm)
        told = told.model_copy(update={"repairs": message.repairs})
        self._measure(told, place.voxel_size.z_nm)
        return told

    def read(self, message: OutlinesDetected) -> SliceQuality | None:
        """Fetch what detection left of a slice; None where it left nothing.

        Raises
        ------
        PermanentError
            If it is damaged.
        """
        if message.quality is None:
            return None
        try:
            return quality_from_bytes(self._store.get(message.quality))
        except QualityFormatError as error:
            raise PermanentError("damaged_quality", f"{message.identity}: {error}") from error

    def restored(self, content: Mapping[str, Any] | None) -> QualityRecord:
        """Return where judging stood when a step was recorded; the beginning for one recorded without it."""
        return QualityRecord() if content is None else QualityRecord.from_json(content, self._fetched)

    def _fetched(self, ref: ArtefactRef) -> bytes:
        return self._store.get(ref)

    def _measure(self, told: SliceJudged, voxel_z_nm: float) -> None:
        acquisition = told.acquisition_id
        self._metrics.increment("fibsem_slices_judged_total", 1, acquisition=acquisition)
        worst = max((trouble.severity for trouble in told.troubles), default=0.0)
        self._metrics.set("fibsem_slice_trouble_ratio", worst, acquisition=acquisition)
        if told.thickness_nm is not None:
            ratio = told.thickness_nm / voxel_z_nm
            self._metrics.set("fibsem_slice_thickness_ratio", ratio, acquisition=acquisition)
        for trouble in told.troubles:
            self._count(acquisition, trouble.trouble)

    def _count(self, acquisition_id: str, trouble: str) -> None:
        self._metrics.increment("fibsem_slices_troubled_total", 1, acquisition=acquisition_id, reason=trouble)


def thickness_of(told: SliceJudged, voxel_z_nm: float) -> float | None:
    """Return what was told of the thickness of a slice as `plane_depths` takes it."""
    if told.absent is not None or any(trouble.trouble in SPOILING for trouble in told.troubles):
        return None
    return math.nan if told.thickness_nm is None else told.thickness_nm / voxel_z_nm
