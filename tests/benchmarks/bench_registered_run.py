"""What registration is worth to a whole run: one specimen on a steady and on an unsteady stage, scored by its truth.

    python -m tests.benchmarks.bench_registered_run --cache DIR [--seeds 61 62] [--slices N] [--json FILE]

The unsteady stage drifts and shakes as domain.md says, and the field is found again elsewhere after restarts. Shipped
networks; scores are those of `fibsem-nuclei evaluate`, which looks at every voxel where it lay in its slice. What lies
in DIR is not computed again, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).parent / "fibsem-nuclei"
UNSTEADY = ("drift", "jitter", "restart")
RUNS = (
    ("steady stage", (), "none"),
    ("unsteady, as it came", UNSTEADY, "none"),
    ("unsteady, translation", UNSTEADY, "translation"),
    ("unsteady, affine", UNSTEADY, "affine"),
)
COLUMNS = ("macro F1", "complex", "found", "split", "merged", "counts exact", "Dice of chromosomes", "Rand error")


def told(*words: object) -> None:
    """Run `fibsem-nuclei`; what it prints is left out unless it fails."""
    ended = subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{ended.stdout}\n{ended.stderr}")


def scored(cache: Path, seed: int, slices: int | None, artefacts: tuple[str, ...], model: str) -> dict[str, Any]:
    """Simulate, run and score one row, or read what an earlier call left."""
    stage = "unsteady" if artefacts else "steady"
    specimen, out = cache / f"{seed}-{stage}", cache / f"{seed}-{stage}-{model}"
    scores = out / "scores.json"
    if not scores.exists():
        if not (specimen / "done").exists():
            count = () if slices is None else ("--slices", slices)
            words = (word for artefact in artefacts for word in ("--artefact", artefact))
            told("simulate", specimen, "--seed", seed, *count, *words)
            (specimen / "done").touch()
        told("run", specimen / "slices", "--out", out, "--registration", model)
        told("evaluate", out, specimen / "truth", "--json", scores)
    found: dict[str, Any] = json.loads(scores.read_text())
    return found


def shown(value: float | None) -> str:
    """Return a figure as the table has it; without whole nuclei there are none of chromosomes."""
    return "" if value is None else f"{value:.3g}"


def row(found: dict[str, Any]) -> tuple[float | None, ...]:
    """Return what the table shows: classes of all voxels, and nuclei and chromosomes of whole nuclei."""
    nuclei, chromosomes = found["nuclei"], found["chromosomes"]
    return (
        found["f1_macro"],
        found["classes"]["synaptonemal_complex"]["f1"],
        nuclei["found"],
        nuclei["split"],
        nuclei["merged"],
        chromosomes["count_exact_fraction"],
        chromosomes["dice"],
        chromosomes["adapted_rand_error"],
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for slices and runs, about 1 GB a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[61, 62])
    parser.add_argument("--slices", type=int, default=None, help="default: enough for the nuclei")
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    options = parser.parse_args()
    figures: dict[str, dict[str, tuple[float | None, ...]]] = {}
    print("| seed | run | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 2) + "|", flush=True)
    for seed in options.seeds:
        for name, artefacts, model in RUNS:
            values = row(scored(options.cache, seed, options.slices, artefacts, model))
            figures.setdefault(str(seed), {})[name] = values
            print(f"| {seed} | {name} | " + " | ".join(map(shown, values)) + " |", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"columns": COLUMNS, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
