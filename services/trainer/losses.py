"""What training minimises: cross-entropy, weighted by class, with focal and Dice terms by choice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

IGNORED = 255
"""Label of a pixel that no loss and no score counts: nobody annotated it, or it is exterior that is ignored."""


@dataclass(frozen=True, slots=True)
class LossTerms:
    """What a loss is made of.

    Attributes
    ----------
    class_weights
        Of the cross-entropy, per channel.
    dice_weight
        Of the Dice term that is added to it.
    focal_gamma
        Exponent by which easy pixels count less (Lin et al. 2017); 0 is plain cross-entropy.
    """

    class_weights: tuple[float, ...]
    dice_weight: float = 0.0
    focal_gamma: float = 0.0


def segmentation_loss(logits: Tensor, labels: Tensor, terms: LossTerms) -> Tensor:
    """Return the loss of a batch; 0 where every pixel is ignored.

    Parameters
    ----------
    logits
        (n, channel, ...).
    labels
        int64, (n, ...), channels or `IGNORED`.
    terms
        What to add up.

    Examples
    --------
    >>> logits, labels = torch.tensor([[[2.0, 0.0], [0.0, 9.0]]]), torch.tensor([[0, 255]])
    >>> round(segmentation_loss(logits, labels, LossTerms((1.0, 1.0))).item(), 4)
    0.1269
    """
    # By rows of pixels: the kernel for images has no deterministic form on a GPU.
    rows = logits.float().movedim(1, -1).reshape(-1, logits.shape[1])
    truth = labels.reshape(-1)
    weights = torch.tensor(terms.class_weights, device=logits.device)
    counted = truth != IGNORED
    each = nn.functional.cross_entropy(rows, truth, weights, ignore_index=IGNORED, reduction="none")
    if terms.focal_gamma:
        right = rows.softmax(dim=1).gather(1, truth.clamp(max=logits.shape[1] - 1)[:, None])[:, 0]
        each = each * (1 - right) ** terms.focal_gamma
    shares = weights[truth.clamp(max=logits.shape[1] - 1)] * counted
    # The weighted mean over the pixels that count, as torch's own; of no pixels it would be 0 / 0.
    loss = each.sum() / shares.sum().clamp(min=torch.finfo(torch.float32).tiny)
    return loss + terms.dice_weight * dice_loss(logits, labels) if terms.dice_weight else loss


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 minus the mean over classes of the soft Dice of a batch.

    Parameters
    ----------
    logits
        (n, channel, ...).
    labels
        int64, (n, ...), channels or `IGNORED`.

    Examples
    --------
    >>> labels = torch.tensor([[[0, 1]]])
    >>> round(dice_loss(torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]]), labels).item(), 3)
    0.0
    """
    counted = (labels != IGNORED)[..., None]
    probabilities = logits.float().softmax(dim=1).movedim(1, -1) * counted
    known = labels.clamp(max=logits.shape[1] - 1)
    truth = nn.functional.one_hot(known, logits.shape[1]).to(probabilities.dtype) * counted
    axes = tuple(range(labels.ndim))
    shared = (probabilities * truth).sum(dim=axes)
    either = (probabilities + truth).sum(dim=axes)
    # One pixel is added to each side, so that a class that a batch lacks is worth almost nothing.
    return 1 - ((2 * shared + 1) / (either + 1)).mean()
