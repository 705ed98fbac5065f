"""Whether detection on a reduced image finds what detection at full resolution finds, and what is really there.

    python -m tests.benchmarks.bench_detection_agreement --cache DIR [--quick] [--json FILE]

Slices of 5000 x 2500 pixels at 4 nm. `recommended` searches them at 16 nm; the reference is the same method at 4 nm;
truth comes from the phantom. Two parts:

- stack: the 40 slices of `bench_catch_up` (with --quick every eighth), five whole nuclei and as many that the border
  cuts. Per slice, then per nucleus after following both stacks through z.
- depths: fields cut at several depths, poles included, with neighbours and with envelopes that touch. Into each are
  drawn, where there is cytoplasm, sperm (small, very dark, no envelope) and cells in division (dark chromosomes on a
  plate, no envelope): the phantom has none of its own, and neither is a nucleus to follow.

A match lies within 8 pixels of 4 nm. A whole section counts as missed when it is 5 % larger than the least area of the
profile, and is found when an outline shares three quarters of it (intersection over union).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from services.extract.contours import fill_polygon
from services.extract.detection import detect
from services.extract.events import Closed, Event, Opened
from services.extract.following import advance, finish
from services.extract.outlines import Outline
from services.extract.profiles import PROFILES
from services.extract.tracks import FollowerState, FollowingParams
from services.simulator.phantom import Phantom
from services.simulator.simulate import spec_for
from tests.benchmarks.bench_catch_up import FIELD_YX_PX, VOXEL_NM, backlog, field_of
from tests.benchmarks.bench_detection import one_channel

Grey = npt.NDArray[np.uint8]
Truth = npt.NDArray[np.uint16]

PROFILE = PROFILES["recommended"]
REFERENCE = dataclasses.replace(PROFILE, name="reference", search_voxel_nm=VOXEL_NM)
VOXEL = (VOXEL_NM, VOXEL_NM)
NEAR_PX = 8.0
GOAL = 0.98
DEPTH_NM = 6700.0
_COARSE = 8
DEPTHS = (0.5, 0.3, 0.72, 0.2)


@dataclasses.dataclass
class Tally:
    """Counts over slices.

    Attributes
    ----------
    slices
        How many.
    reference, own, shared
        Outlines of the reference, of the reduced image, and pairs of them within 8 pixels.
    worst_px
        Greatest distance between the centroids of a pair.
    whole, found
        Whole sections of truth that must be found, and those that were.
    false
        Outlines where no nucleus is.
    unequal
        Slices in which fewer than 98 % of either side have a partner.
    """

    slices: int = 0
    reference: int = 0
    own: int = 0
    shared: int = 0
    worst_px: float = 0.0
    whole: int = 0
    found: int = 0
    false: int = 0
    unequal: int = 0

    def compare(self, own: Sequence[Outline], reference: Sequence[Outline]) -> None:
        """Pair the outlines of a slice."""
        distances = [min((_apart(outline, other) for other in own), default=np.inf) for outline in reference]
        pairs = [distance for distance in distances if distance <= NEAR_PX]
        self.slices += 1
        self.reference += len(reference)
        self.own += len(own)
        self.shared += len(pairs)
        self.worst_px = max([self.worst_px, *pairs])
        self.unequal += len(pairs) < GOAL * max(len(own), len(reference))

    def judge(self, own: Sequence[Outline], truth: Truth) -> None:
        """Compare the outlines of a slice with what is there."""
        sizes = np.bincount(truth.ravel())
        edge = np.unique(np.concatenate([truth[0], truth[-1], truth[:, 0], truth[:, -1]]))
        least = 1.05 * PROFILE.min_area_um2 * 1e6 / VOXEL_NM**2
        due = {n for n in range(1, len(sizes)) if sizes[n] >= least and n not in edge}
        hits: Counter[int] = Counter()
        for outline in own:
            nucleus, agreement = _under(outline, truth, sizes)
            hits[nucleus] += agreement >= 0.75
            self.false += agreement < 0.5
        self.whole += len(due)
        self.found += sum(hits[nucleus] == 1 for nucleus in due)

    @property
    def good(self) -> bool:
        """Whether the goals are met: every slice at .98, every nucleus found, nothing else."""
        return self.unequal == 0 and self.found >= GOAL * self.whole and self.false == 0

    def line(self, name: str) -> str:
        """Return one row of the table."""
        recall, precision = self.shared / max(1, self.reference), self.shared / max(1, self.own)
        return (
            f"{name:22s} {self.slices:3d} slices; recall {recall:.3f} precision {precision:.3f} of {self.reference} "
            f"reference outlines, worst {self.worst_px:.1f} px, unequal slices {self.unequal}; "
            f"truth {self.found} of {self.whole} whole sections, {self.false} false"
        )


def _apart(first: Outline, second: Outline) -> float:
    return float(np.hypot(*np.subtract(first.centroid_yx_px, second.centroid_yx_px)))


def _under(outline: Outline, truth: Truth, sizes: npt.NDArray[np.int64]) -> tuple[int, float]:
    """Return the nucleus that most of an outline covers, and their intersection over union."""
    y0, x0, y1, x1 = outline.bbox_yx_px
    drawn = fill_polygon(outline.polygon_yx_px, (y0, x0), (y1 - y0, x1 - x0)) > 0
    shares = np.bincount(truth[y0:y1, x0:x1][drawn], minlength=len(sizes))
    shares[0] = 0
    nucleus = int(shares.argmax())
    shared = int(shares[nucleus])
    return nucleus, shared / (int(drawn.sum()) + int(sizes[nucleus]) - shared)


def with_other_cells(grey: Grey, truth: Truth, seed: int) -> tuple[Grey, int]:
    """Draw sperm and dividing cells where they touch neither nuclei nor one another nor the border; say how many."""
    rng = np.random.default_rng(seed)
    drawn = grey.astype(np.float32)
    free = cv2.resize((truth == 0).astype(np.uint8), None, fx=1 / _COARSE, fy=1 / _COARSE, interpolation=cv2.INTER_AREA)
    count = 0
    for turn in range(8):
        free[[0, -1]] = free[:, [0, -1]] = 0
        room = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5)
        y, x = (int(v) for v in np.unravel_index(int(room.argmax()), room.shape))
        size = min(0.9 * _COARSE * float(room[y, x]), 330.0)
        if size < 90:
            break
        draw = _draw_sperm if turn % 2 == 0 else _draw_division
        draw(drawn, (y * _COARSE, x * _COARSE), size, rng)
        cv2.circle(free, (x, y), math.ceil(size / _COARSE), 0, -1)
        count += 1
    return np.clip(drawn, 0, 255).astype(np.uint8), count


def _draw_sperm(drawn: npt.NDArray[np.float32], at: tuple[int, int], size: float, rng: np.random.Generator) -> None:
    """A dark, granular nucleus without an envelope in a lighter rim."""
    y, x = np.ogrid[: drawn.shape[0], : drawn.shape[1]]
    apart = np.hypot(y - at[0], x - at[1])
    rim, core = apart < size, apart < 0.6 * size
    drawn[rim] = 165 + rng.normal(0, 9, int(rim.sum()))
    drawn[core] = 85 + rng.normal(0, 11, int(core.sum()))


def _draw_division(drawn: npt.NDArray[np.float32], at: tuple[int, int], size: float, rng: np.random.Generator) -> None:
    """Chromosomes on a plate, dark in clear cytoplasm, no envelope."""
    y, x = np.ogrid[: drawn.shape[0], : drawn.shape[1]]
    clear = np.hypot(y - at[0], x - at[1]) < size
    drawn[clear] = 190 + rng.normal(0, 11, int(clear.sum()))
    turn = rng.uniform(0, np.pi)
    for place in np.linspace(-0.6, 0.6, 7):
        cy, cx = at[0] + place * size * np.sin(turn), at[1] + place * size * np.cos(turn)
        blob = np.hypot(y - cy, x - cx) < size * rng.uniform(0.1, 0.16)
        drawn[blob] = 140 + rng.normal(0, 9, int(blob.sum()))


def stack_part(cache: Path, step: int, tally: Tally) -> tuple[int, int]:
    """Compare both ways on a stack; return the nuclei that following makes of either."""
    phantom = Phantom(field_of(5, 40))
    stacks: tuple[list[Sequence[Outline]], list[Sequence[Outline]]] = ([], [])
    for z, path in enumerate(sorted(backlog(cache, 5, 40).glob("*.tif"))):
        if z % step:
            continue
        grey = one_channel(path)
        own, reference = detect(grey, PROFILE, VOXEL), detect(grey, REFERENCE, VOXEL)
        tally.compare(own, reference)
        tally.judge(own, phantom.truth(z).nuclei)
        stacks[0].append(own)
        stacks[1].append(reference)
        print(tally.line(f"stack, to slice {z}"), flush=True)
    return _followed(stacks[0], VOXEL_NM * step), _followed(stacks[1], VOXEL_NM * step)


def _followed(slices: Sequence[Sequence[Outline]], thickness_nm: float) -> int:
    """Return how many nuclei are followed through a stack, each from its first slice to its last."""
    params = FollowingParams(voxel_zyx_nm=(thickness_nm, VOXEL_NM, VOXEL_NM))
    state = FollowerState()
    events: list[Event] = []
    for z, outlines in enumerate(slices):
        state, new = advance(state, z, outlines, params)
        events += new
    events += finish(state, params)[1]
    assert sum(isinstance(event, Opened) for event in events) == sum(isinstance(event, Closed) for event in events)
    return sum(isinstance(event, Closed) for event in events)


def depth_slices(seeds: Sequence[int], depths: Sequence[float]) -> Iterator[tuple[str, Grey, Truth]]:
    """Yield slices with their truth: fields with neighbours, then with envelopes that touch."""
    count = round(DEPTH_NM / VOXEL_NM)
    for seed in seeds:
        for touching in (False, True):
            spec = dataclasses.replace(spec_for(seed, VOXEL_NM, 5, count), shape_yx_px=FIELD_YX_PX, touching=touching)
            phantom = Phantom(spec)
            for depth in depths:
                z = round(depth * count)
                yield "touching" if touching else "neighbours", phantom.slice(z), phantom.truth(z).nuclei


def depth_part(seeds: Sequence[int], depths: Sequence[float], tallies: dict[str, Tally]) -> int:
    """Compare both ways at several depths; return how many other cells were drawn."""
    others = 0
    for number, (name, grey, truth) in enumerate(depth_slices(seeds, depths)):
        drawn, count = with_other_cells(grey, truth, number)
        others += count
        tally = tallies.setdefault(name, Tally())
        own = detect(drawn, PROFILE, VOXEL)
        tally.compare(own, detect(drawn, REFERENCE, VOXEL))
        tally.judge(own, truth)
        print(tally.line(name), f"; {others} other cells drawn", flush=True)
    return others


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the slices, 1.5 GB")
    parser.add_argument("--quick", action="store_true", help="five slices of the stack, one of each kind of field")
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    tallies = {"stack": Tally()}
    own, reference = stack_part(options.cache, 8 if options.quick else 1, tallies["stack"])
    others = depth_part((41,) if options.quick else (41, 42, 43), DEPTHS[: 1 if options.quick else 4], tallies)
    print()
    for name, tally in tallies.items():
        print(tally.line(name))
    print(f"nuclei followed through the stack: {own}, by the reference {reference}; {others} other cells drawn")
    if options.json is not None:
        figures = {name: dataclasses.asdict(tally) for name, tally in tallies.items()}
        options.json.write_text(
            json.dumps({**figures, "followed": [own, reference], "others": others}, indent=2) + "\n"
        )
    sys.exit(own != reference or not all(tally.good for tally in tallies.values()))


if __name__ == "__main__":
    main()
