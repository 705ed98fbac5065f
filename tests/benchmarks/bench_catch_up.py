"""How fast a backlog of 5000 x 2500 slices at 4 nm is worked off on two cores, against one slice per 75 s live.

    python -m tests.benchmarks.bench_catch_up --cache DIR [--slices 40] [--nuclei 5] [--rounds 1] [--json FILE]

The simulator makes the slices once, RGB as a microscope writes them (37.5 MB each); later calls with the same
--cache use them again. Then `fibsem-nuclei run`'s own embedded run, in this process, works them off with the
networks of 16 nm on two threads, and says how many times faster than they come that is: to the last crop, and to
the last result with every nucleus closed, separated and measured, though the backlog cuts all of them.

For networks of 4 nm inference has 16 times the pixels, and postprocess at most 16 times the work; the program does both
sums with the measured seconds, and says what a graphics card makes of the networks, from their counted operations.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from services.contracts.model_card import RECOMMENDED_FUSION
from services.contracts.values import VoxelSize
from services.embedded.run import EmbeddedRun, Parts
from services.embedded.settings import RunSettings, settle
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.segmenter.archives import load_network
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import CANARY_NORMALISATION, Normalisation, Plane, Segmented, canary_crop
from services.simulator.microscope import Microscope
from services.simulator.phantom import Phantom, PhantomSpec
from services.simulator.simulate import spec_for

SEED = 31
VOXEL_NM = 4.0
FIELD_YX_PX = (2500, 5000)
LIVE_S = 75.0
GOAL = 20.0
PIXELS_AT_4_NM = (16.0 / 4.0) ** 2
PLANES = ("inference", "postprocess")
CLOSING = ("components", "results")
# Sustained, not peak: a fifth of what the card has in bf16 (H100 SXM 989 TFLOP/s, RTX 3090 71 TFLOP/s).
CARDS_TFLOP_PER_S = {"H100": 0.2 * 989, "RTX 3090": 0.2 * 71}


class Kept(InProcessSegmenter):
    """Networks that stay loaded from round to round, and know how many pixels they saw."""

    pixels = 0

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        """Segment, and count."""
        self.pixels += sum(crop.size for crop in crops)
        return super().segment(crops, normalisation)

    def __exit__(self, *_: object) -> None:
        """Leave the networks loaded."""


@dataclass(frozen=True)
class Worked:
    """One backlog worked off.

    Attributes
    ----------
    slices, crops, pixels, nuclei
        How many; pixels are those that the networks saw.
    crops_s
        Wall seconds without the closing stages.
    total_s
        With them.
    processor_s
        Processor seconds, with them.
    stages
        Seconds by stage.
    """

    slices: int
    crops: int
    pixels: int
    nuclei: int
    crops_s: float
    total_s: float
    processor_s: float
    stages: dict[str, float]

    @property
    def per_slice_s(self) -> float:
        """Seconds per slice, everything included."""
        return self.total_s / self.slices

    def at_4_nm_s(self, *stages: str) -> float:
        """Return seconds per slice if these stages had 16 times the pixels, closing not counted."""
        dear_s = sum(self.stages[name] for name in stages)
        return (self.crops_s + (PIXELS_AT_4_NM - 1) * dear_s) / self.slices


def backlog(cache: Path, nuclei: int, slices: int) -> Path:
    """Return the folder of the slices, made where they are not there yet."""
    folder = cache / f"s{SEED}_{nuclei}_nuclei_{slices}_slices"
    marker = folder / "made"
    if not marker.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "slices").mkdir(exist_ok=True)
        microscope = Microscope(Phantom(field_of(nuclei, slices)), folder / "slices", "rgb8", None, lambda _: None)
        for z in range(slices):
            if not microscope.complete(z):
                microscope.acquire(z)
            print(f"slice {z + 1} of {slices} made", end="\r", flush=True)
        print()
        microscope.finish()
        marker.touch()
    return folder / "slices"


def field_of(nuclei: int, slices: int) -> PhantomSpec:
    """Return a field of 10 x 20 um, as the manuscript's are."""
    return replace(spec_for(SEED, VOXEL_NM, nuclei, slices), shape_yx_px=FIELD_YX_PX)


