"""What a training has come to, validation by validation, and whether training and validation part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

# So many validations in a row, so far above the lowest validation loss, are no accident of one of them.
PARTED_VALIDATIONS, PARTED_RATIO = 3, 1.1


@dataclass(frozen=True, slots=True)
class Judgement:
    """One validation.

    Attributes
    ----------
    step
        Optimiser steps taken.
    train_loss
        Mean over the steps since the validation before.
    validation_loss, macro_f1
        Over all validation pixels that count; macro F1 is the mean over classes.
    learning_rate
        At the last step.
    """

    step: int
    train_loss: float
    validation_loss: float
    macro_f1: float
    learning_rate: float


def parted(history: Sequence[Judgement]) -> str | None:
    """Return a warning when the network learns its training data by heart, or None.

    That is when the last three validation losses all lie a tenth above the lowest so far, while the training loss
    has gone on falling since.

    Examples
    --------
    >>> losses = [(0.5, 0.5), (0.4, 0.4), (0.3, 0.5), (0.2, 0.6), (0.1, 0.7)]
    >>> parted([Judgement(k, train, val, 0.5, 0.1) for k, (train, val) in enumerate(losses)])
    'training and validation part since step 1: stop here, take more data, or a smaller network'
    """
    if len(history) <= PARTED_VALIDATIONS:
        return None
    lowest = min(history, key=lambda judged: judged.validation_loss)
    latest = history[-PARTED_VALIDATIONS:]
    higher = all(judged.validation_loss > PARTED_RATIO * lowest.validation_loss for judged in latest)
    if not higher or latest[-1].train_loss >= lowest.train_loss:
        return None
    return f"training and validation part since step {lowest.step}: stop here, take more data, or a smaller network"


def curves_csv(history: Sequence[Judgement]) -> str:
    """Return a table with a line per validation.

    >>> print(curves_csv([Judgement(4, 0.5, 0.25, 0.75, 0.1)]), end="")
    step,train_loss,validation_loss,macro_f1,learning_rate
    4,0.5,0.25,0.75,0.1
    """
    names = [field.name for field in fields(Judgement)]
    lines = [",".join(repr(getattr(judged, name)) for name in names) for judged in history]
    return "\n".join([",".join(names), *lines]) + "\n"
