"""Losses are torch's where torch has them, and count no pixel that is ignored."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from services.trainer.losses import IGNORED, LossTerms, dice_loss, segmentation_loss


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 5, 7, generator=generator), torch.randint(0, 3, (2, 5, 7), generator=generator)


def test_the_weighted_cross_entropy_is_torchs() -> None:
    logits, labels = batch()
    labels[0, :2] = IGNORED
    expected = nn.CrossEntropyLoss(torch.tensor([0.5, 1.0, 2.0]), ignore_index=IGNORED)(logits, labels)
    torch.testing.assert_close(segmentation_loss(logits, labels, LossTerms((0.5, 1.0, 2.0))), expected)


@pytest.mark.parametrize("terms", [LossTerms((1.0,) * 3, 0.5), LossTerms((1.0,) * 3, 0.0, 2.0)])
def test_what_is_ignored_changes_nothing(terms: LossTerms) -> None:
    logits, labels = batch()
    labels[:, 3:] = IGNORED
    changed = logits.clone()
    changed[:, :, 3:] += 5.0
    torch.testing.assert_close(segmentation_loss(logits, labels, terms), segmentation_loss(changed, labels, terms))


@pytest.mark.parametrize("terms", [LossTerms((1.0,) * 3), LossTerms((1.0,) * 3, 0.5, 2.0)])
def test_a_batch_without_a_label_teaches_nothing_and_breaks_nothing(terms: LossTerms) -> None:
    logits = batch()[0].requires_grad_()
    loss = segmentation_loss(logits, torch.full((2, 5, 7), IGNORED), terms)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_focal_term_counts_easy_pixels_less() -> None:
    easy = torch.tensor([[[[4.0, 0.2]], [[0.0, 0.0]]]])
    labels = torch.zeros(1, 1, 2, dtype=torch.int64)
    plain, focal = (segmentation_loss(easy, labels, LossTerms((1.0, 1.0), 0.0, gamma)) for gamma in (0.0, 2.0))
    # By hand: -ln p of both pixels, times (1 - p)^2.
    p = torch.tensor([4.0, 0.2]).sigmoid()
    torch.testing.assert_close(plain, -p.log().mean())
    torch.testing.assert_close(focal, (-p.log() * (1 - p) ** 2).mean())


def test_the_dice_term_is_one_for_what_is_all_wrong() -> None:
    labels = torch.zeros(1, 30, 30, dtype=torch.int64)
    wrong = torch.stack([torch.full((1, 30, 30), -9.0), torch.full((1, 30, 30), 9.0)], dim=1)
    assert dice_loss(wrong, labels).item() == pytest.approx(1.0, abs=0.01)
