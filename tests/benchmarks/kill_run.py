"""`fibsem-nuclei run`, killed with SIGKILL at random moments, then left to finish: is the manifest the same?

    python tests/benchmarks/kill_run.py [--kills 20] [--slices 140] [--seed 5]

Prints when each kill struck and what it left, and fails unless the results equal those of an undisturbed run, both
ledgers close and nothing was dead-lettered.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "fibsem-nuclei"


def run(slices: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start the command."""
    log = (out.parent / f"{out.name}.log").open("ab")
    return subprocess.Popen([COMMAND, "run", slices, "--out", out], stdout=log, stderr=log, cwd=ROOT)


def said(*arguments: str | Path) -> str:
    """Return what a command prints."""
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def main() -> None:
    """Kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--slices", type=int, default=140)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said("simulate", folder / "sim", "--seed", "41", "--nuclei", "1", "--slices", str(options.slices))
        slices = folder / "sim" / "slices"
        started = time.monotonic()
        if run(slices, folder / "undisturbed").wait() != 0:
            sys.exit((folder / "undisturbed.log").read_text())
        undisturbed_s = time.monotonic() - started
        out = folder / "killed"
        kills = 0
        while kills < options.kills:
            process = run(slices, out)
            try:
                code = process.wait(timeout=moments.uniform(0.1, 0.8) * undisturbed_s)
                if code != 0:
                    sys.exit((folder / "killed.log").read_text())
                print(f"the run ended before kill {kills + 1}; the next one starts a new run")
                # Kill points early in a run count as much as late ones.
                (out / "MANIFEST.sha256").rename(folder / f"manifest{kills}")
                subprocess.run(["/bin/rm", "-rf", out], check=True)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                progress = out / ".state" / "status.json"
                line = json.loads(progress.read_text())["line"] if progress.exists() else "nothing yet"
                print(f"kill {kills:2d}: {line}", flush=True)
        if run(slices, out).wait() != 0:
            sys.exit((folder / "killed.log").read_text())
        manifests = [*folder.glob("manifest*"), out / "MANIFEST.sha256"]
        expected = (folder / "undisturbed" / "MANIFEST.sha256").read_text()
        equal = all(manifest.read_text() == expected for manifest in manifests)
        books = json.loads(said("ledger", out, "--json"))
        letters = json.loads(said("dead-letters", "list", out, "--json"))
        open_books = [name for name, book in books.items() if book["unaccounted"]]
        print(f"{kills} kills; manifest equal: {equal}; ledgers closed: {not open_books}; dead letters: {len(letters)}")
        if not equal or open_books or letters:
            sys.exit(1)


if __name__ == "__main__":
    main()
