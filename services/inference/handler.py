"""Crops in, label planes out: batched over nuclei and slices, each plane a function of its crop alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import cv2
import numpy as np

from services.contracts.classes import LabelClass
from services.contracts.keys import digest, planes_key
from services.contracts.messages import CropAbsent, CropExtracted, CropSegmented
from services.contracts.values import AbsenceReason, ArtefactRef, GreyMapping, VoxelSize
from services.imaging.planes import PlaneFormatError, decode_crop, encode_planes
from services.imaging.resampling import resample_grey, resample_labels, resampled_shape
from services.inference.regions import Region, region_of_interest
from services.runtime.clock import Clock
from services.runtime.errors import PermanentError
from services.runtime.handler import Answer, Publication, Received
from services.runtime.metrics.port import Metrics
from services.runtime.segmenter.port import CropRefusedError, Normalisation, Plane, Segmented, Segmenter
from services.runtime.store.port import ArtefactStore

# Raised by hand when the same crop and models give other bytes.
STAGE_VERSION = 2
# At the voxel size of the models: 131 um on a side at 16 nm, far beyond any field; more would fill the memory.
LARGEST_CROP_PX = 2**26
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
    """

    name = "inference"
    topics = ("crops",)

    def __init__(
        self, segmenter: Segmenter, store: ArtefactStore, metrics: Metrics, clock: Clock, batch_size: int = 8
    ) -> None:
        self._segmenter = segmenter
        self._models = segmenter.model_set()
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
        for grey, batch in groupby(todo, key=lambda crop: crop.grey):
            known |= self._segment(list(batch), grey)
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
            plane_voxel_size=self._plane_voxel(message.voxel_size),
            numeric_profile=self._segmenter.profile.value,
        )
        return Answer((Publication("segmentations", segmented),))

    def _segment(self, crops: list[CropExtracted], grey: GreyMapping) -> dict[str, ArtefactRef | None]:
        """Segment the part of every crop that its mask asks for; outside it nobody looks."""
        shapes, regions, pixels = [], [], []
        for crop in crops:
            plane, region = self._pixels(crop)
            shapes.append(plane.shape)
            regions.append(region)
            if region is not None:
                pixels.append(np.ascontiguousarray(plane[region]))
        segmented = iter(self._timed(pixels, Normalisation(offset=grey.mean, scale=grey.sd)))
        refs: dict[str, ArtefactRef | None] = {}
        for crop, shape, region in zip(crops, shapes, regions, strict=True):
            planes = np.zeros((2, *shape), np.uint8)
            if region is not None:
                result = next(segmented)
                planes[:, region[0], region[1]] = result.classes_yx, result.confidence_yx
                self._look_at(result)
            refs[crop.identity] = self._store.put(self._key(crop), encode_planes(planes))
        return refs

    def _timed(self, pixels: list[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        profile = self._segmenter.profile.value
        started_s = self._clock.monotonic_s()
        try:
            segmented = self._segmenter.segment(pixels, normalisation)
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
        if crop.model_set != self._models.digest:
            raise PermanentError("other_models", f"{crop.identity} is pinned to models {crop.model_set[:12]}")
        try:
            grey, mask = decode_crop(self._store.get(crop.crop))
        except PlaneFormatError as error:
            raise PermanentError("damaged_crop", str(error)) from error
        source, target_nm = (crop.voxel_size.y_nm, crop.voxel_size.x_nm), self._models.voxel_size_nm
        rows, columns = resampled_shape((grey.shape[0], grey.shape[1]), source, target_nm)
        if rows * columns > LARGEST_CROP_PX:
            raise PermanentError(
                "crop_too_large",
                f"{crop.identity} has {rows} x {columns} pixels at the {target_nm} nm of the models; at most "
                f"{LARGEST_CROP_PX} are segmented: its voxel size must be wrong",
            )
        architectures = [card.architecture for card in self._models.cards]
        region = region_of_interest(
            resample_labels(mask, source, target_nm).astype(np.uint8, copy=False),
            max(architecture.context_px for architecture in architectures),
            max(architecture.shape_multiple_px for architecture in architectures),
        )
        return resample_grey(grey, source, target_nm), region

    def _plane_voxel(self, voxel: VoxelSize) -> VoxelSize:
        """Planes are stored at the voxel size of the models (design decision 3); z is that of the slices."""
        side_nm = self._models.voxel_size_nm
        return VoxelSize(z_nm=voxel.z_nm, y_nm=side_nm, x_nm=side_nm)

    def _key(self, crop: CropExtracted) -> str:
        recipe = digest(
            {
                "crop": crop.crop.sha256,
                "voxel": crop.voxel_size.model_dump(),
                "grey": crop.grey.model_dump(),
                "models": self._models.digest,
                "profile": self._segmenter.profile.value,
                "version": STAGE_VERSION,
            }
        )
        return planes_key(crop.acquisition_id, crop.nucleus_id, crop.z, recipe)
