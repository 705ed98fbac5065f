"""The shipped networks keep what their issue promised, on phantoms they were never trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import services.inference
from services.contracts.classes import LabelClass
from services.contracts.model_card import RECOMMENDED_FUSION, ModelCard
from services.runtime.segmenter.cards import CARD, published
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import Normalisation
from services.simulator.phantom import Phantom, PhantomSpec
from services.trainer.scoring import class_scores, confusion

SHIPPED = Path(services.inference.__path__[0]) / "models"
MOST_BYTES = 4 * 2**20
GOALS = {
    LabelClass.CHROMOSOME: 0.95,
    LabelClass.NUCLEOLUS: 0.97,
    LabelClass.NUCLEAR_MEMBRANE: 0.90,
    LabelClass.SYNAPTONEMAL_COMPLEX: 0.82,
}
CROP_PX = 425
CAP_SLICES = 44


def test_the_networks_of_the_fusion_are_shipped_and_small() -> None:
    assert {card.name for card in published(SHIPPED)} == set(RECOMMENDED_FUSION.networks)
    for card in published(SHIPPED):
        assert sum(path.stat().st_size for path in (SHIPPED / card.address).iterdir()) <= MOST_BYTES


@pytest.mark.parametrize("path", sorted(SHIPPED.glob(f"*/{CARD}")), ids=lambda path: path.parent.name)
def test_a_shipped_card_is_written_as_it_is_read(path: Path) -> None:
    assert ModelCard.model_validate_json(path.read_bytes()).encoded() == path.read_bytes()


@pytest.mark.slow
def test_fused_planes_of_a_whole_nucleus_with_its_caps_reach_their_goals() -> None:
    phantom = Phantom(PhantomSpec(seed=4, n_nuclei=1, shape_yx_px=(CROP_PX, CROP_PX)))
    first = np.stack([phantom.slice(z) for z in range(16)])
    (nucleus,) = (nucleus for nucleus in phantom.nuclei if nucleus.requested)
    low, high = (round(float(nucleus.box_nm[k, 0]) / phantom.spec.voxel_nm) for k in (0, 1))
    depths = range(max(0, low - CAP_SLICES), min(phantom.shape_zyx[0], high + CAP_SLICES), 5)
    counts = np.zeros((6, 6), np.int64)
    with InProcessSegmenter(SHIPPED) as segmenter:
        answers = segmenter.segment(
            [phantom.slice(z) for z in depths], Normalisation(float(first.mean()), float(first.std()))
        )
    for z, answer in zip(depths, answers, strict=True):
        counts += confusion(phantom.truth(z).classes, answer.classes_yx, 6)
    found = {
        LabelClass.from_label(score.name): score.f1 for score in class_scores(counts, [c.label for c in LabelClass])
    }
    assert {c.label: found[c] for c, goal in GOALS.items() if found[c] < goal} == {}
