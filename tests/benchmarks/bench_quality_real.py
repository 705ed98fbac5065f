"""How well troubles are told on real slices: false alarms on them as they are, and what is found of faults put in.

    python tests/benchmarks/bench_quality_real.py [--data DIR] [--json FILE]

`fib25` (FIB-SEM of fly brain, aligned, 10 nm; both samples) is judged once as it is, every alarm of which counts as a
false one, and once with a fault of usual strength (services/simulator/spoiling.py) in every eighth slice. A fault
counts as found when its slice is flagged as of its kind. The field is 1.7 um wide: debris is a third as large as usual,
and charging, whose halo is 0.8 um, has no room. `vnc` (serial sections of 45 nm, jittered) is judged as it is.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.imaging.quality.judging import WARM_UP, Verdict  # noqa: E402
from services.imaging.quality.reducing import reduced  # noqa: E402
from services.imaging.quality.sequence import Standing, judge_next  # noqa: E402
from services.imaging.quality.single import measured  # noqa: E402
from services.simulator import spoiling  # noqa: E402

Grey = NDArray[np.uint8]
Wide = NDArray[np.float32]
SEED, FIRST, EVERY, VOXEL_NM = 7, 24, 8, 10.0
SAMPLES = {"sample1": "sample1_raw_z000-099_unlabelled.tif", "sample2": "sample2_raw_z000-149.tif"}


def _blurred(grey: Wide, z: int) -> Wide:
    del z
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), spoiling.DEFOCUS_NM / VOXEL_NM), np.float32)


def _blurred_along_y(grey: Wide, z: int) -> Wide:
    del z
    # A width of nothing along x: one column.
    sigma = spoiling.ASTIGMATISM_NM / VOXEL_NM
    return np.asarray(cv2.GaussianBlur(grey, (1, 9), sigmaX=1e-6, sigmaY=sigma), np.float32)


def _saturated(grey: Wide, z: int) -> Wide:
    del z
    mean = grey.mean()
    return np.asarray((grey - mean) * (1 + spoiling.SATURATION_GAIN) + mean + spoiling.SATURATION_GREY, np.float32)


def _striped(grey: Wide, z: int) -> Wide:
    changed = grey.copy()
    changed[spoiling.disturbed_lines(SEED, z, grey.shape[0])] += spoiling.STRIPE_GREY
    return changed


FAULTS: Mapping[str, tuple[str, Callable[[Wide, int], Wide]]] = {
    "defocused": ("defocus", _blurred),
    "astigmatic": ("astigmatism", _blurred_along_y),
    "saturated": ("saturation", _saturated),
    "striped": ("detector_stripe", _striped),
    "torn": ("detector_stripe", lambda grey, z: spoiling.torn(grey, SEED, z, spoiling.TORN_NM / VOXEL_NM)),
    "debris": ("debris", lambda grey, z: spoiling.with_debris(grey, SEED, z, 3 * VOXEL_NM, 1.0)),
    "brightness_step": ("brightness_step", lambda grey, _z: grey + spoiling.STEP_GREY),
    "blank": ("blank", lambda grey, _z: np.full_like(grey, 128)),
}
"""Faults that change one image."""
BETWEEN = {"frozen": "repeated_frame", "field_shift": "field_shift", "z_jump": "z_jump"}
"""Faults that lie between two images: the same one again, the field elsewhere for good, a slice too few."""


def spoilt(stack: NDArray[np.uint8]) -> Iterator[tuple[str, Grey]]:
    """Yield each slice with the name of its fault, which is empty for most."""
    names = [*FAULTS, *BETWEEN]
    shift = round(spoiling.FIELD_SHIFT_NM / VOXEL_NM)
    height, width = stack.shape[1:]
    moved, skipped = 0, 0
    for z in range(len(stack)):
        number, is_fault = divmod(z - FIRST, EVERY)
        name = names[number % len(names)] if z >= FIRST and is_fault == 0 else ""
        moved = shift - moved if name == "field_shift" else moved
        skipped += name == "z_jump"
        if z + skipped >= len(stack):
            return
        source = z - 1 if name == "frozen" else z
        # The field may move by `shift` without showing what was never imaged.
        grey = stack[source + skipped][:, moved : width - shift + moved][: height - shift]
        if name in FAULTS:
            changed = FAULTS[name][1](grey.astype(np.float32), z)
            grey = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        yield name, np.ascontiguousarray(grey)


def judged(slices: Iterator[tuple[str, Grey]] | Sequence[tuple[str, Grey]], zyx_nm: Sequence[float]) -> list[Told]:
    """Judge slices in order; fault and verdict of each."""
    standing, told = Standing(), []
    for z, (fault, grey) in enumerate(slices):
        voxel = (zyx_nm[1], zyx_nm[2])
        standing, verdict = judge_next(standing, z, measured(grey, voxel), reduced(grey, voxel), zyx_nm[0])
        told.append((fault, verdict))
    return told


Told = tuple[str, Verdict]


def alarms(told: Sequence[Told]) -> list[str]:
    """Return what was told of slices without a fault, once what is usual is known; not right behind a fault."""
    found = []
    for z, (fault, verdict) in enumerate(told):
        if z >= WARM_UP and not fault and not told[z - 1][0]:
            found += [f"z {z}: {f.trouble}, {f.severity:.2f} thresholds" for f in verdict.findings]
    return found


def found_by_fault(told: Sequence[Told]) -> dict[str, str]:
    """Return how many of each fault were flagged as of their kind, and what was told of the others."""
    kinds = {name: kind for name, (kind, _) in FAULTS.items()} | BETWEEN
    rows: dict[str, list[set[str]]] = collections.defaultdict(list)
    for fault, verdict in told:
        if fault:
            rows[fault].append({str(finding.trouble) for finding in verdict.findings})
    return {fault: _row(kinds[fault], troubles) for fault, troubles in sorted(rows.items())}


def _row(kind: str, troubles: Sequence[set[str]]) -> str:
    found = sum(kind in each for each in troubles)
    others = ["+".join(sorted(each)) or "nothing" for each in troubles if kind not in each]
    return f"{found} of {len(troubles)}" + (f"; told instead: {', '.join(others)}" if others else "")


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real data")
    parser.add_argument("--json", type=Path, help="where the result goes")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    result: dict[str, object] = {}
    for name, file in SAMPLES.items():
        stack = tifffile.imread(arguments.data / "fib25" / file)
        as_it_is = judged([("", plane) for plane in stack], (VOXEL_NM,) * 3)
        faulty = judged(spoilt(stack), (VOXEL_NM,) * 3)
        result[f"fib25 {name}"] = {
            "slices": len(stack),
            "alarms as it is": alarms(as_it_is),
            "found of faults put in": found_by_fault(faulty),
            "alarms between faults": alarms(faulty),
        }
    vnc = tifffile.imread(arguments.data / "vnc" / "raw.tif")
    result["vnc"] = {
        "slices": len(vnc), "alarms as it is": alarms(judged([("", plane) for plane in vnc], (45.0, 4.6, 4.6))),
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    sys.stdout.write(text + "\n")
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
