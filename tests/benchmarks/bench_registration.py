"""Registration beside its maintained peers: residuals on data with known truth, and time, both sides in turn.

Run it as ``python -m tests.benchmarks.bench_registration PART [--data FOLDER] [--slices N] [--pictures FOLDER]``:

``fib25``     real FIB-SEM, moved by known shifts: drift 2 nm a slice, jitter 40 nm, a jump of 800 nm; scale jitter 1 %
``phantom``   simulated slices of 16 nm, drawn by an unsteady stage: drift, jitter, a jump of 800 nm, 1 % scale
``tube``      a tube that leans through tissue that does not: its slope after registration
``large``     time of a slice of 5000 x 2500 pixels
``vnc``       real serial sections: correlation of neighbours before and after; no truth

Peers (``pip install pystackreg``; scikit-image and OpenCV are there) register each slice with the one before it, as
their users do; ours runs as in a stream. All get the same planes of at most 0.42 megapixels. Residuals are pixels of
the slices as they are given, rms over the slices after the rule that is printed: a constant and a mean slope are not
counted, since stage drift and leaning tissue look alike. Times are processor time of one thread a slice, all together.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from pystackreg import StackReg
from skimage.registration import phase_cross_correlation

from services.imaging.registration.affine import IDENTITY, Affine
from services.imaging.registration.pairs import Registrable, register_pair
from services.imaging.registration.planes import reduced, reduction_of
from services.imaging.registration.solution import refined, ruled
from services.imaging.registration.stream import RegistrationParams, registered_all
from services.simulator.phantom import Phantom
from services.simulator.simulate import spec_for

Stack = npt.NDArray[np.uint8]
PAGE_PX = 1000
Pair = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint8]], Affine]
DELAY = 4


@dataclass(frozen=True)
class Registered:
    """Places of slices, counted from their middles, and processor seconds per slice."""

    places: list[Affine]
    seconds: float


Method = Callable[[Stack], Registered]
Window = tuple[slice, slice]


def _of_matrix(matrix: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Affine:
    """Return the map of a matrix in (x, y) of pixels, as one that counts from the middle."""
    (xx, xy, x), (yx, yy, y) = (tuple(float(v) for v in row) for row in np.asarray(matrix)[:2])
    corner = Affine(yy, yx, xy, xx, y, x)
    return corner.about((-(shape[0] - 1) / 2, -(shape[1] - 1) / 2))


def ecc(motion: int) -> Pair:
    """Return OpenCV's enhanced correlation coefficient (Evangelidis and Psarakis 2008)."""

    def pair(fixed: Stack, moving: Stack) -> Affine:
        matrix: npt.NDArray[np.floating] = np.eye(2, 3, dtype=np.float32)
        everywhere = np.full(fixed.shape, 255, np.uint8)
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-5)
        try:
            matrix = np.asarray(cv2.findTransformECC(fixed, moving, matrix, motion, stop, everywhere, 5)[1])
        except cv2.error:
            return IDENTITY
        return _of_matrix(np.asarray(matrix, np.float64), fixed.shape).inverse()

    return pair


def stackreg(mode: str) -> Pair:
    """Return pystackreg (Thevenaz et al. 1998)."""

    def pair(fixed: Stack, moving: Stack) -> Affine:
        matrix = StackReg(getattr(StackReg, mode)).register(fixed, moving)
        return _of_matrix(matrix, fixed.shape).inverse()

    return pair


def phase(fixed: Stack, moving: Stack) -> Affine:
    """Register by phase correlation of scikit-image, to a fiftieth of a pixel (Guizar-Sicairos 2008)."""
    y, x = phase_cross_correlation(fixed, moving, upsample_factor=50)[0]  # type: ignore[no-untyped-call]
    return Affine(shift_y=float(y), shift_x=float(x))


def ours(planes: Stack, model: str, trend: str, *, whole_run: bool = False) -> Registered:
    """Register as a stream does, or by all slices at once besides."""
    began = time.process_time()
    params = RegistrationParams(model, trend, DELAY)  # type: ignore[arg-type]
    found, links = registered_all({z: Registrable(plane) for z, plane in enumerate(planes)}, params)
    places = {z: one.final for z, one in found.items()}
    if whole_run:
        lever_px = math.hypot(*((size - 1) / 2 for size in planes.shape[1:]))
        places = ruled(refined({z: one.first for z, one in found.items()}, links, lever_px), params)
    return Registered([places[z] for z in range(len(planes))], (time.process_time() - began) / len(planes))


