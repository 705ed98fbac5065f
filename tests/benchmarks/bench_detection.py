"""How fast one slice of 5000 x 2500 pixels at 4 nm is read and searched for nuclei, against plain OpenCV.

    python -m tests.benchmarks.bench_detection --cache DIR [--slices 3] [--json FILE]

The slices are those of `bench_catch_up` (made on the first call: RGB, uncompressed, 37.5 MB each). Each is read and
searched in turn by either side, on one thread, so that both meet the same machine; what is printed is processor time.

- decode: one channel by this program, against `cv2.imread`; the same pixels.
- manuscript: the profile `manuscript`, against the manuscript's chain written out below in plain OpenCV, with its
  Gaussian window of 627 pixels; the same outlines, point by point.
- recommended: the profile `recommended`, against that same chain. Which of them is right is another question:
  `detection_agreement` compares them with the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from services.extract.detection import detect
from services.extract.outlines import Outline, make_outline
from services.extract.profiles import PROFILES
from services.imaging.tiff import read_page
from tests.benchmarks.bench_catch_up import VOXEL_NM, backlog

Grey = npt.NDArray[np.uint8]
Plain = TypeVar("Plain")
Own = TypeVar("Own")

WINDOW_PX = 627
GOALS = {"decode": 10.0, "manuscript": 3.0, "recommended": 12.0}
VOXEL = (VOXEL_NM, VOXEL_NM)


def plain_chain(grey: Grey) -> list[npt.NDArray[np.int32]]:
    """The manuscript's chain, every number in pixels of 4 nm: the contours of nuclei, (n, 1, 2), (x, y)."""
    blurred = cv2.GaussianBlur(grey, (11, 11), 2.0)
    bright = cv2.adaptiveThreshold(blurred, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, WINDOW_PX, 7.0)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    edges = cv2.morphologyEx(bright, cv2.MORPH_GRADIENT, ellipse)
    found, _ = cv2.findContours(edges, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    contours = [np.asarray(contour, np.int32) for contour in found]
    return [contour for contour in contours if _is_elliptical(contour)]


def _is_elliptical(contour: npt.NDArray[np.int32]) -> bool:
    if not 300_000 < cv2.contourArea(contour) < 800_000:
        return False
    return len(cv2.approxPolyDP(contour, 0.01 * cv2.arcLength(contour, closed=True), closed=True)) > 8


def as_outlines(contours: list[npt.NDArray[np.int32]], shape: tuple[int, ...]) -> tuple[Outline, ...]:
    """Measure contours, and order them as detection does."""
    field = (shape[0], shape[1])
    found = [make_outline(np.ascontiguousarray(points.reshape(-1, 2)[:, ::-1]), field) for points in contours]
    return tuple(sorted(found, key=lambda outline: (outline.centroid_yx_px, outline.area_px)))


def one_channel(path: Path) -> Grey:
    """Read a slice as this program does."""
    with path.open("rb") as file:
        return read_page(file, 0, 0).astype(np.uint8, copy=False)


def by_opencv(path: Path) -> Grey:
    """Read a slice with OpenCV and take one channel of it, not even copied."""
    colours = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert colours is not None
    return np.asarray(colours[..., 0], np.uint8)


class Turns:
    """Processor seconds of two sides that take turns."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in GOALS}

    def take(self, name: str, plain: Callable[[], Plain], own: Callable[[], Own]) -> tuple[Plain, Own]:
        """Let both sides do their part."""
        first_s, theirs = _timed(plain)
        second_s, ours = _timed(own)
        self.seconds[name].append((first_s, second_s))
        return theirs, ours

    def medians(self, name: str) -> tuple[float, float, float]:
        """Return the median seconds of either side, and of the ratios."""
        turns = self.seconds[name]
        plain, own = (statistics.median(side) for side in zip(*turns, strict=True))
        return plain, own, statistics.median(theirs / ours for theirs, ours in turns)


def _timed(work: Callable[[], Own]) -> tuple[float, Own]:
    began_s = time.process_time()
    result = work()
    return time.process_time() - began_s, result


def measured(paths: list[Path]) -> Turns:
    """Let both sides read and search every slice; fail where they should agree and do not."""
    turns = Turns()
    for path in paths:
        for _ in range(5):
            theirs, grey = turns.take("decode", partial(by_opencv, path), partial(one_channel, path))
            assert (theirs == grey).all(), f"{path.name}: other pixels"
        own = partial(detect, grey, PROFILES["manuscript"], VOXEL)
        contours, printed = turns.take("manuscript", partial(plain_chain, grey), own)
        assert as_outlines(contours, grey.shape) == printed, f"{path.name}: other outlines"
        plain_s = turns.seconds["manuscript"][-1][0]
        for _ in range(3):
            own_s, found = _timed(partial(detect, grey, PROFILES["recommended"], VOXEL))
            turns.seconds["recommended"].append((plain_s, own_s))
        print(f"{path.name}: {len(contours)} contours of the chain, {len(found)} nuclei; {plain_s:.2f} s", flush=True)
    return turns


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the slices, 1.5 GB")
    parser.add_argument("--slices", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    every = sorted(backlog(options.cache, 5, 40).glob("*.tif"))
    paths = every[:: max(1, len(every) // options.slices)][: options.slices]
    first = one_channel(paths[0])
    for name in ("manuscript", "recommended"):
        detect(first, PROFILES[name], VOXEL)  # compiled and probed before the first turn
    turns = measured(paths)
    shape = f"{first.shape[1]} x {first.shape[0]} pixels, window of {WINDOW_PX} pixels, one thread"
    print(f"{shape}; load {os.getloadavg()[0]:.1f}; medians of processor time:")
    missed = False
    for name, goal in GOALS.items():
        plain_s, own_s, ratio = turns.medians(name)
        missed |= ratio < goal
        print(
            f"  {name:12s} plain OpenCV {1e3 * plain_s:7.1f} ms, ours {1e3 * own_s:6.1f} ms: "
            f"{ratio:.1f} times (goal {goal:.0f})"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(turns.seconds, indent=2) + "\n")
    sys.exit(missed)


if __name__ == "__main__":
    main()
