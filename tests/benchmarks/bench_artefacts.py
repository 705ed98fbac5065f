"""F1 that each imaging artefact costs, end to end, on a phantom that no network was trained on.

    python tests/benchmarks/bench_artefacts.py [--seed 6] [--keep DIR]

Every row simulates the same nucleus with one artefact more, runs the whole pipeline on it and scores the result. Rare
faults of whole slices are ten times as frequent as usual, or none would strike in one nucleus; the last row has
everything at its usual strength. With --keep, rows already there are not computed again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.simulator.artefacts import ARTEFACT_NAMES, Artefacts  # noqa: E402
from services.simulator.phantom import Phantom  # noqa: E402
from services.simulator.simulate import simulate, spec_for  # noqa: E402

COMMAND = Path(sys.executable).parent / "fibsem-nuclei"
VOXEL_NM = 16.0
RARE = ("missed", "repeated", "out_of_order", "half_written", "blank")
CLASSES = ("chromosome", "nucleolus", "synaptonemal_complex", "nuclear_membrane")


def rows() -> dict[str, tuple[str, ...]]:
    """Return the artefacts of every row; those that are on by default belong to the first."""
    usual = [name for name in ARTEFACT_NAMES if getattr(Artefacts(), name) == 0]
    single = {name: (f"{name}=10",) if name in RARE else (name,) for name in usual}
    return {"default": (), "brightness": ("brightness",), **single, "all": ("all",)}


def scored(folder: Path, seed: int, artefacts: tuple[str, ...]) -> dict[str, object]:
    """Simulate, run and evaluate; return the scores and how many faults of whole slices struck."""
    kept = folder.with_suffix(".json")
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    spec = spec_for(seed, VOXEL_NM, 1, artefacts=artefacts, in_a_row=True)
    simulate(folder / "sim", spec, period_s=None, progress=lambda *_: None, wait=lambda _: None)
    out, scores = folder / "out", folder / "scores.json"
    say("run", folder / "sim" / "slices", "--out", out)
    say("evaluate", "--truth", folder / "sim" / "truth", "--prediction", out, "--json", scores)
    books = json.loads(say("ledger", out, "--json"))
    result = {**json.loads(scores.read_text()), "faults": str(Phantom(spec).faults), "books": books}
    kept.write_text(json.dumps(result, indent=2))
    shutil.rmtree(folder)
    return result


def say(*arguments: str | Path) -> str:
    """Run a command to its end; its failure is this program's."""
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{arguments[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def line(name: str, scores: dict[str, object], base: dict[str, object]) -> str:
    """Return one row of the table: F1 and, in brackets, what is lost against the first row."""
    cells = []
    for label in CLASSES:
        f1, before = (float(side["classes"][label]["f1"]) for side in (scores, base))  # type: ignore[index]
        cells.append(f"{f1:.3f} ({before - f1:+.3f})")
    nuclei = scores["nuclei"]
    found = f"{nuclei['found']}/{nuclei['truth']}"  # type: ignore[index]
    return f"| {name} | {' | '.join(cells)} | {found} |"


def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--keep", type=Path, help="folder that keeps the scores of finished rows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        base: dict[str, object] | None = None
        print(f"| artefact | {' | '.join(label.replace('_', ' ') for label in CLASSES)} | whole nuclei found |")
        print("|---" * (len(CLASSES) + 2) + "|")
        for row, artefacts in rows().items():
            scores = scored(folder / row, options.seed, artefacts)
            base = base or scores
            label = row if row not in RARE else f"{row}, 10 times"
            print(line(label, scores, base), flush=True)


if __name__ == "__main__":
    main()
