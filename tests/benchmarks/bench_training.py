"""Training images per second: our loop against the library baseline's own loop and against DLSIA's trainer.

    python -m tests.benchmarks.bench_training [--rounds 5] [--steps 12] [--json FILE]

Each pair trains the same network on the same batches, made beforehand, in interleaved rounds:
segmentation-models-pytorch's Unet by its own `TrainEpoch`, DLSIA's TUNet by its own `train_segmentation`. A step lasts
from one batch that is asked for to the next. Then our loop draws its patches itself, with the augmentation of the
recommended profile, between the steps and in a process of their own: what steps last longer than with batches made
beforehand is the share of time that is waited.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from dlsia.core.train_scripts import train_segmentation
from torch import nn

from services.contracts.architectures import AnyArchitecture, SmpArchitecture, TUNetArchitecture
from services.contracts.model_card import DataSource
from services.trainer.batches import batch_of
from services.trainer.datasets import PlaneSet
from services.trainer.learning import Batch, Draw, Fit
from services.trainer.losses import IGNORED, LossTerms
from services.trainer.networks import build_network
from services.trainer.patches import PatchRule, PatchSource
from services.trainer.recipes import NetworkRecipe
from services.trainer.training import Training

with warnings.catch_warnings():
    # The library's own loop is deprecated in favour of none; it still is what its users run.
    warnings.simplefilter("ignore", DeprecationWarning)
    from segmentation_models_pytorch.utils.train import TrainEpoch

PATCH_PX, BATCH, OUTPUTS = 128, 4, 2
TUNET = TUNetArchitecture(depth=4, base_channels=16)
UNET = SmpArchitecture(family="smp", decoder="Unet", encoder="resnet18")
RATE = 1e-3
WARM_STEPS = 2
Side = Callable[["Stamps", int], None]


@dataclass
class Stamps:
    """When batches were asked for."""

    times: list[float] = field(default_factory=list)

    def now(self) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def step_s(self) -> float:
        """Return the seconds of a step; the first ones are not counted."""
        kept = self.times[WARM_STEPS:]
        return (kept[-1] - kept[0]) / (len(kept) - 1)


@dataclass(frozen=True)
class Stamped:
    """Batches for a loop that iterates over them."""

    batches: Sequence[Batch]
    stamps: Stamps
    steps: int

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.steps):
            self.stamps.now()
            yield self.batches[step % len(self.batches)]

    def __len__(self) -> int:
        return self.steps


class _CrossEntropy(nn.CrossEntropyLoss):
    __name__ = "cross_entropy"


class _SmpEpoch(TrainEpoch):  # type: ignore[misc]  # the library has no types
    """The library's loop; its meters look for the loss by name."""


def ours(architecture: AnyArchitecture, draw: Draw, validation: Batch, workers: int = 0) -> Side:
    """Return our loop."""

    def run(stamps: Stamps, steps: int) -> None:
        network = build_network(architecture, OUTPUTS, seed=0)
        fit = Fit(
            steps,
            RATE,
            LossTerms((1.0,) * OUTPUTS),
            steps,
            largest_gradient=0.0,
            frozen_statistics_share=0.0,
            workers=workers,
            # As the rivals: their loops are told so, too.
            accelerator="cpu",
        )

        def asked() -> bool:
            stamps.now()
            return False

        with tempfile.TemporaryDirectory() as folder:
            Training("ours", network, draw, [validation], fit).run(Path(folder), cancelled=asked)

    return run


def smp_loop(batches: Sequence[Batch]) -> Side:
    """Return the loop of segmentation-models-pytorch."""

    def run(stamps: Stamps, steps: int) -> None:
        network = build_network(UNET, OUTPUTS, seed=0)
        optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
        epoch = _SmpEpoch(network, loss=_CrossEntropy(), metrics=[], optimizer=optimiser, device="cpu", verbose=False)
        epoch.run(Stamped(batches, stamps, steps))

    return run


