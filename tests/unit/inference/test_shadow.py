"""A candidate beside the current networks: how far both agree is measured, and nothing is published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.contracts.messages import CropSegmented
from services.contracts.model_card import ModelSet
from services.imaging.planes import decode_planes
from services.inference.agreement import Agreement, counted
from services.inference.handler import InferenceHandler
from services.inference.shadow import Candidate, ShadowBox, ShadowHandler
from services.runtime.clock import ManualClock
from services.runtime.handler import Answer, Received
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.segmenter.port import Segmenter
from services.runtime.store.directory import DirectoryStore
from tests.support.grey_networks import GreyNetwork, write_grey_network
from tests.support.grey_segmenter import GreySegmenter
from tests.unit.inference.test_handler import Bench


class Shadow:
    def __init__(self, root: Path) -> None:
        self.bench = Bench(root)
        self.store: DirectoryStore = self.bench.store
        self.same = write_grey_network(root / "same", 16.0, licence="another")
        self.confused = write_grey_network(root / "confused", 16.0, licence="a third")
        self.coarse = write_grey_network(root / "coarse", 32.0)
        self.metrics, self.clock, self.box = RecordingMetrics(), ManualClock(), ShadowBox(self.store)
        self.handler = self.start()

    def start(self, member: str = "0") -> ShadowHandler:
        return ShadowHandler(self.store, self.segmenter_of, self.metrics, self.clock, member)

    def segmenter_of(self, digest: str) -> Segmenter:
        (found,) = (known for known in (self.same, self.confused, self.coarse) if known.digest == digest)
        return GreyNetwork(found, takes_chromosomes_for_nucleoli=found == self.confused)

    def ask(self, model_set: ModelSet | None) -> None:
        networks = () if model_set is None else model_set.names
        self.box.ask(Candidate(model_set=model_set.digest if model_set else None, networks=networks))
        self.clock.advance(10.0)

    def segmented(self, z: int) -> Received:
        handler = InferenceHandler(GreySegmenter(16.0), self.store, RecordingMetrics(), ManualClock())
        (answer,) = handler.handle([self.bench.crop(z)])
        return Received("segmentations", answer.publications[0].message)


@pytest.fixture
def shadow(tmp_path: Path) -> Iterator[Shadow]:
    shadow = Shadow(tmp_path)
    yield shadow
    shadow.store.close()


def test_networks_that_answer_alike_agree_in_every_pixel_and_nothing_is_published(shadow: Shadow) -> None:
    shadow.ask(shadow.same)
    before = set(shadow.store.keys(""))
    assert shadow.handler.handle([shadow.segmented(z) for z in (3, 4)]) == [Answer(), Answer()]
    shadow.handler.close()
    name = shadow.same.names[0]
    assert shadow.metrics.value("fibsem_shadow_equal_ratio", model=name) == 1.0
    assert shadow.metrics.value("fibsem_shadow_crops_total", model=name) == 2
    assert shadow.box.counted(shadow.same.digest).crops == 2
    fresh = {key for key in set(shadow.store.keys("")) - before if "crops" not in key and "planes" not in key}
    assert fresh == {f"models/shadow/{shadow.same.digest}/0.json"}


def test_disagreement_is_measured_by_class(shadow: Shadow) -> None:
    shadow.ask(shadow.confused)
    message = shadow.segmented(3)
    assert isinstance(message.message, CropSegmented)
    shadow.handler.handle([message])
    classes, _ = decode_planes(shadow.store.get(message.message.planes))
    chromosomes, nucleoli = int((classes == 2).sum()), int((classes == 3).sum())
    assert chromosomes
    name = shadow.confused.names[0]
    found = {
        each: shadow.metrics.value("fibsem_shadow_dice_ratio", model=name, label_class=each)
        for each in ("nucleoplasm", "chromosome", "nucleolus")
    }
    assert found == {
        "nucleoplasm": 1.0,
        "chromosome": 0.0,
        "nucleolus": pytest.approx(2 * nucleoli / (2 * nucleoli + chromosomes)),
    }
    share = shadow.metrics.value("fibsem_shadow_equal_ratio", model=name)
    assert share == pytest.approx(1 - chromosomes / classes.size)


def test_replicas_are_counted_together_and_a_restart_goes_on(shadow: Shadow) -> None:
    shadow.ask(shadow.same)
    for member, z in (("0", 3), ("1", 4), ("0", 5)):
        with shadow.start(member) as handler:
            handler.handle([shadow.segmented(z)])
    assert shadow.box.counted(shadow.same.digest).crops == 3


def test_nothing_is_computed_without_a_candidate_or_for_crops_of_its_own(shadow: Shadow) -> None:
    own = shadow.segmented(3)
    assert isinstance(own.message, CropSegmented)
    crop = own.message.crop.model_copy(update={"model_set": shadow.same.digest})
    theirs = Received("segmentations", own.message.model_copy(update={"crop": crop}))
    shadow.handler.handle([own])
    shadow.ask(shadow.same)
    shadow.handler.handle([theirs])
    shadow.ask(None)
    shadow.handler.handle([own])
    assert shadow.box.counted(shadow.same.digest).crops == 0
    assert shadow.box.candidate() is None


def test_planes_of_another_voxel_size_and_damaged_ones_are_left_out(shadow: Shadow) -> None:
    message = shadow.segmented(3)
    assert isinstance(message.message, CropSegmented)
    shadow.ask(shadow.coarse)
    shadow.handler.handle([message])
    shadow.ask(shadow.same)
    damaged = message.message.model_copy(update={"planes": shadow.store.put("damaged", b"no planes")})
    shadow.handler.handle([Received("segmentations", damaged)])
    assert shadow.box.counted(shadow.same.digest).crops == 0


def test_counts_of_crops_add_up() -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.integers(0, 6, (9, 9), np.uint8), rng.integers(0, 6, (9, 9), np.uint8)) for _ in range(3)]
    inside = np.ones((9, 9), bool)
    one_by_one = Agreement()
    for now, then in pairs:
        one_by_one = one_by_one.plus(counted(now, then, inside), 1)
    together = [np.concatenate(planes) for planes in zip(*pairs, strict=True)]
    at_once = Agreement().plus(counted(together[0], together[1], np.ones((27, 9), bool)), 3)
    assert one_by_one == at_once
    equal = float((together[0] == together[1]).mean())
    assert one_by_one.equal_share() == pytest.approx(equal)
    assert Agreement().equal_share() is None
    assert Agreement().dice() == {}
