"""How well troubles of slices are told: false alarms on good slices, and what is found of injected faults.

    python tests/benchmarks/bench_quality.py [--quick] [--keep DIR] [--json FILE]

Phantoms of seeds that no threshold was set with. Good ones are as simulated by default, or with drift, jitter and
uneven thickness besides. Faulty ones have a fault in every seventh slice, one kind after the other, at half, the usual
and twice the usual strength; a fault counts as found when its slice is flagged as of its kind. Good slices between
faults of usual strength count as good ones too, but for the slice right behind a fault. With --keep, what is there is
not computed again. Also measures the time for a slice of 5000 x 2500 pixels.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.imaging.quality.judging import WARM_UP  # noqa: E402
from services.imaging.quality.pairs import compared  # noqa: E402
from services.imaging.quality.reducing import reduced  # noqa: E402
from services.imaging.quality.sequence import Standing, judge_next  # noqa: E402
from services.imaging.quality.single import measured  # noqa: E402
from services.simulator.artefacts import SPOILING_NAMES  # noqa: E402
from services.simulator.phantom import Phantom  # noqa: E402
from services.simulator.simulate import spec_for  # noqa: E402
from services.simulator.spoiling import Spoilt  # noqa: E402

KINDS = {
    "defocused": "defocus",
    "astigmatic": "astigmatism",
    "curtained": "curtaining",
    "charged": "charging",
    "saturated": "saturation",
    "striped": "detector_stripe",
    "torn": "detector_stripe",
    "debris": "debris",
    "frozen": "repeated_frame",
    "brightness_step": "brightness_step",
    "field_shift": "field_shift",
    "z_jump": "z_jump",
    "repeated": "skipped_milling",
    "blank": "blank",
}
"""The trouble that must be told, by the fault that is put in."""
MOVING = ("drift", "jitter=0.2", "thickness=0.5")
FIRST, EVERY = 24, 7
REPEATED_RATE = 20


@dataclass(frozen=True)
class Case:
    """One phantom: its seed, voxel size, number of slices, artefacts, and the strength of its faults (0 for none)."""

    seed: int
    voxel_nm: float
    slices: int
    artefacts: tuple[str, ...]
    strength: float
    side_px: int | None = None

    @property
    def name(self) -> str:
        """Name of its file, and of its row."""
        moving = "moving" if self.artefacts else "still"
        return f"{self.voxel_nm:g}nm-{moving}-strength{self.strength:g}-seed{self.seed}"


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield the phantoms of the benchmark."""
    slices, seeds = (120, 1) if quick else (200, 6)
    for seed in range(seeds):
        yield Case(19100 + seed, 16.0, slices, (), 0.0)
        yield Case(19200 + seed, 16.0, slices, (), 1.0)
        if seed == 0:
            yield Case(19300, 16.0, slices, MOVING, 1.0)
            yield Case(19400, 4.0, slices // 2, (), 1.0, side_px=1000)
        yield Case(19500 + seed, 16.0, slices, (), (0.5, 2.0)[seed % 2])
    if not quick:
        for seed in range(2):
            yield Case(19600 + seed, 16.0, slices, MOVING, 0.0)
        yield Case(19700, 4.0, slices, (), 0.0, side_px=1000)


def phantom_of(case: Case) -> Phantom:
    """Lay out a phantom with its faults, none beside a repeated slice."""
    faults = [f"{name}={case.strength}" for name in SPOILING_NAMES]
    repeated = [f"repeated={REPEATED_RATE}"] if case.strength == 1.0 else []
    spec = spec_for(case.seed, case.voxel_nm, 3, case.slices, (*case.artefacts, *faults, *repeated))
    if case.side_px:
        spec = dataclasses.replace(spec, shape_yx_px=(case.side_px, case.side_px))
    if case.strength == 0:
        return Phantom(spec, Spoilt())
    busy = {z + k for z in Phantom(spec, Spoilt()).faults.repeated for k in range(-3, 4)}
    places = [z for z in range(FIRST, case.slices - 1, EVERY) if z not in busy]
    kinds = [SPOILING_NAMES[(number + case.seed) % len(SPOILING_NAMES)] for number in range(len(places))]
    return Phantom(spec, Spoilt(tuple(sorted(zip(kinds, places, strict=True)))))


def told(case: Case) -> list[dict[str, object]]:
    """Judge every slice of a phantom; one record each."""
    phantom = phantom_of(case)
    voxel = (case.voxel_nm, case.voxel_nm)
    standing, records = Standing(), []
    for z in range(case.slices):
        grey = phantom.slice(z)
        standing, verdict = judge_next(standing, z, measured(grey, voxel), reduced(grey, voxel), case.voxel_nm)
        fault = phantom.spoilt.at(z) or ("repeated" if z in phantom.faults.repeated else "")
        findings = [[f.trouble, round(f.severity, 3), f.quantity] for f in verdict.findings]
        records.append({"z": z, "fault": fault, "findings": findings, "thickness": round(verdict.thickness, 3)})
    return records


def kept(case: Case, folder: Path | None) -> list[dict[str, object]]:
    """Judge a phantom, or read what was found before."""
    path = folder / f"{case.name}.json" if folder else None
    if path is not None and path.exists():
        return list(json.loads(path.read_text()))
    records = told(case)
    if path is not None:
        path.write_text(json.dumps(records))
    return records


def summary(judged: dict[Case, list[dict[str, object]]]) -> dict[str, object]:
    """Count false alarms, and what was found by kind and strength."""
    good = alarms = 0
    wrong: collections.Counter[str] = collections.Counter()
    found: dict[str, list[int]] = {}
    for case, records in judged.items():
        faulty = {record["z"] for record in records if record["fault"]}
        for record in records:
            z, fault = int(str(record["z"])), str(record["fault"])
            troubles = [str(finding[0]) for finding in record["findings"]]  # type: ignore[attr-defined]
            if fault:
                row = found.setdefault(f"{KINDS[fault]} ({fault}) x{case.strength:g} at {case.voxel_nm:g} nm", [0, 0])
                row[0] += KINDS[fault] in troubles
                row[1] += 1
            elif z >= WARM_UP and z - 1 not in faulty and case.strength <= 1:
                good += 1
                alarms += bool(troubles)
                wrong.update(troubles)
    return {"good": good, "false_alarms": alarms, "false_by_kind": dict(wrong), "found": dict(sorted(found.items()))}


def seconds_per_slice() -> dict[str, float]:
    """Time each part takes for a slice of 5000 x 2500 pixels of 4 nm, in seconds of one core."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (5000, 2500), dtype=np.uint8)
    grey = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0), dtype=np.uint8)
    times: dict[str, list[float]] = {"single": [], "reduced": [], "pair": []}
    for _ in range(4):
        start = time.process_time()
        measured(grey, (4.0, 4.0))
        after_single = time.process_time()
        plane = reduced(grey, (4.0, 4.0))
        after_reduced = time.process_time()
        compared(plane, plane)
        ends = (after_single - start, after_reduced - after_single, time.process_time() - after_reduced)
        for part, seconds in zip(times.values(), ends, strict=True):
            part.append(seconds)
    return {name: round(min(values[1:]), 3) for name, values in times.items()}


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few hundred slices")
    parser.add_argument("--keep", type=Path, help="folder of what was found so far")
    parser.add_argument("--json", type=Path, help="where the result goes")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    judged = {}
    for case in cases(quick=arguments.quick):
        start = time.monotonic()
        judged[case] = kept(case, arguments.keep)
        say(f"{case.name}: {len(judged[case])} slices in {time.monotonic() - start:.0f} s")
    result = {**summary(judged), "seconds_5000x2500": seconds_per_slice()}
    say(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def say(text: str) -> None:
    """Print at once, so that a long run can be watched."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
