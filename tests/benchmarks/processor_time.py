"""Processor time of whole process groups: what a side costs, whatever else the machine does meanwhile."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def spent_s(groups: Collection[int]) -> dict[int, float]:
    """Return the processor time that the living processes of each group have spent, in seconds.

    Parameters
    ----------
    groups
        Process group ids; a server that runs in a session of its own has its process id for one.
    """
    spent = dict.fromkeys(groups, 0.0)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        group = int(fields[2])
        if group in spent:
            # Its own, and that of the children it has waited for.
            spent[group] += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return spent