def chained(planes: Stack, pair: Pair) -> Registered:
    """Register each slice with the one before it."""
    began, places = time.process_time(), [IDENTITY]
    for fixed, moving in pairwise(planes):
        places.append(places[-1].after(pair(fixed, moving)))
    return Registered(places, (time.process_time() - began) / len(planes))


def methods() -> Iterator[tuple[str, Method]]:
    """Yield what is compared; ours three times among the others, so that a busy machine meets all alike."""
    yield "ours, translation", lambda planes: ours(planes, "translation", "zero")
    yield "phase correlation (scikit-image)", lambda planes: chained(planes, phase)
    yield "ECC (OpenCV), translation", lambda planes: chained(planes, ecc(cv2.MOTION_TRANSLATION))
    yield "ours, rigid", lambda planes: ours(planes, "rigid", "zero")
    yield "pystackreg, translation", lambda planes: chained(planes, stackreg("TRANSLATION"))
    yield "pystackreg, rigid", lambda planes: chained(planes, stackreg("RIGID_BODY"))
    yield "ours, affine", lambda planes: ours(planes, "affine", "zero")
    yield "ours, affine, refined", lambda planes: ours(planes, "affine", "zero", whole_run=True)
    yield "ECC (OpenCV), affine", lambda planes: chained(planes, ecc(cv2.MOTION_AFFINE))
    yield "pystackreg, affine", lambda planes: chained(planes, stackreg("AFFINE"))


