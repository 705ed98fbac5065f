"""Inference as a service: each crop gets its planes once, and what cannot be segmented is refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from services.contracts.messages import CropAbsent, CropExtracted, CropSegmented
from services.contracts.values import AbsenceReason
from services.imaging.planes import decode_planes, encode_crop
from services.inference.handler import InferenceHandler
from services.runtime.clock import ManualClock
from services.runtime.errors import PermanentError
from services.runtime.handler import Received
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.segmenter.port import CropRefusedError, Normalisation, Plane, Segmented, Segmenter
from services.runtime.segmenter.sets import OtherSets
from services.runtime.segmenter.shelf import UnknownModelError
from services.runtime.store.directory import DirectoryStore
from tests.support.grey_segmenter import GreySegmenter
from tests.support.messages import EXAMPLES

INSIDE = 2


class Counting(GreySegmenter):
    """Counts the crops it is asked for; refuses large ones, as a server with a limit does."""

    asked = 0

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        if any(max(crop.shape) > 200 for crop in crops):
            raise CropRefusedError("too large: raise max_pixels")
        self.asked += len(crops)
        return super().segment(crops, normalisation)


class Bench:
    def __init__(self, root: Path) -> None:
        self.store = DirectoryStore(root / "store")
        self.segmenter = Counting(16.0)
        self.metrics = RecordingMetrics()
        self.handler = InferenceHandler(self.segmenter, self.store, self.metrics, ManualClock())

    def crop(self, z: int, nucleus: str = "n0001", side: int = 96, **changes: object) -> Received:
        grey = np.random.default_rng(z).integers(90, 220, (side, side), np.uint8)
        mask = np.full((side, side), INSIDE, np.uint8)
        example = EXAMPLES[CropExtracted]
        assert isinstance(example, CropExtracted)
        message = example.model_copy(
            update={
                "z": z,
                "nucleus_id": nucleus,
                "crop": self.store.put(f"crops/{nucleus}-{z}", encode_crop(grey, mask)),
                "voxel_size": example.voxel_size.model_copy(update={"y_nm": 16.0, "x_nm": 16.0}),
                "model_set": self.segmenter.model_set().digest,
                **changes,
            }
        )
        return Received("crops", message)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def test_a_crop_is_answered_with_a_plane_of_classes_and_one_of_confidence(bench: Bench) -> None:
    (answer,) = bench.handler.handle([bench.crop(3)])
    (publication,) = answer.publications
    assert isinstance(publication.message, CropSegmented)
    classes, confidence = decode_planes(bench.store.get(publication.message.planes))
    assert classes.shape == confidence.shape == (96, 96)
    assert publication.message.plane_voxel_size.x_nm == 16.0


def test_what_was_segmented_before_is_said_again_and_not_computed_again(bench: Bench) -> None:
    crops = [bench.crop(z) for z in (3, 4)]
    first = bench.handler.handle(crops)
    again = InferenceHandler(bench.segmenter, bench.store, bench.metrics, ManualClock()).handle(crops)
    assert again == first
    assert bench.segmenter.asked == 2


def test_a_crop_that_the_networks_refuse_is_a_fault_of_the_message(bench: Bench) -> None:
    with pytest.raises(PermanentError, match=r"crop_refused.*raise max_pixels"):
        bench.handler.handle([bench.crop(3, side=240)])


def test_a_crop_pinned_to_other_networks_is_refused(bench: Bench) -> None:
    with pytest.raises(PermanentError, match="other_models"):
        bench.handler.handle([bench.crop(3, model_set="0" * 64)])


def unknown(digest: str) -> Segmenter:
    raise UnknownModelError(f"no model set {digest[:12]} was published")


def test_what_other_networks_segmented_before_is_said_again_without_them(bench: Bench) -> None:
    crop = bench.crop(3)
    first = bench.handler.handle([crop])
    since = InferenceHandler(
        GreySegmenter(8.0), bench.store, bench.metrics, ManualClock(), others=OtherSets(unknown, lambda _: 16.0)
    )
    assert since.handle([crop]) == first
    with pytest.raises(PermanentError, match=r"other_models: no model set"):
        since.handle([bench.crop(4)])


def test_a_dead_lettered_crop_travels_on_as_absent(bench: Bench) -> None:
    (publication,) = bench.handler.dead_lettered(bench.crop(3), PermanentError("crop_refused", "too large"))
    assert isinstance(publication.message, CropAbsent)
    assert publication.message.reason is AbsenceReason.DEAD_LETTERED


def test_slices_are_counted_once_however_many_nuclei_they_show(bench: Bench) -> None:
    bench.handler.handle([bench.crop(3), bench.crop(3, "n0002"), bench.crop(4)])
    bench.handler.handle([bench.crop(4, "n0002")])
    assert bench.metrics.value("fibsem_slices_processed_total", stage="inference") == 2
    assert bench.metrics.value("fibsem_inference_crops_total", profile="exact") == 4


def test_components_and_confidence_of_every_class_are_measured(bench: Bench) -> None:
    bench.handler.handle([bench.crop(3)])
    for name in ("chromosome", "nucleolus", "synaptonemal_complex", "nuclear_membrane"):
        (components,) = bench.metrics.observations("fibsem_crop_components", label_class=name)
        shares = bench.metrics.observations("fibsem_crop_confidence_ratio", label_class=name)
        assert len(shares) == (components > 0)
        assert all(0 < share <= 1 for share in shares)
