"""Processes whose clock is not that of this machine (libfaketime, from Debian's package `faketime`)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.system.servers.provision import require_tool

# Python 3.11 sleeps until a moment of the monotonic clock, from which libfaketime 0.9.10 takes the offset of the wall
# clock also where the monotonic clock is left alone: EINVAL. A wait for a duration is not touched.
SLEEP = """import select, time
def sleep(seconds):
    select.select([], [], [], max(0.0, seconds))
time.sleep = sleep
"""


def clock_ahead(seconds: float, folder: Path) -> dict[str, str]:
    """Return the variables by which a Python process sees a wall clock that is so far ahead; behind, if negative.

    Monotonic clocks stay: those of two machines differ in any case, and never jump. What the process imports at its
    start is written to `folder`.

    Raises
    ------
    ServerNotProvidedError
        If libfaketime is not installed.
    """
    faketime = require_tool("faketime", "apt-get install faketime")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(SLEEP)
    # The wrapper knows where its library lies.
    said = subprocess.run(
        [faketime, "-m", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, timeout=30, check=True
    )
    return {
        "LD_PRELOAD": said.stdout.strip(),
        "PYTHONPATH": str(folder),
        "FAKETIME": f"{seconds:+.0f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
