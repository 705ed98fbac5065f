"""A warning comes when a network learns by heart, and not when it only stumbles."""

from __future__ import annotations

import pytest

from services.trainer.curves import Judgement, parted


def history(*losses: tuple[float, float]) -> list[Judgement]:
    return [Judgement(k, train, validation, 0.5, 0.1) for k, (train, validation) in enumerate(losses)]


def test_three_worse_validations_while_training_goes_on_improving_are_a_warning() -> None:
    said = parted(history((0.5, 0.50), (0.4, 0.40), (0.3, 0.45), (0.2, 0.46), (0.1, 0.47)))
    assert said is not None
    assert "since step 1" in said


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [(0.5, 0.5), (0.4, 0.6), (0.3, 0.7)],
        # One good validation among the last three.
        [(0.5, 0.50), (0.4, 0.40), (0.3, 0.45), (0.2, 0.41), (0.1, 0.47)],
        # Both get worse: the rate is too high, which is another matter.
        [(0.5, 0.50), (0.4, 0.40), (0.5, 0.45), (0.6, 0.46), (0.7, 0.47)],
        [(0.5, 0.5), (0.4, 0.4), (0.3, 0.3), (0.2, 0.2), (0.1, 0.1)],
    ],
)
def test_nothing_is_said_otherwise(losses: list[tuple[float, float]]) -> None:
    assert parted(history(*losses)) is None
