"""Processes whose clock is not that of this machine (libfaketime, from Debian's package `faketime`)."""

from __future__ import annotations

import subprocess

from tests.system.servers.provision import require_tool


def clock_ahead(seconds: float) -> dict[str, str]:
    """Return the variables by which a process sees a wall clock that is so far ahead; behind, if negative.

    Monotonic clocks stay: those of two machines differ in any case, and never jump.

    Raises
    ------
    ServerNotProvidedError
        If libfaketime is not installed.
    """
    faketime = require_tool("faketime", "apt-get install faketime")
    # The wrapper knows where its library lies.
    said = subprocess.run(
        [faketime, "-m", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, timeout=30, check=True
    )
    return {
        "LD_PRELOAD": said.stdout.strip(),
        "FAKETIME": f"{seconds:+.0f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
