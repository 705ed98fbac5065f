"""Printed and proven ways to optimise, as fragments of a recipe; what a recipe says itself comes first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

ProfileName = Literal["manuscript", "as-run", "recommended"]

_AS_PRINTED: dict[str, Any] = {
    "learning_rate": 1e-1,
    "epochs": 200,
    "batch_crops": 1,
    "patch_px": "image",
    "optimiser": "adam",
    "schedule": "tenth-midway",
    "in_passes": True,
    "turned": False,
    "artefact_share": 0.0,
    "jitter_normalisation": False,
    "focus_share": 0.0,
    "frozen_statistics_share": 0.0,
    "largest_gradient": 0.0,
    "best_by": "loss",
    "ignore_exterior": True,
}
PROFILES: Mapping[ProfileName, Mapping[str, Any]] = {
    # As section "Training" of the manuscript prints it.
    "manuscript": _AS_PRINTED,
    # As its code ran: rotations were computed and thrown away, and no class was ignored.
    "as-run": _AS_PRINTED | {"learning_rate": 1e-2, "epochs": 150, "ignore_exterior": False},
    "recommended": {
        "learning_rate": 2e-3,
        "steps": 3000,
        "batch_crops": "auto",
        "patch_px": "auto",
        "optimiser": "adamw",
        "schedule": "warm-up-cosine",
        "dice_weight": 0.5,
        "artefact_share": 0.35,
        "warp_share": 0.3,
        "focus_share": 0.67,
        "frozen_statistics_share": 0.5,
        "best_by": "macro-f1",
    },
}
"""By name; see `services.trainer.recipes.OptimiserRecipe` for what the words mean."""