def dlsia_loop(batches: Sequence[Batch]) -> Side:
    """Return DLSIA's trainer."""

    def run(stamps: Stamps, steps: int) -> None:
        network = build_network(TUNET, OUTPUTS, seed=0)
        optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
        train_segmentation(
            network, Stamped(batches, stamps, steps), None, 1, nn.CrossEntropyLoss(), optimiser, "cpu", show=0
        )

    return run


def planes() -> PlaneSet:
    """Return planes with a disc each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:384, :512]
    inside = np.stack([np.hypot(y - rng.integers(90, 290), x - rng.integers(90, 420)) < 80 for _ in range(8)])
    grey = (np.where(inside, 100, 160) + rng.normal(0, 12, inside.shape)).astype(np.uint8)
    source = DataSource(seed=0, planes=len(grey), sha256="0" * 64)
    return PlaneSet(grey, inside.astype(np.uint8), float(grey.mean()), float(grey.std()), source)


def recipe() -> NetworkRecipe:
    """Return the recommended profile for the TUNet."""
    outputs = [{"name": "background", "class_id": 0}, {"name": "disc", "class_id": 1}]
    return NetworkRecipe.model_validate(
        {"name": "bench", "outputs": outputs, "architecture": TUNET, "profile": "recommended", "optimiser": {"seed": 0}}
    )


def without_ignored(batch: Batch) -> Batch:
    """Return a batch whose ignored pixels, brought in by the augmentation, are background."""
    image, truth = batch
    return image, torch.where(truth == IGNORED, 0, truth)


def measured(sides: dict[str, Side], rounds: int, steps: int) -> dict[str, list[float]]:
    """Return images per second of each side, in each of the interleaved rounds."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            stamps = Stamps()
            sides[name](stamps, steps)
            found[name].append(BATCH / stamps.step_s())
            print(f"round {turn + 1}, {name}: {found[name][-1]:.2f} images/s", flush=True)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    network, source = recipe(), PatchSource([planes()], PatchRule(PATCH_PX, BATCH, (1,), 0.67, warp_share=0.3))

    def drawn(number: int) -> Batch:
        return batch_of(source.batch(0, number), network, number)

    # DLSIA's own scores know no ignored pixels, and fail over one.
    ready = [without_ignored(drawn(number)) for number in range(4)]

    def made(number: int) -> Batch:
        return ready[number % len(ready)]

    rates = measured(
        {
            "ours, smp Unet": ours(UNET, made, ready[0]),
            "smp TrainEpoch, smp Unet": smp_loop(ready),
            "ours, TUNet": ours(TUNET, made, ready[0]),
            "DLSIA train_segmentation, TUNet": dlsia_loop(ready),
            "ours, TUNet, drawn between steps": ours(TUNET, drawn, ready[0]),
            "ours, TUNet, drawn by a process": ours(TUNET, drawn, ready[0], workers=1),
        },
        given.rounds,
        given.steps,
    )

    def ratio(ours: str, other: str) -> float:
        """Return the median of the rounds' ratios: in a round both sides share how busy the machine is."""
        return statistics.median(a / b for a, b in zip(rates[ours], rates[other], strict=True))

    plain = "ours, TUNet"
    ratios = {
        "against smp's loop": ratio("ours, smp Unet", "smp TrainEpoch, smp Unet"),
        "against DLSIA's trainer": ratio(plain, "DLSIA train_segmentation, TUNet"),
        "share waited, drawn between steps": 1 - ratio("ours, TUNet, drawn between steps", plain),
        "share waited, drawn by a process": 1 - ratio("ours, TUNet, drawn by a process", plain),
    }
    for name, value in {**{name: statistics.median(found) for name, found in rates.items()}, **ratios}.items():
        print(f"{name}: {value:.3f}")
    if given.json:
        given.json.write_text(json.dumps({"images_per_s": rates, "ratios": ratios}, indent=1) + "\n")


if __name__ == "__main__":
    main()
