"""The kinds of trouble a slice can have, and the rules by which each is told.

A rule looks at one quantity, takes away what was usual lately (or what the reference had), and compares the rest with
a threshold: so many robust standard deviations of what the run's good slices did, but never less than a floor that
stands here with its unit. So thresholds are learned from the run; the floors say what nobody would call trouble.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Trouble(StrEnum):
    """What can be wrong with a slice."""

    REPEATED_FRAME = "repeated_frame"
    SKIPPED_MILLING = "skipped_milling"
    Z_JUMP = "z_jump"
    DEFOCUS = "defocus"
    ASTIGMATISM = "astigmatism"
    CURTAINING = "curtaining"
    CHARGING = "charging"
    BRIGHTNESS_STEP = "brightness_step"
    SATURATION = "saturation"
    BLANK = "blank"
    DETECTOR_STRIPE = "detector_stripe"
    FIELD_SHIFT = "field_shift"
    DEBRIS = "debris"


Quantity = Literal[
    "mean_grey",
    "log_contrast",
    "log_structure",
    "log_noise",
    "clipped_pct",
    "log_sharpness",
    "log_anisotropy",
    "log_stripe",
    "log_tear",
    "curtain_pct2",
    "tail_pct",
    "shift_nm",
    "log_decorrelation",
    "log_sameness",
    "new_um2",
    "tail_change_pct",
    "slow_change_grey",
    "curtain_change_pct2",
]
"""What rules look at; ``log_`` marks natural logarithms of ratios, so that a difference is a factor, and ``_pct2``
powers: squares of percentages, negative where a covariance is."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one quantity tells one kind of trouble.

    Attributes
    ----------
    trouble, quantity
        What is told by what.
    sign
        1 where more is worse, -1 where less is, 0 where both are.
    deviations
        Threshold in units of what was learned.
    least
        Threshold that learning cannot fall below, in the unit of the quantity.
    against_reference
        Whether the change from the reference slice counts, not that from what was usual lately: for what may stay.
    by
        What was learned: the robust standard deviation of the deviations of good slices, or the largest of them, for
        quantities whose deviations are bounded.
    """

    trouble: Trouble
    quantity: Quantity
    sign: Literal[-1, 0, 1]
    deviations: float
    least: float
    against_reference: bool = False
    by: Literal["spread", "extreme"] = "spread"


RULES: tuple[Rule, ...] = (
    Rule(Trouble.DEFOCUS, "log_sharpness", -1, 7.0, 0.08),
    Rule(Trouble.ASTIGMATISM, "log_anisotropy", 0, 5.5, 0.05),
    Rule(Trouble.CURTAINING, "curtain_change_pct2", 1, 5.0, 0.02),
    Rule(Trouble.CURTAINING, "curtain_pct2", 1, 7.0, 0.5),
    Rule(Trouble.CHARGING, "tail_change_pct", 0, 7.0, 0.35),
    Rule(Trouble.CHARGING, "slow_change_grey", 1, 8.0, 2.0),
    Rule(Trouble.BRIGHTNESS_STEP, "mean_grey", 0, 7.0, 4.0, against_reference=True),
    Rule(Trouble.BRIGHTNESS_STEP, "log_contrast", 0, 7.0, 0.1, against_reference=True),
    Rule(Trouble.SATURATION, "clipped_pct", 1, 7.0, 0.5),
    Rule(Trouble.DETECTOR_STRIPE, "log_stripe", 1, 7.0, 0.4),
    Rule(Trouble.DETECTOR_STRIPE, "log_tear", 1, 7.0, 0.25),
    Rule(Trouble.FIELD_SHIFT, "shift_nm", 1, 1.6, 60.0, by="extreme"),
    Rule(Trouble.Z_JUMP, "log_decorrelation", 1, 1.25, 0.5, by="extreme"),
    Rule(Trouble.DEBRIS, "new_um2", 1, 7.0, 0.2),
)
"""The rules that learn; repeated frames, skipped milling and blank slices have rules of their own (`judging`)."""

SPOILING = frozenset(Trouble) - {
    Trouble.SKIPPED_MILLING,
    Trouble.Z_JUMP,
    Trouble.BRIGHTNESS_STEP,
    Trouble.FIELD_SHIFT,
}
"""Troubles that make an image unfit to learn from and to compare with; the others are about where it was taken."""
