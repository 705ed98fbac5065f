"""Crops in, label planes out: batched over nuclei and slices, each plane a function of its crop alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import cv2
import numpy as np

from services.contracts.classes import LabelClass
from services.contracts.keys import digest, planes_key
from services.contracts.messages import CropAbsent, CropExtracted, CropSegmented
from services.contracts.model_card import ModelSet
from services.contracts.values import AbsenceReason, ArtefactRef, GreyMapping, VoxelSize
from services.imaging.planes import encode_planes
from services.inference.crops import read_crop
from services.inference.regions import Region
from services.runtime.clock import Clock
from services.runtime.errors import PermanentError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.metrics.port import Metrics
from services.runtime.segmenter.port import CropRefusedError, Normalisation, Plane, Segmented, Segmenter
from services.runtime.segmenter.sets import OtherSets
from services.runtime.segmenter.shelf import UnknownModelError
from services.runtime.store.port import ArtefactStore

# Raised by hand when the same crop and models give other bytes.
STAGE_VERSION = 2
# Slices that crops may still come from, for counting each once: far more than a nucleus is deep.
SLICES_REMEMBERED = 10_000
FOREGROUND = (LabelClass.CHROMOSOME, LabelClass.NUCLEOLUS, LabelClass.SYNAPTONEMAL_COMPLEX, LabelClass.NUCLEAR_MEMBRANE)


class InferenceHandler:
    """Answers each crop with its label plane.

    Parameters
    ----------
    segmenter
        The networks, in the process or on a server.
    store
        Where crops come from and planes go to.
    metrics, clock
        Count crops and pixels, and time them.
    batch_size
        Most crops per call of the segmenter.
    others
        Other model sets, for nuclei that were opened with them; None: there are none.
    """

    name = "inference"
    topics = ("crops",)

    def __init__(
        self,
        segmenter: Segmenter,
        store: ArtefactStore,
        metrics: Metrics,
        clock: Clock,
        batch_size: int = 8,
        *,
        others: OtherSets | None = None,
    ) -> None:
        self._segmenter = segmenter
        self._others = others
        self._known = {segmenter.model_set().digest: segmenter.model_set()}
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._slices: dict[tuple[str, int], None] = {}
        self.answered = 0
        self.batch_size = batch_size

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Segment what has not been segmented before; say all of it."""
        crops = [item.message for item in received if isinstance(item.message, CropExtracted)]
        known = {crop.identity: self._store.find(self._key(crop)) for crop in crops}
        todo = [crop for crop in crops if known[crop.identity] is None]
        for (grey, models), batch in groupby(todo, key=lambda crop: (crop.grey, crop.model_set)):
            known |= self._segment(list(batch), grey, self._served(models))
        answers = [self._answer(item, known) for item in received]
        self.answered += len(answers)
        self._count_slices(todo)
        return answers

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Return the crop as absent, so that its nucleus goes on without it."""
        crop = received.message
        if not isinstance(crop, CropExtracted):
            return ()
        absent = CropAbsent(
            acquisition_id=crop.acquisition_id,
            nucleus_id=crop.nucleus_id,
            z=crop.z,
            reason=AbsenceReason.DEAD_LETTERED,
            detail=str(fault)[:4000],
        )
        return (Publication("segmentations", absent),)

    def _answer(self, item: Received, known: dict[str, ArtefactRef | None]) -> Answer:
        message = item.message
        if isinstance(message, CropAbsent):
            return Answer((Publication("segmentations", message),))
        if not isinstance(message, CropExtracted):
            return Answer(fault=PermanentError("unexpected_message", f"{type(message).__name__} on {item.topic}"))
        planes = known[message.identity]
        if planes is None:
            raise LookupError(f"{message.identity} was neither found nor segmented")
        segmented = CropSegmented(
            crop=message,
            planes=planes,
            plane_voxel_size=self._plane_voxel(message),
            numeric_profile=self._segmenter.profile.value,
        )
        return Answer((Publication("segmentations", segmented),))

    def _served(self, digest: str) -> Segmenter:
        """Return the networks of a set; a nucleus keeps those that it was opened with (design decision 14)."""
        if digest == self._segmenter.model_set().digest:
            return self._segmenter
        try:
            segmenter = self._others.segmenter_of(digest) if self._others is not None else None
        except UnknownModelError as error:
            raise PermanentError("other_models", str(error)) from error
        if segmenter is None:
            raise PermanentError("other_models", f"a crop is pinned to models {digest[:12]}")
        self._known[digest] = segmenter.model_set()
        return segmenter

    def _models(self, crop: CropExtracted) -> ModelSet:
        if crop.model_set not in self._known:
            self._served(crop.model_set)
        return self._known[crop.model_set]

    def _segment(
        self, crops: list[CropExtracted], grey: GreyMapping, segmenter: Segmenter
    ) -> dict[str, ArtefactRef | None]:
        """Segment the part of every crop that its mask asks for; outside it nobody looks."""
        shapes, regions, pixels = [], [], []
        for crop in crops:
            plane, region = self._pixels(crop)
            shapes.append(plane.shape)
            regions.append(region)
            if region is not None:
                pixels.append(np.ascontiguousarray(plane[region]))
        segmented = iter(self._timed(segmenter, pixels, Normalisation(offset=grey.mean, scale=grey.sd)))
        refs: dict[str, ArtefactRef | None] = {}
        for crop, shape, region in zip(crops, shapes, regions, strict=True):
            planes = np.zeros((2, *shape), np.uint8)
            if region is not None:
                result = next(segmented)
                planes[:, region[0], region[1]] = result.classes_yx, result.confidence_yx
                self._look_at(result)
            refs[crop.identity] = self._store.put(self._key(crop), encode_planes(planes))
        return refs

    def _timed(self, segmenter: Segmenter, pixels: list[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        profile = self._segmenter.profile.value
        started_s = self._clock.monotonic_s()
        try:
            segmented = segmenter.segment(pixels, normalisation)
        except CropRefusedError as error:
            raise PermanentError("crop_refused", str(error)) from error
        duration_s = self._clock.monotonic_s() - started_s
        self._metrics.observe("fibsem_inference_duration_seconds", duration_s, profile=profile)
        self._metrics.increment("fibsem_inference_crops_total", len(pixels), profile=profile)
        self._metrics.increment("fibsem_inference_pixels_total", sum(plane.size for plane in pixels), profile=profile)
        return segmented

    def _look_at(self, result: Segmented) -> None:
        """Measure what tells an operator that the networks still see what they should."""
        for label_class in FOREGROUND:
            found = (result.classes_yx == label_class).view(np.uint8)
            name = label_class.name.lower()
            components = cv2.connectedComponents(found, connectivity=8)[0] - 1
            self._metrics.observe("fibsem_crop_components", components, label_class=name)
            if components:
                confidence = cv2.mean(result.confidence_yx, found)[0] / 255
                self._metrics.observe("fibsem_crop_confidence_ratio", confidence, label_class=name)

    def _count_slices(self, crops: Sequence[CropExtracted]) -> None:
        """Count each slice when its first crop has been segmented."""
        for place in sorted({(crop.acquisition_id, crop.z) for crop in crops} - self._slices.keys()):
            self._slices[place] = None
            self._metrics.increment("fibsem_slices_processed_total", 1, stage=self.name)
        while len(self._slices) > SLICES_REMEMBERED:
            del self._slices[next(iter(self._slices))]

    def _pixels(self, crop: CropExtracted) -> tuple[Plane, Region | None]:
        """Return a crop at the voxel size of the models, and the part of it that decides its nucleus."""
        found = read_crop(self._store, crop, self._models(crop))
        return found.grey, found.region

    def _plane_voxel(self, crop: CropExtracted) -> VoxelSize:
        """Planes are stored at the voxel size of the models (design decision 3); z is that of the slices."""
        # What was segmented is said again without the networks that did it.
        side_nm = self._others.voxel_of(crop.model_set) if self._others else self._models(crop).voxel_size_nm
        return VoxelSize(z_nm=crop.voxel_size.z_nm, y_nm=side_nm, x_nm=side_nm)

    def _key(self, crop: CropExtracted) -> str:
        recipe = digest(
            {
                "crop": crop.crop.sha256,
                "voxel": crop.voxel_size.model_dump(),
                "grey": crop.grey.model_dump(),
                "models": crop.model_set,
                "profile": self._segmenter.profile.value,
                "version": STAGE_VERSION,
            }
        )
        return planes_key(crop.acquisition_id, crop.nucleus_id, crop.z, recipe)
