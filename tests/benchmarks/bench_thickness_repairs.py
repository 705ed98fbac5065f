"""What the measured thickness of slices and their repairs gain: phantoms with known depths and with clean twins.

    python tests/benchmarks/bench_thickness_repairs.py [--full] [--json FILE]

Thickness: one whole nucleus of 16 nm in slices that vary by 15 % and slowly by 10 %; every 40th slice has lost one
before it, or none has. Volumes of the nucleus and of its chromosomes from the truth's
labels, with nominal and with measured depths, against the true depths. Repairs: slices with curtains, and with steps of
brightness, against the same slices without; and how much good slices are changed.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.imaging.quality.depths import PlaneDepths, plane_depths  # noqa: E402
from services.imaging.quality.reducing import reduced  # noqa: E402
from services.imaging.quality.sequence import Standing, judge_next  # noqa: E402
from services.imaging.quality.single import measured  # noqa: E402
from services.imaging.repairing.destriping import destriped  # noqa: E402
from services.imaging.repairing.gain import Level, Shift, level_after, regained  # noqa: E402
from services.simulator.phantom import Phantom  # noqa: E402
from services.simulator.simulate import spec_for  # noqa: E402
from services.simulator.spoiling import Spoilt  # noqa: E402

VOXEL_NM = 16.0
VOXEL = (VOXEL_NM, VOXEL_NM)
EVERY = 40
Grey = NDArray[np.uint8]


def thickness(seed: int, *, jumps: bool) -> dict[str, object]:
    """Measure a nucleus by nominal and by measured depths."""
    spec = spec_for(seed, VOXEL_NM, 1, None, ("thickness", "z_jump"))
    slices = spec.n_slices or 0
    phantom = Phantom(spec, Spoilt(tuple(("z_jump", z) for z in range(60, slices, EVERY)) if jumps else ()))
    standing, told, counts = Standing(), {}, []
    for z in range(slices):
        grey, truth = phantom.slice(z), phantom.truth(z)
        standing, verdict = judge_next(standing, z, measured(grey, VOXEL), reduced(grey, VOXEL), VOXEL_NM)
        told[z] = None if verdict.spoilt else verdict.thickness
        mine = truth.nuclei == 1
        counts.append([np.count_nonzero(mine), *np.bincount(truth.chromosomes[mine], minlength=13)[1:13]])
    true_nm = np.maximum.accumulate(phantom.stage.z_nm + 1e-6 * np.arange(slices))
    by = {
        "nominal": PlaneDepths(0, VOXEL_NM, tuple((np.arange(slices) + 0.5) * VOXEL_NM)),
        "measured": plane_depths(told, 0, slices - 1, VOXEL_NM),
        "true": PlaneDepths(0, VOXEL_NM, tuple(true_nm.tolist())),
    }
    volumes = {name: depths.thickness_nm() @ np.array(counts) for name, depths in by.items()}
    steps = {name: np.diff(depths.depths_nm) / VOXEL_NM for name, depths in by.items()}
    found: dict[str, object] = {"seed": seed, "jumps": jumps, "slices": slices}
    for name in ("nominal", "measured"):
        error = 100 * (volumes[name] / volumes["true"] - 1)
        found[name] = {
            "step rms, slices": round(float(np.sqrt(np.mean((steps[name] - steps["true"]) ** 2))), 3),
            "nucleus, %": round(float(error[0]), 2),
            "chromosomes rms, %": round(float(np.sqrt(np.mean(error[1:] ** 2))), 2),
        }
    return found


def rms(first: Grey, second: Grey) -> float:
    """Root mean square difference in grey levels."""
    return float(np.sqrt(np.mean((first.astype(np.float32) - second) ** 2)))


def linear(grey: Grey) -> Grey:
    """Take away the mean along 4 um of what is finer than 500 nm along x: a filter of columns, for comparison."""
    exact = grey.astype(np.float32)
    detail = exact - cv2.blur(exact, (31, 1))
    return np.asarray(np.clip(np.rint(exact - cv2.blur(detail, (1, 251))), 0, 255), np.uint8)


def curtains(seed: int, strength: float) -> dict[str, object]:
    """Repair slices with curtains, and the same without."""
    spec = spec_for(seed, VOXEL_NM, 3, 300, (f"curtained={strength}",))
    places = range(40, 290, 60)
    clean, spoilt = Phantom(spec, Spoilt()), Phantom(spec, Spoilt(tuple(("curtained", z) for z in places)))
    pairs = [(clean.slice(z), spoilt.slice(z)) for z in places]
    return {
        "seed": seed,
        "strength": strength,
        "before": round(float(np.mean([rms(bad, good) for good, bad in pairs])), 2),
        "after": round(float(np.mean([rms(destriped(bad, VOXEL), good) for good, bad in pairs])), 2),
        "linear filter": round(float(np.mean([rms(linear(bad), good) for good, bad in pairs])), 2),
        "good slices changed": [round(rms(destriped(good, VOXEL), good), 2) for good, _ in pairs],
    }


def steps_of_brightness(seed: int) -> dict[str, object]:
    """Repair slices behind a step of brightness, and the same without; every second step goes back."""
    spec = spec_for(seed, VOXEL_NM, 1, 120, ("brightness_step",))
    steps = tuple(("brightness_step", z) for z in (40, 70, 100))
    clean, spoilt = Phantom(spec, Spoilt()), Phantom(spec, Spoilt(steps))
    found: dict[str, list[tuple[float, float]]] = {}
    for name, phantom in (("good slices changed", clean), ("before, after", spoilt)):
        standing, level, rows = Standing(), Level(), []
        for z in range(120):
            grey = phantom.slice(z)
            standing, verdict = judge_next(standing, z, measured(grey, VOXEL), reduced(grey, VOXEL), VOXEL_NM)
            told = verdict.quantities
            stepped = "brightness_step" in verdict.troubles
            if not verdict.spoilt:
                level = level_after(level, told["mean_grey"], told["log_contrast"], stepped=stepped)
            good = clean.slice(z)
            rows.append((rms(grey, good), rms(regained(grey, level.now), good)))
        found[name] = rows
    moved = [row for row in found["before, after"] if row[0] > 1]
    return {
        "seed": seed,
        "slices": len(moved),
        "before": round(float(np.mean([before for before, _ in moved])), 2),
        "after": round(float(np.mean([after for _, after in moved])), 2),
        "good slices changed": round(max(after for _, after in found["good slices changed"]), 2),
    }


def times() -> dict[str, object]:
    """Seconds for 5000 x 2500 pixels of 4 nm on one core."""
    cv2.setNumThreads(1)
    grey = np.random.default_rng(1).integers(90, 200, (2500, 5000), dtype=np.uint8)
    found: dict[str, object] = {}
    repairs: dict[str, Callable[[], Grey]] = {
        "destripe": lambda: destriped(grey, (4.0, 4.0)),
        "gain": lambda: regained(grey, Shift(12.0, 0.1)),
    }
    for name, repair in repairs.items():
        taken = []
        for _ in range(3):
            began = time.process_time()
            repair()
            taken.append(time.process_time() - began)
        found[name] = round(min(taken), 3)
    return found


def main() -> int:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--full", action="store_true", help="more phantoms of uneven slices")
    options = parser.parse_args()
    uneven = [(51, True), (52, False), *([(51, False), (52, True)] if options.full else [])]
    report: dict[str, list[dict[str, object]]] = {}
    rows: list[tuple[str, Callable[[], dict[str, object]]]] = [
        ("curtains", functools.partial(curtains, 53, 1.0)),
        ("curtains", functools.partial(curtains, 53, 3.0)),
        ("brightness", functools.partial(steps_of_brightness, 54)),
        ("seconds", times),
        *(("thickness", functools.partial(thickness, seed, jumps=jumps)) for seed, jumps in uneven),
    ]
    for name, row in rows:
        report.setdefault(name, []).append(row())
        print(name, json.dumps(report[name][-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
