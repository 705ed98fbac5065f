"""Chromosomes of phantom nuclei in which everything touches: method by method, gap by gap, from truth and prediction.

    python tests/benchmarks/bench_separation.py --cache DIR [--seeds 41 42 43] [--predictions] [--methods NAME ...]

Nuclei (16 nm, contact gap 0, seeds that no network was trained on) are simulated once, segmented once by the shipped
networks where predictions are asked for, and kept in DIR; the same command goes on where it stopped. Gaps of 100 to
800 nm are cut into every synaptonemal complex; every bivalent keeps a piece. Prints a row per nucleus, then the means:
adapted Rand error (ARE), variation of information, matched Dice, panoptic quality (PQ) over the true chromosome voxels,
the share of nuclei with the exact number, seconds, and the largest peak of memory that one separation added to the
process. The plain watershed on the distance to nucleoplasm is there to compare with.
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
GAPS = (0.0, 0.2, 0.4)
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


def cases(cache: Path, seed: int, *, predictions: bool) -> Iterator[tuple[str, Volume]]:
    """Yield the label volumes of a nucleus: truth with gaps, and what the networks see."""
    truth = truth_of(cache, seed)
    for gap in GAPS:
        yield f"SC gap {100 * gap:.0f} %", with_gaps(truth["classes"], truth["bivalents"], gap, seed)
    if predictions:
        yield "prediction", predicted(cache, seed)


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
    classes = dict(cases(cache, seed, predictions=case == "prediction"))[case]
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


def main() -> None:
    """Measure each label volume in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[41, 42, 43, 44, 45, 46])
    parser.add_argument("--methods", nargs="+", default=[*METHODS, PLAIN])
    parser.add_argument("--predictions", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("SEED", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    if options.one:
        for row in measure(options.cache, int(options.one[0]), options.one[1], options.methods):
            print(json.dumps(row), flush=True)
        return
    names = [f"SC gap {100 * gap:.0f} %" for gap in GAPS] + ["prediction"] * options.predictions
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
