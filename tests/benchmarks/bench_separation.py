"""Chromosomes of phantom nuclei in which everything touches: method by method, gap by gap, from truth and prediction.

    python tests/benchmarks/bench_separation.py --cache DIR [--seeds 41 42 43] [--predictions] [--methods NAME ...]

Nuclei (16 nm, contact gap 0, seeds that no network was trained on) are simulated once, segmented once by the shipped
networks where predictions are asked for, and kept in DIR; the same command goes on where it stopped. Gaps of 100 to
800 nm are cut into every synaptonemal complex; every bivalent keeps a piece. Prints a row per nucleus, then the means:
adapted Rand error (ARE), variation of information, matched Dice, panoptic quality (PQ) over the true chromosome voxels,
the share of nuclei with the exact number, seconds, and the largest peak of memory that one separation added to the
process. The plain watershed on the distance to nucleoplasm is there to compare with.

    python tests/benchmarks/bench_separation.py --cache DIR --count [--json FILE] [--seeds ...] [--methods path_cover]

counts whole nuclei instead, with the number given and estimated. A nucleus is exact where there are as many chromosomes
as in truth, and every true one overlaps one of them with an IoU above .5 over all of its voxels. FILE keeps the rows;
the same command goes on where it stopped. How sure the chromosomes were is set against how many were right.

Parameters were chosen on seeds 41 to 43 and 51 to 56; all others are unseen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import feature as skimage_feature

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.components.separation import METHODS, Nucleus, separate, target_of  # noqa: E402
from services.components.separation.flooding import distance_to, watershed  # noqa: E402
from services.evaluation.metrics import (  # noqa: E402
    adapted_rand_error,
    count_pairs,
    matched_dice,
    panoptic_quality,
    variation_of_information,
)
from services.imaging.labelling import LabelTables  # noqa: E402
from tests.support.separation_cases import VOXEL_NM, phantom_nucleus, tables_of, with_gaps  # noqa: E402

Volume = NDArray[np.uint8]
VOXEL = (VOXEL_NM,) * 3
CASES = {f"SC gap {100 * gap:.0f} %": gap for gap in (0.0, 0.2, 0.4)}
PREDICTION = "prediction"
feature: Any = skimage_feature
PLAIN = "plain_watershed"
COLUMNS = ("are", "vi_split", "vi_merge", "dice", "pq", "exact", "seconds", "added_mb")


def truth_of(cache: Path, seed: int) -> dict[str, Volume]:
    """Return the truth, grey and mask of a nucleus, simulated if it is not kept."""
    path = cache / f"truth-{seed}.npz"
    if not path.exists():
        found = phantom_nucleus(seed)
        volumes = {name: getattr(found, name) for name in ("classes", "bivalents", "homologs", "grey", "mask")}
        np.savez_compressed(path.with_suffix(".part.npz"), **volumes, stat=np.array([found.mean, found.sd]))
        path.with_suffix(".part.npz").replace(path)
    with np.load(path) as kept:
        return {name: kept[name] for name in kept.files}


def predicted(cache: Path, seed: int) -> Volume:
    """Return the classes that the shipped networks see in a nucleus, masked a little wider than it is."""
    path = cache / f"pred-{seed}.npy"
    if not path.exists():
        from services.cli.options import SHIPPED_MODELS  # noqa: PLC0415 - torch is only needed for predictions
        from services.runtime.segmenter.in_process import InProcessSegmenter  # noqa: PLC0415
        from services.runtime.segmenter.port import Normalisation  # noqa: PLC0415

        truth = truth_of(cache, seed)
        normalisation = Normalisation(*truth["stat"].tolist())
        with InProcessSegmenter(SHIPPED_MODELS, threads=1) as segmenter:
            classes = np.stack([segmenter.segment([p], normalisation)[0].classes_yx for p in truth["grey"]])
        for plane, mask in zip(classes, truth["mask"], strict=True):
            plane[~ndimage.binary_dilation(mask, iterations=4)] = 0
        np.save(path.with_suffix(".part.npy"), classes)
        path.with_suffix(".part.npy").replace(path)
    kept: Volume = np.load(path)
    return kept


def plain(classes: Volume) -> Volume:
    """Watershed on the distance to what is no chromatin, from its peaks 160 nm apart: the usual recipe."""
    mask = np.pad(np.isin(classes, (2, 4))[1:-1, 1:-1, 1:-1], 1)
    depth = distance_to(~mask, VOXEL)
    peaks = feature.peak_local_max(depth, min_distance=10, threshold_abs=60.0, exclude_border=False)[:255]
    markers = np.zeros(mask.shape, np.uint8)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-depth, markers, mask)


def separated(method: str, tables: LabelTables, classes: Volume, count: int) -> tuple[Volume, int]:
    """Return a chromosome number per voxel, and how many chromosomes there are."""
    if method == PLAIN:
        labels = plain(classes)
        return labels, int(labels.max())
    found = separate(tables, Nucleus(VOXEL), target_of(count), method)
    labels = np.zeros(classes.shape, np.uint8)
    for z, (y, x), plane in found.planes():
        labels[z, y : y + plane.shape[0], x : x + plane.shape[1]] = plane
    return labels, len(found.chromosomes)


def classes_of(cache: Path, seed: int, case: str) -> Volume:
    """Return the label volume of a nucleus: truth with gaps, or what the networks see."""
    if case == PREDICTION:
        return predicted(cache, seed)
    truth = truth_of(cache, seed)
    return with_gaps(truth["classes"], truth["bivalents"], CASES[case], seed)


def memory_mb(name: str) -> float:
    """Return a figure of /proc/self/status, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def restarted_peak_mb() -> float:
    """Forget the peak of this process's memory so far; return what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory_mb("VmRSS")


def measure(cache: Path, seed: int, case: str, methods: list[str]) -> Iterator[dict[str, object]]:
    """Yield a row per method and target for one label volume; nothing else is alive meanwhile."""
    truth = truth_of(cache, seed)
    classes = classes_of(cache, seed, case)
    inside = truth["classes"] == 2
    true_labels = {6: truth["bivalents"][inside], 12: truth["homologs"][inside]}
    del truth
    tables = tables_of(classes, VOXEL)
    separated(
        methods[0], tables_of(np.pad(np.full((3, 9, 9), 4, np.uint8), 3), VOXEL), np.zeros((9, 15, 15), np.uint8), 1
    )
    for method in methods:
        for count in (6, 12):
            before_mb = restarted_peak_mb()
            started = time.perf_counter()
            labels, found = separated(method, tables, classes, count)
            seconds = time.perf_counter() - started
            added_mb = memory_mb("VmHWM") - before_mb
            pairs = count_pairs(true_labels[count][true_labels[count] > 0], labels[inside][true_labels[count] > 0])
            split, merge = variation_of_information(pairs)
            yield {
                "seed": seed, "case": case, "method": method, "target": count, "found": found,
                "are": adapted_rand_error(pairs), "vi_split": split, "vi_merge": merge, "dice": matched_dice(pairs),
                "pq": panoptic_quality(pairs), "exact": float(found == count), "seconds": seconds, "added_mb": added_mb,
            }  # fmt: skip


def overlaps(truth: Volume, found: Volume) -> NDArray[np.float64]:
    """Return the IoU of every true chromosome (row) with every found one (column)."""
    rows, columns = int(truth.max()) + 1, int(found.max()) + 1
    keys = truth.ravel().astype(np.int64) * columns + found.ravel()
    pairs = np.bincount(keys, minlength=rows * columns).reshape(rows, columns)
    shared = pairs[1:, 1:]
    union = pairs.sum(axis=1)[1:, None] + pairs.sum(axis=0)[None, 1:] - shared
    return np.asarray(shared / np.maximum(union, 1))


def counted(cache: Path, seed: int, case: str, method: str) -> Iterator[dict[str, Any]]:
    """Yield whether bivalents and homologs of one label volume are exact, with the number given and estimated."""
    truth = truth_of(cache, seed)
    classes = classes_of(cache, seed, case)
    tables = tables_of(classes, VOXEL)
    bivalents = np.where(np.isin(truth["classes"], (2, 4)), truth["bivalents"], 0)
    homologs = np.where(truth["classes"] == 2, truth["homologs"], 0)
    for given in (True, False):
        found = separate(tables, Nucleus(VOXEL, part=not given), target_of(12), method)
        sure = {c.bivalent: c.confidence for c in found.chromosomes}
        for count, true, grid in ((6, bivalents, found.bodies), (12, homologs, found.labels)):
            iou = overlaps(true, on_canvas(grid, found.field.origin_zyx, true.shape))
            matched = int(np.count_nonzero(iou.max(axis=1, initial=0.0) > 0.5))
            yield {
                "seed": seed, "case": case, "method": method, "given": given, "target": count, "found": iou.shape[1],
                "matched": matched, "exact": matched == count == iou.shape[1],
                "confidence": [sure.get(1 + n) for n in range(iou.shape[1])] if count == 6 else [],
                "right": np.asarray((iou > 0.5).any(axis=0)).tolist(),
            }  # fmt: skip


def on_canvas(grid: Volume, origin_zyx: tuple[int, int, int], shape: tuple[int, ...]) -> Volume:
    """Return a grid of the separation, of voxels as large as those of the canvas, on the canvas."""
    canvas = np.zeros(shape, np.uint8)
    low = [max(0, first) for first in origin_zyx]
    high = [min(edge, first + size) for edge, first, size in zip(shape, origin_zyx, grid.shape, strict=True)]
    inner = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin_zyx, strict=True))
    canvas[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = grid[inner]
    return canvas


def count_all(options: argparse.Namespace, names: list[str]) -> None:
    """Count every label volume that FILE has no rows of, then print the shares and how sure is sure."""
    file: Path = options.json or options.cache / "count.jsonl"
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {(row["seed"], row["case"], row["method"]) for row in rows}
    for seed, case, method in itertools.product(options.seeds, names, options.methods):
        if (seed, case, method) not in known:
            fresh = list(counted(options.cache, seed, case, method))
            rows += fresh
            with file.open("a") as stream:
                stream.writelines(f"{json.dumps(row)}\n" for row in fresh)
            told = ", ".join(f"{row['found']} of {row['target']}{'' if row['exact'] else ' WRONG'}" for row in fresh)
            print(f"{seed} {case:10s} {method:18s} given {told} estimated (last two)", flush=True)
    mine = [row for row in rows if row["seed"] in options.seeds and row["method"] in options.methods]
    for method, case, target, given in itertools.product(options.methods, names, (6, 12), (True, False)):
        key = (method, case, target, given)
        exact = [row["exact"] for row in mine if (row["method"], row["case"], row["target"], row["given"]) == key]
        if exact:
            low, high = wilson(sum(exact), len(exact))
            name = f"{method:18s}{case:12s}{target:>3d} {'given' if given else 'estimated':9s}"
            print(f"{name} {sum(exact):>3d} of {len(exact)} (95 %: {low:.2f} to {high:.2f})")
    for given in (True, False):
        print_reliability([row for row in mine if row["given"] is given and row["target"] == 6], given=given)


def wilson(right: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927).

    >>> [round(x, 3) for x in wilson(20, 20)]
    [0.839, 1.0]
    """
    z2 = 1.96**2
    middle = (right + z2 / 2) / (of + z2)
    half = (right * (of - right) / of + z2 / 4) ** 0.5 * 1.96 / (of + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def print_reliability(rows: list[dict[str, Any]], *, given: bool) -> None:
    """Print how many of the bivalents that were so sure were right, and the Brier score beside the base rate's."""
    pairs = [pair for row in rows for pair in zip(row["confidence"], row["right"], strict=True) if pair[0] is not None]
    if not pairs:
        return
    sure, right = np.array(pairs, float).T
    base = right.mean()
    brier, chance = ((sure - right) ** 2).mean(), base * (1 - base)
    print(f"\nconfidence, number {'given' if given else 'estimated'}: {right.size} bivalents, {base:.3f} right;"
          f" Brier score {brier:.4f}, of the base rate {chance:.4f}")  # fmt: skip
    for low, high in itertools.pairwise((0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0)):
        here = (sure > low) & (sure <= high) if low else sure <= high
        if here.any():
            least, most = wilson(int(right[here].sum()), int(here.sum()))
            print(f"  {low:.2f} to {high:.2f}: {here.sum():>4d}, told {sure[here].mean():.3f},"
                  f" right {right[here].mean():.3f} (95 %: {least:.2f} to {most:.2f})")  # fmt: skip


def main() -> None:
    """Measure each label volume in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[41, 42, 43, 44, 45, 46])
    parser.add_argument("--methods", nargs="+", default=[*METHODS, PLAIN])
    parser.add_argument("--predictions", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("SEED", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    if options.one:
        for row in measure(options.cache, int(options.one[0]), options.one[1], options.methods):
            print(json.dumps(row), flush=True)
        return
    names = [*CASES, *[PREDICTION] * options.predictions]
    if options.count:
        count_all(options, names)
        return
    rows = [row for seed in options.seeds for case in names for row in of_its_own(options, seed, case)]
    print_means(rows, names, options.methods)


def of_its_own(options: argparse.Namespace, seed: int, case: str) -> list[dict[str, object]]:
    """Measure one label volume in a process of its own; print and return its rows."""
    command = [sys.executable, __file__, "--cache", str(options.cache), "--one", str(seed), case]
    command += ["--methods", *options.methods]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    rows: list[dict[str, object]] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for row in rows:
        name = f"{row['seed']} {row['case']:10s} {row['method']:18s} {row['target']:>2}"
        print(f"{name} found {row['found']:>3}, ARE {row['are']:.4f}", flush=True)
    return rows


def print_means(rows: list[dict[str, object]], names: list[str], methods: list[str]) -> None:
    """Print the mean over nuclei by case, method and target; of memory the largest."""
    print(f"\n{'case':12s}{'method':19s}{'target':>6s} " + " ".join(f"{name:>9s}" for name in COLUMNS))
    for case, method, target in itertools.product(names, methods, (6, 12)):
        mine = [r for r in rows if (r["case"], r["method"], r["target"]) == (case, method, target)]
        values = np.array([[r[name] for name in COLUMNS] for r in mine], float)
        shown = [*values[:, :-1].mean(axis=0), values[:, -1].max()]
        print(f"{case:12s}{method:19s}{target:>6d} " + " ".join(f"{value:9.3f}" for value in shown))


if __name__ == "__main__":
    main()
