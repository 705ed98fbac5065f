"""Whether the computer keeps up with the microscope, and how long the disk lasts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class PaceValueError(ValueError):
    """A time or a size below 0."""


@dataclass(frozen=True)
class StageLoad:
    """What a stage costs.

    Attributes
    ----------
    name
        Which stage.
    seconds_per_slice
        Its time for everything that follows from one slice.
    real_time_factor
        The microscope's time for a slice in units of that: above 1 it keeps up. None where the period is unknown.
    """

    name: str
    seconds_per_slice: float
    real_time_factor: float | None


@dataclass(frozen=True)
class PaceForecast:
    """How the computer stands against the microscope.

    Attributes
    ----------
    stages
        By cost, the slowest first.
    period_s
        The microscope's time for a slice; None while nobody knows it.
    seconds_per_slice
        The computer's, all stages together.
    backlog_s
        Work that waits, at that speed.
    keeps_up
        Whether slices are worked on as fast as they come; None while the period is unknown.
    done_after_s
        From the last slice, `slices_to_go` from now, to the end of the work; None while the period is unknown.
    """

    stages: tuple[StageLoad, ...]
    period_s: float | None
    seconds_per_slice: float
    backlog_s: float
    keeps_up: bool | None
    done_after_s: float | None


@dataclass(frozen=True)
class DiskForecast:
    """How long the disk lasts.

    Attributes
    ----------
    free_bytes, bytes_per_slice
        What is free, and what a slice has taken so far.
    slices, seconds
        How many slices fit, and how long these take; None where nothing is known to compare with.
    """

    free_bytes: int
    bytes_per_slice: float
    slices: int | None
    seconds: float | None


def forecast_pace(
    stage_seconds: Mapping[str, float],
    done: int,
    *,
    period_s: float | None,
    waiting: float = 0.0,
    slices_to_go: int = 0,
    at_once: Sequence[str] = (),
) -> PaceForecast:
    """Forecast whether the computer keeps up to the last slice.

    Parameters
    ----------
    stage_seconds
        Seconds per stage so far.
    done
        Slices that have gone through all of them.
    period_s
        The microscope's time for a slice, if known.
    waiting
        Slices that wait.
    slices_to_go
        Slices still to come.
    at_once
        Stages that work beside all others, whose times do not add to theirs.

    Examples
    --------
    >>> seconds = {"inference": 900.0, "extract-detect": 100.0}
    >>> pace = forecast_pace(seconds, 10, period_s=75.0, slices_to_go=60)
    >>> pace.keeps_up, [round(stage.real_time_factor, 2) for stage in pace.stages], pace.done_after_s
    (False, [0.83, 7.5], 1500.0)
    """
    if done < 0 or waiting < 0 or any(seconds < 0 for seconds in stage_seconds.values()):
        raise PaceValueError("times and numbers of slices are 0 or more")
    if done == 0:
        return PaceForecast((), period_s, 0.0, 0.0, None, None)
    costs = {name: seconds / done for name, seconds in stage_seconds.items()}
    stages = tuple(
        StageLoad(name, cost, period_s / cost if period_s and cost > 0 else None)
        for name, cost in sorted(costs.items(), key=lambda item: (-item[1], item[0]))
    )
    beside = max((costs[name] for name in at_once if name in costs), default=0.0)
    together = max(beside, math.fsum(cost for name, cost in costs.items() if name not in at_once))
    backlog_s = waiting * together
    if not period_s:
        return PaceForecast(stages, None, together, backlog_s, None, None)
    left_s = max(together, backlog_s + slices_to_go * (together - period_s))
    return PaceForecast(stages, period_s, together, backlog_s, together <= period_s, left_s)


def forecast_disk(free_bytes: int, used_bytes: int, done: int, period_s: float | None) -> DiskForecast:
    """Forecast when the disk is full.

    Examples
    --------
    >>> forecast_disk(free_bytes=10**9, used_bytes=10**8, done=50, period_s=75.0)
    DiskForecast(free_bytes=1000000000, bytes_per_slice=2000000.0, slices=500, seconds=37500.0)
    """
    if free_bytes < 0 or used_bytes < 0 or done < 0:
        raise PaceValueError("sizes and numbers of slices are 0 or more")
    per_slice = used_bytes / done if done else 0.0
    if per_slice <= 0:
        return DiskForecast(free_bytes, 0.0, None, None)
    slices = int(free_bytes / per_slice)
    return DiskForecast(free_bytes, per_slice, slices, slices * period_s if period_s else None)
