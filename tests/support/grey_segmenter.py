"""A segmenter without networks: classes by smoothed grey. Quick, exact, and under the contract of the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import cv2
import numpy as np

from services.contracts.architectures import TUNetArchitecture
from services.contracts.model_card import (
    ClassScore,
    ClassSource,
    DataSource,
    FusionRules,
    HeldOutScores,
    ModelCard,
    ModelSet,
    OutputClass,
    TrainingSettings,
)
from services.runtime.segmenter.port import Normalisation, NumericProfile, Plane, Segmented, refuse_unfit

CLASSES = ("exterior", "nucleoplasm", "chromosome", "nucleolus", "synaptonemal-complex", "nuclear-membrane")


def grey_model_set(voxel_nm: float = 16.0) -> ModelSet:
    """Return the model set that the grey segmenter claims to be."""
    card = ModelCard(
        name="grey",
        classes=tuple(OutputClass(name=name, class_id=index) for index, name in enumerate(CLASSES)),
        architecture=TUNetArchitecture(depth=2, base_channels=1),
        parameters=1,
        voxel_size_nm=voxel_nm,
        training_data=(DataSource(seed=1, planes=1, sha256="0" * 64),),
        training=TrainingSettings(seed=0, steps=1, batch_crops=1, patch_px=16, learning_rate=1.0, class_weights=(1.0,)),
        scores=HeldOutScores(seeds=(2,), planes=1, classes=(ClassScore(name="x", precision=1, recall=1, f1=1, iou=1),)),
        weights_sha256="0" * 64,
        archive_sha256="0" * 64,
        torch_version="none",
        licence="BSD-3-Clause",
    )
    foreground = tuple(ClassSource(class_id=index, network="grey") for index in (2, 3, 4, 5))
    return ModelSet(cards=(card,), fusion=FusionRules(foreground=foreground, background="grey"))


class GreySegmenter:
    """Bright is nucleoplasm; dark within it chromosome, or nucleolus where it is broad; the rest exterior."""

    def __init__(self, voxel_nm: float = 16.0) -> None:
        self._models = grey_model_set(voxel_nm)

    @property
    def profile(self) -> NumericProfile:
        return NumericProfile.EXACT

    def model_set(self) -> ModelSet:
        return self._models

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        refuse_unfit(crops)
        return [self._segment(crop, normalisation) for crop in crops]

    def ready(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _segment(crop: Plane, normalisation: Normalisation) -> Segmented:
        smooth = cv2.GaussianBlur(crop, (0, 0), 1.5).astype(np.float32)
        bright = smooth > normalisation.offset + 0.5 * normalisation.scale
        closed = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8)) > 0
        broad = cv2.morphologyEx((closed & ~bright).astype(np.uint8), cv2.MORPH_OPEN, np.ones((9, 9), np.uint8)) > 0
        classes = np.zeros(crop.shape, np.uint8)
        classes[closed] = 1
        classes[closed & ~bright] = 2
        classes[broad] = 3
        confidence = np.clip(np.abs(smooth - normalisation.offset) * 4, 0, 255).astype(np.uint8)
        return Segmented(classes, confidence)