def worked_off(folder: Path, out: Path, segmenter: Kept) -> Worked:
    """Work the backlog off."""
    settings = RunSettings(
        acquisition="backlog",
        slices=(folder,),
        voxel_size=VoxelSize(z_nm=VOXEL_NM, y_nm=VOXEL_NM, x_nm=VOXEL_NM),
        models=SHIPPED_MODELS,
    )
    began_s = told_s = time.perf_counter()
    spent_s = time.process_time()
    pixels = segmenter.pixels
    run = EmbeddedRun(out, settle(out, settings, joined=True), watch=False, parts=Parts(segmenter=segmenter))
    while not run.complete:
        run.turn()
        if time.perf_counter() > told_s + 5.0:
            told_s = time.perf_counter()
            print(f"{told_s - began_s:4.0f} s: {run.progress().line()}", flush=True)
    run.finish()
    total_s = time.perf_counter() - began_s
    spent_s = time.process_time() - spent_s
    progress, stages = run.progress(), dict(run.times.seconds)
    run.close()
    return Worked(
        slices=progress.seen,
        crops=progress.segmented,
        pixels=segmenter.pixels - pixels,
        nuclei=progress.nuclei_closed,
        crops_s=total_s - sum(stages.get(name, 0.0) for name in CLOSING),
        total_s=total_s,
        processor_s=spent_s,
        stages=stages,
    )


def operations_per_pixel() -> float:
    """Return the floating-point operations of all networks together for one pixel."""
    size = 432
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        for card in read_model_set(SHIPPED_MODELS, RECOMMENDED_FUSION).cards:
            load_network(SHIPPED_MODELS, card)(torch.zeros(1, 1, size, size))
    return float(counted.get_total_flops()) / size**2


def report(worked: Worked, operations: float) -> dict[str, object]:
    """Print what was measured and what follows from it; return it."""
    inference_s = worked.stages["inference"]
    print(f"{worked.slices} slices, {worked.crops} crops, {worked.nuclei} nuclei; load {os.getloadavg()[0]:.1f}")
    for stage, seconds in sorted(worked.stages.items(), key=lambda entry: -entry[1]):
        print(f"  {stage:15s} {seconds:7.1f} s {1e3 * seconds / worked.slices:8.0f} ms per slice")
    ratios = {
        "catch_up": LIVE_S / worked.per_slice_s,
        "catch_up_without_closing": LIVE_S * worked.slices / worked.crops_s,
        "catch_up_on_one_idle_core": LIVE_S * worked.slices / worked.processor_s,
        "catch_up_networks_at_4_nm": LIVE_S / worked.at_4_nm_s("inference"),
        "catch_up_planes_at_4_nm": LIVE_S / worked.at_4_nm_s(*PLANES),
    }
    rate = operations * worked.pixels / inference_s
    print(f"networks: {operations / 1e3:.0f} kFLOP per pixel, {rate / 1e9:.0f} GFLOP/s on this processor")
    pixels_per_slice = worked.pixels / worked.slices * PIXELS_AT_4_NM
    rest_s = (worked.crops_s - inference_s) / worked.slices
    for card, sustained in CARDS_TFLOP_PER_S.items():
        card_s = pixels_per_slice * operations / (sustained * 1e12)
        ratios[f"catch_up_networks_at_4_nm_on_{card}"] = LIVE_S / (card_s + rest_s)
        print(
            f"at 4 nm on a {card} ({sustained:.0f} TFLOP/s sustained, computed): networks {1e3 * card_s:.0f} ms, all "
            f"else here {1e3 * rest_s:.0f} ms per slice: {LIVE_S / (card_s + rest_s):.0f} times the live rate"
        )
    return {**asdict(worked), "operations_per_pixel": operations, "load": os.getloadavg()[0], **ratios}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the slices, 1.5 GB")
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--nuclei", type=int, default=5, help="whole nuclei; as many more are cut by the border")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    options = parser.parse_args()
    folder = backlog(options.cache, options.nuclei, options.slices)
    operations = operations_per_pixel()
    found = []
    with tempfile.TemporaryDirectory() as name, Kept(SHIPPED_MODELS) as segmenter:
        segmenter.segment([canary_crop()], CANARY_NORMALISATION)
        for turn in range(options.rounds):
            worked = worked_off(folder, Path(name) / f"out{turn}", segmenter)
            found.append(report(worked, operations))
    middle = {
        key: statistics.median(float(str(entry[key])) for entry in found) for key in found[0] if key.startswith("catch")
    }
    print(f"one process, two threads of networks; live is one slice per {LIVE_S:.0f} s; medians of {len(found)}:")
    print(f"  networks at 16 nm, every result written: {middle['catch_up']:.1f} times the live rate (goal {GOAL:.0f})")
    print(f"  without closing the nuclei, which the backlog cuts: {middle['catch_up_without_closing']:.1f} times")
    print(f"  by processor time, so on one idle core at least: {middle['catch_up_on_one_idle_core']:.1f} times")
    print(
        f"  networks at 4 nm on this processor (computed): {middle['catch_up_networks_at_4_nm']:.2f} times, "
        f"{middle['catch_up_planes_at_4_nm']:.2f} times if postprocess takes 16 times as long as well"
    )
    if options.json is not None:
        options.json.write_text(json.dumps({"rounds": found, "median": middle}, indent=2) + "\n")
    sys.exit(middle["catch_up"] < GOAL)


if __name__ == "__main__":
    main()