def grid(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return 5 x 5 points over a slice, counted from its middle."""
    y, x = ((size - 1) / 2 for size in shape)
    return np.array([(a, b) for a in np.linspace(-y, y, 5) for b in np.linspace(-x, x, 5)])


def residual_px(off: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return rms of what is off, (z, points, 2), without constant and mean slope; over the middle, over all points."""
    z = np.arange(len(off)) - (len(off) - 1) / 2
    slope = np.tensordot(z, off, (0, 0)) / (z @ z)
    left = off - off.mean(axis=0) - z[:, None, None] * slope
    middle = left.mean(axis=1)
    return float(np.sqrt((middle**2).sum(axis=1).mean())), float(np.sqrt((left**2).sum(axis=2).mean()))


def applied(planes: Stack, places: list[Affine]) -> Stack:
    """Return slices where their places put them."""
    middle = ((planes.shape[1] - 1) / 2, (planes.shape[2] - 1) / 2)
    moved = []
    for plane, place in zip(planes, places, strict=True):
        back = place.about(middle).inverse()
        matrix = np.array([[back.xx, back.xy, back.shift_x], [back.yx, back.yy, back.shift_y]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        moved.append(cv2.warpAffine(plane, matrix, plane.shape[::-1], flags=flags, borderValue=0))
    return np.array(moved)


def neighbour_ncc(planes: Stack, places: list[Affine]) -> float:
    """Return the mean correlation of neighbours under places, where both are, without resampling the earlier one."""
    found = []
    for k in range(1, len(planes)):
        between = places[k - 1].inverse().after(places[k])
        there = applied(planes[k : k + 1], [between])[0]
        holds = applied(np.full_like(planes[k : k + 1], 255), [between])[0] == 255
        holds[:8], holds[-8:], holds[:, :8], holds[:, -8:] = False, False, False, False
        found.append(np.corrcoef(planes[k - 1][holds], there[holds])[0, 1])
    return float(np.mean(found))


def unsteady(n: int, pixel_nm: float, seed: int, stretch: float) -> list[Affine]:
    """Return places of an unsteady stage: drift 2 nm a slice, jitter 40 nm, one jump of 800 nm, and scale jitter."""
    rng = np.random.default_rng(seed)
    shift = np.outer(np.arange(n), (1.6, -1.2)) + rng.normal(0, 40, (n, 2))
    shift[n // 2 :] += (500.0, -624.0)
    shift = (shift - shift[0]) / pixel_nm
    scale = 1 + stretch * rng.uniform(-1, 1, n)
    scale[0] = 1
    return [Affine(float(s), 0.0, 0.0, float(s), float(y), float(x)) for s, (y, x) in zip(scale, shift, strict=True)]


def fib25(data: Path, slices: int) -> None:
    """Move real slices by known maps; compare with the same method on the slices as they were."""
    for name in ("sample2_raw_z000-149", "sample1_raw_z000-099_unlabelled"):
        whole = tifffile.imread(data / "fib25" / f"{name}.tif")[:slices]
        for stretch in (0.0, 0.01):
            truth = unsteady(len(whole), 10.0, 1, stretch)
            window = _window(whole.shape, truth)
            moved = shown(whole, truth, window)
            print(f"\n{name}, scale jitter {100 * stretch:.0f} %: {moved.shape} at 10 nm")
            compare(moved, truth, partial(own_motion, whole=whole, window=window, truth=truth))


def shown(whole: Stack, truth: list[Affine], window: Window) -> Stack:
    """Return what a stage shows of slices: pixel p of the window is tissue at place(p), and all of it is tissue."""
    y, x = ((size - 1) / 2 for size in whole.shape[1:])
    off = (_middle(window)[0] - y, _middle(window)[1] - x)
    moved = applied(whole, [place.about(off).inverse() for place in truth])
    return np.ascontiguousarray(moved[:, *window])


def _window(shape: tuple[int, ...], truth: list[Affine]) -> Window:
    """Return the largest field whose slices show tissue alone, wherever the stage stands."""
    shifts = np.array([(place.shift_y, place.shift_x) for place in truth])
    # What is stretched reaches further, and cubic interpolation by two pixels more.
    room = [math.ceil(max(place.distortion for place in truth) * size / 2) + 2 for size in shape[1:]]
    low, high = -np.floor(shifts.min(axis=0)) + room, np.ceil(shifts.max(axis=0)) + room
    y, x = (slice(int(a), int(size - b)) for a, b, size in zip(low, high, shape[1:], strict=True))
    return y, x


def _middle(window: Window) -> tuple[float, float]:
    y, x = ((part.start + part.stop - 1) / 2 for part in window)
    return y, x


def own_motion(method: Method, whole: Stack, window: Window, truth: list[Affine]) -> list[Affine]:
    """Return what a method sees moving in slices as they were, over the tissue that is in view when they are moved.

    Tissue that is in view before the jump, tissue behind it, and between the two slices beside it what both show: other
    tissue moves otherwise from slice to slice, which is no error of a method.
    """
    jump = len(whole) // 2
    by = round(truth[jump].shift_y), round(truth[jump].shift_x)
    behind = tuple(slice(part.start + d, part.stop + d) for part, d in zip(window, by, strict=True))
    behind = tuple(
        slice(max(0, part.start), min(size, part.stop)) for part, size in zip(behind, whole.shape[1:], strict=True)
    )
    both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(window, behind, strict=True))
    middle = _middle(window)

    def seen(part: Window, first: int, stop: int) -> list[Affine]:
        places = method(np.ascontiguousarray(whole[first:stop, *part])).places
        off = (_middle(part)[0] - middle[0], _middle(part)[1] - middle[1])
        return [places[0].inverse().after(place).about(off) for place in places]

    before = seen(window, 0, jump)
    across = before[-1].after(seen((both[0], both[1]), jump - 1, jump + 1)[1])
    return before + [across.after(step) for step in seen((behind[0], behind[1]), jump, len(whole))]


def _places_of(planes: Stack, method: Method) -> list[Affine]:
    return method(planes).places


def compare(moved: Stack, truth: list[Affine], own: Callable[[Method], list[Affine]]) -> None:
    """Print a row for every method; `own` is what it sees moving where no stage moved, which is no error of it."""
    points = grid(moved.shape[1:])
    print(f"neighbour NCC raw {neighbour_ncc(moved, [IDENTITY] * len(moved)):.3f}, by the truth "
          f"{neighbour_ncc(moved, truth):.3f}")  # fmt: skip
    for name, method in methods():
        found = method(moved)
        target = [mine.after(place) for mine, place in zip(own(method), truth, strict=True)]
        off = np.array([a.points(points) - b.points(points) for a, b in zip(found.places, target, strict=True)])
        middle, everywhere = residual_px(off)
        ncc = neighbour_ncc(moved, found.places)
        print(f"{name:34} residual {middle:7.3f} px middle {everywhere:7.3f} px field   NCC {ncc:.3f}   "
              f"{1000 * found.seconds:7.1f} ms a slice")  # fmt: skip


def phantom_stack(slices: int, stretch: float) -> tuple[Stack, Stack, list[Affine]]:
    """Return slices of an unsteady stage, those of a steady one, and the places of the former."""
    steady = Phantom(spec_for(7, slices=400, artefacts=["thickness=1"]))
    middle = range(170, 170 + slices)
    places = unsteady(slices, 16.0, 3, stretch)
    dy, dx, scale = (steady.stage.dy_nm.copy(), steady.stage.dx_nm.copy(), steady.stage.scale.copy())
    for z, place in zip(middle, places, strict=True):
        dy[z], dx[z], scale[z] = 16 * place.shift_y, 16 * place.shift_x, place.yy
    still = np.stack([steady.slice(z) for z in middle])
    steady.stage = dataclasses.replace(steady.stage, dy_nm=dy, dx_nm=dx, scale=scale)
    # What was drawn for the stage before is no longer right.
    steady._last = None
    return np.stack([steady.slice(z) for z in middle]), still, places


def phantom(slices: int, pictures: Path | None) -> None:
    """Register what an unsteady stage shows of the phantom."""
    for stretch in (0.0, 0.01):
        moved, still, places = phantom_stack(slices, stretch)
        print(f"\nphantom, scale jitter {100 * stretch:.0f} %: {moved.shape} at 16 nm; NCC of a steady stage "
              f"{neighbour_ncc(still, [IDENTITY] * len(still)):.3f}")  # fmt: skip
        compare(moved, places, partial(_places_of, still))
        if pictures is not None and not stretch:
            section(pictures / "phantom.png", moved, ours(moved, "affine", "zero").places)


def tube(slices: int) -> None:
    """Let a tube lean through tissue that stands still; print the slope that is left of it."""
    shape, slope = (320, 400), 0.4
    rng = np.random.default_rng(8)
    wide = cv2.GaussianBlur(rng.normal(0, 1, (shape[0] + 160, shape[1] + 160)), (0, 0), 2.0)
    inner = cv2.GaussianBlur(rng.normal(0, 1, (400, 60)), (0, 0), 2.0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    planes, truth = [], unsteady(slices, 16.0, 5, 0.0)
    for z, place in enumerate(truth):
        centre = 120 + slope * z
        far = np.abs(x + place.shift_x - centre)
        rows = np.asarray(y + place.shift_y, np.float32)
        columns = np.asarray(x + place.shift_x, np.float32)
        beside = np.asarray(columns - centre, np.float32)
        grey = cv2.remap(wide.astype(np.float32), columns + 80, rows + 80, cv2.INTER_CUBIC)
        own = cv2.remap(inner.astype(np.float32), beside + 30, rows + 40, cv2.INTER_CUBIC)
        grey = np.where(far < 24, own, grey) / 0.14 * 20 + np.where(np.abs(far - 24) < 2, -40, 0) + 150
        planes.append(np.clip(grey + rng.normal(0, 6, shape), 0, 255).astype(np.uint8))
    stack = np.array(planes)
    print(f"\ntube over {48 / shape[1]:.0%} of the field, leaning by {slope} px a slice, {slices} slices")
    for name, method in methods():
        found = method(stack).places
        # Where the middle of the tube lies after registration.
        middle = (shape[1] - 1) / 2
        at = [
            place.point((0.0, 120 + slope * z - t.shift_x - middle))[1]
            for z, (place, t) in enumerate(zip(found, truth, strict=True))
        ]
        # A stage drift is known here, so that all of the slope that is found is the tube's.
        left = np.polyfit(np.arange(slices), at, 1)[0]
        print(f"{name:34} slope {left:.4f} px a slice: {100 * (left / slope - 1):+.1f} %")


def large() -> None:
    """Time a slice of 12.5 megapixels: reduced, and registered with four earlier ones."""
    rng = np.random.default_rng(0)
    wide = np.zeros((5100, 2600), np.float32)
    for size in (3, 9, 30):
        layer = cv2.GaussianBlur(rng.normal(0, 1, wide.shape).astype(np.float32), (0, 0), size)
        wide += layer / layer.std()
    shifts = [(50, 50), (47, 55), (60, 41), (52, 48), (38, 57), (250 - 200, 44)]
    slices = [
        np.clip(150 + 20 * wide[y : y + 5000, x : x + 2500] + rng.normal(0, 8, (5000, 2500)), 0, 255).astype(np.uint8)
        for y, x in shifts
    ]
    factor = reduction_of(slices[0].shape)
    for model in ("translation", "affine"):
        past = [Registrable(reduced(one, factor)) for one in slices[:4]]
        for one in past:
            one.pyramid.level(0).points  # noqa: B018 - what an earlier slice has computed already
        began = time.process_time()
        new = Registrable(reduced(slices[4], factor))
        # The hardest case: nothing is known of where the slice lies on any of the four.
        fits = [register_pair(one, new, model) for one in past]
        used, began = time.process_time() - began, time.process_time()
        _ = new.features.found
        features = time.process_time() - began
        assert fits[-1] is not None
        place = fits[-1][0].to_fixed.magnified(factor)
        off = np.hypot(place.shift_y - shifts[4][0] + shifts[3][0], place.shift_x - shifts[4][1] + shifts[3][1])
        print(f"5000 x 2500, {model}: reduced by {factor}, four links {used:.2f} s of one core; SIFT, where needed, "
              f"{features:.2f} s; off by {off:.2f} px")  # fmt: skip


def vnc(data: Path, pictures: Path | None) -> None:
    """Register real sections of 50 nm; nobody knows where they lay."""
    planes = tifffile.imread(data / "vnc" / "raw.tif")
    factor = reduction_of(planes.shape[1:])
    small = np.array([reduced(plane, factor) for plane in planes])
    print(
        f"\nvnc {planes.shape}, reduced by {factor}: "
        f"neighbour NCC raw {neighbour_ncc(small, [IDENTITY] * len(small)):.3f}"
    )
    for name, method in methods():
        found = method(small)
        print(f"{name:34} NCC {neighbour_ncc(small, found.places):.3f}   {1000 * found.seconds:7.1f} ms a slice")
    if pictures is not None:
        section(pictures / "vnc.png", small, ours(small, "affine", "zero").places, thick=6)


def section(path: Path, planes: Stack, places: list[Affine], thick: int = 1) -> None:
    """Draw a yz section before and after, one above the other."""
    column = planes.shape[2] // 2
    before, after = planes[:, :, column], applied(planes, places)[:, :, column]
    bar = np.full((6, planes.shape[1]), 255, np.uint8)
    drawn = np.vstack([np.repeat(before, thick, 0), bar, np.repeat(after, thick, 0)])
    # Pixels stay pixels: whole times as large, to about the width of a page.
    times = max(1, round(PAGE_PX / drawn.shape[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.repeat(np.repeat(drawn, times, 0), times, 1))


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("fib25", "phantom", "tube", "large", "vnc"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--pictures", type=Path, default=None)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    match asked.part:
        case "fib25":
            fib25(asked.data, asked.slices)
            if asked.pictures is not None:
                whole = tifffile.imread(asked.data / "fib25" / "sample2_raw_z000-149.tif")[: asked.slices]
                truth = unsteady(len(whole), 10.0, 1, 0.0)
                moved = shown(whole, truth, _window(whole.shape, truth))
                section(asked.pictures / "fib25.png", moved, ours(moved, "affine", "kept").places, thick=2)
        case "phantom":
            phantom(asked.slices, asked.pictures)
        case "tube":
            tube(asked.slices)
        case "large":
            large()
        case "vnc":
            vnc(asked.data, asked.pictures)


if __name__ == "__main__":
    main()
