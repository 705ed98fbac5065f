"""Fused pixels carry the class of the network that decides them, and the probability it gives."""

from __future__ import annotations

import math

import pytest
import torch

from services.contracts.architectures import TUNetArchitecture
from services.contracts.classes import LabelClass
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
from services.runtime.segmenter.fusion import Fusion

CHANNELS = {"first": (0, 1, 2, 3), "second": (1, 4, 0)}
RULES = FusionRules(
    foreground=(
        ClassSource(class_id=2, network="first"),
        ClassSource(class_id=3, network="first"),
        ClassSource(class_id=4, network="second"),
    ),
    background="first",
)


def card(name: str) -> ModelCard:
    return ModelCard(
        name=name,
        classes=tuple(OutputClass(name=f"c{k}", class_id=k) for k in CHANNELS[name]),
        architecture=TUNetArchitecture(depth=2, base_channels=1),
        parameters=1,
        voxel_size_nm=16.0,
        training_data=(DataSource(seed=1, planes=1, sha256="0" * 64),),
        training=TrainingSettings(seed=0, steps=1, batch_crops=1, patch_px=16, learning_rate=1.0, class_weights=(1.0,)),
        scores=HeldOutScores(seeds=(2,), planes=1, classes=(ClassScore(name="x", precision=1, recall=1, f1=1, iou=1),)),
        weights_sha256="0" * 64,
        archive_sha256="0" * 64,
        torch_version="2.13.0",
        licence="BSD-3-Clause",
    )


def fused(rules: FusionRules, first: list[float], second: list[float]) -> tuple[LabelClass, int]:
    """Fuse one pixel whose channels have these probabilities."""
    cards = {name: card(name) for name in CHANNELS}
    fusion = Fusion(ModelSet(cards=tuple(cards[name] for name in rules.networks), fusion=rules))
    logits = {
        # An offset of all logits changes no probability.
        "first": torch.tensor([math.log(p) + 3 for p in first])[:, None, None],
        "second": torch.tensor([math.log(p) - 7 for p in second])[:, None, None],
    }
    classes, confidence = fusion(logits)
    assert classes.dtype == confidence.dtype == torch.uint8
    return LabelClass(int(classes)), int(confidence)


# Channels of `second` are nucleoplasm, synaptonemal complex, exterior.
QUIET = [0.5, 0.1, 0.4]
CLAIMING = [0.2, 0.7, 0.1]


def test_a_class_is_taken_from_its_network_with_that_networks_probability() -> None:
    assert fused(RULES, [0.1, 0.1, 0.6, 0.2], QUIET) == (LabelClass.CHROMOSOME, round(0.6 * 255))
    assert fused(RULES, [0.1, 0.1, 0.2, 0.6], QUIET) == (LabelClass.NUCLEOLUS, round(0.6 * 255))


def test_the_later_rule_wins_where_two_networks_claim_a_pixel() -> None:
    assert fused(RULES, [0.0001, 0.0001, 0.9997, 0.0001], CLAIMING) == (
        LabelClass.SYNAPTONEMAL_COMPLEX,
        round(0.7 * 255),
    )
    reordered = FusionRules(foreground=RULES.foreground[::-1], background="first")
    assert fused(reordered, [0.1, 0.2, 0.6, 0.1], CLAIMING) == (LabelClass.CHROMOSOME, round(0.6 * 255))


@pytest.mark.parametrize(
    ("first", "expected"),
    [([0.6, 0.2, 0.1, 0.1], (LabelClass.EXTERIOR, 153)), ([0.2, 0.6, 0.1, 0.1], (LabelClass.NUCLEOPLASM, 153))],
)
def test_a_pixel_that_nobody_claims_is_what_the_background_network_says(
    first: list[float], expected: tuple[LabelClass, int]
) -> None:
    assert fused(RULES, first, QUIET) == expected


def test_a_class_that_its_network_may_not_decide_falls_back_to_the_likelier_background() -> None:
    only_complex = FusionRules(foreground=RULES.foreground[2:], background="first")
    assert fused(only_complex, [0.1, 0.3, 0.4, 0.2], QUIET) == (LabelClass.NUCLEOPLASM, round(0.3 * 255))
