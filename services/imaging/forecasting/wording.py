"""Advice in plain words, and as JSON."""

from __future__ import annotations

from typing import Any

from services.imaging.forecasting.advising import SURE, Advice, OpenForecast, Stop
from services.imaging.forecasting.ends import EndForecast
from services.imaging.forecasting.pace import DiskForecast, PaceForecast

_TOWARDS = {"y": ("smaller y (up)", "greater y (down)"), "x": ("smaller x (left)", "greater x (right)")}
BORDERS = {"y_min": "top", "y_max": "bottom", "x_min": "left", "x_max": "right"}
_CHANCES = (0.05, 0.25, 0.5, 0.75, 0.95)


def spelled_duration(seconds: float) -> str:
    """Return a duration as an operator plans with it.

    Examples
    --------
    >>> spelled_duration(40), spelled_duration(4725), spelled_duration(400_000)
    ('1 min', '1 h 19 min', '4 d 15 h')
    """
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def percent(share: float) -> str:
    """Return a share as people read it.

    >>> percent(0.9)
    '90 %'
    """
    return f"{100 * share:.0f} %"


def counted(number: int, what: str) -> str:
    """Return a number and what it counts.

    Examples
    --------
    >>> counted(1, "slice"), counted(3, "slice"), counted(2, "nucleus")
    ('1 slice', '3 slices', '2 nuclei')
    """
    many = "nuclei" if what == "nucleus" else f"{what}s"
    return f"{number} {what if number == 1 else many}"


def sentences(
    advice: Advice,
    pace: PaceForecast | None = None,
    disk: DiskForecast | None = None,
    *,
    period_s: float | None = None,
    planned_last_z: int | None = None,
) -> list[str]:
    """Return what an operator should know, the recommendation first.

    Parameters
    ----------
    advice
        Of the nuclei.
    pace, disk
        Of the computer; left out where unknown.
    period_s
        The microscope's time for a slice; without it no times are told.
    planned_last_z
        Where the acquisition is set to end.
    """
    said = [_recommendation(advice, period_s), *_plan(advice, planned_last_z, period_s), *_losses(advice)]
    said += [_leaving(forecast, advice) for forecast in advice.open if forecast.worst_side]
    said += _shift(advice)
    said += _pace(pace) if pace else []
    said += _disk(disk) if disk else []
    return said


def _way(slices: int, period_s: float | None) -> str:
    time = f" ({spelled_duration(slices * period_s)} at {period_s:.0f} s)" if period_s else ""
    return f"{counted(slices, 'slice')}{time}"


def _recommendation(advice: Advice, period_s: float | None) -> str:
    if advice.until is None:
        seen = f"{counted(len(advice.complete), 'nucleus')} complete" if advice.complete else "no nucleus yet"
        return f"No nucleus is open that could still be completed: stopping now loses none ({seen})."
    slices = advice.slices_to(advice.until.z_nm)
    number = len(advice.open)
    of = "the open nucleus ends" if number == 1 else f"{advice.until.sure} of {number} open nuclei end"
    return f"Go on for {_way(slices, period_s)}: {of} by then with {percent(SURE)}."


def _plan(advice: Advice, planned_last_z: int | None, period_s: float | None) -> list[str]:
    if planned_last_z is None or not advice.open:
        return []
    z_nm = planned_last_z * advice.situation.voxel_zyx_nm[0]
    expected = sum(forecast.end.by(z_nm) for forecast in advice.open)
    late = [forecast for forecast in advice.open if forecast.end.by(z_nm) < SURE]
    said = f"It is set to end at z {planned_last_z}: {expected:.1f} of {len(advice.open)} open nuclei end by then"
    if not late:
        return [f"{said}."]
    more = max(advice.slices_to(f.end.quantile_nm(SURE)) for f in late) - advice.slices_to(z_nm)
    return [f"{said}; {_way(more, period_s)} more would complete all with {percent(SURE)}."]


def _losses(advice: Advice) -> list[str]:
    if not advice.open:
        return []
    now, last = advice.stops[0], advice.stops[-1]
    voxel_um3 = (
        advice.situation.voxel_zyx_nm[0] * advice.situation.voxel_zyx_nm[1] * advice.situation.voxel_zyx_nm[2] / 1e9
    )
    lost = f"{now.lost_um3:.0f} um3 ({now.lost_um3 / voxel_um3 / 1e6:.0f} million voxels) of nuclei that are cut"
    said = [f"Stopping now leaves {lost}; {len(advice.open) - now.expected:.1f} nuclei are not complete."]
    if advice.until is not None and last.z_nm > advice.until.z_nm + 1:
        slices = counted(advice.slices_to(last.z_nm), "slice")
        said.append(f"All {len(advice.open)} open ones end within {slices} with {percent(SURE)}.")
    return said


def _leaving(forecast: OpenForecast, advice: Advice) -> str:
    worst = forecast.worst_side
    assert worst is not None
    where = ""
    if worst.z_nm is not None:
        z = round(worst.z_nm / advice.situation.voxel_zyx_nm[0])
        where = f", near z {z}" if z > advice.situation.now_nm / advice.situation.voxel_zyx_nm[0] else ", now"
    return (
        f"{forecast.nucleus_id} is about to leave the field at the {BORDERS[worst.side]} "
        f"({percent(worst.chance)}{where}), "
        f"and ends near z {_z(forecast.end, 0.5, advice)}."
    )


def _shift(advice: Advice) -> list[str]:
    shift, said = advice.shift, []
    for axis, shift_nm in (("y", shift.y_nm), ("x", shift.x_nm)):
        if shift_nm:
            pixel_nm = advice.situation.voxel_zyx_nm[1 if axis == "y" else 2]
            said.append(
                f"Move the field {abs(shift_nm) / 1000:.2f} um ({abs(shift_nm) / pixel_nm:.0f} px) towards "
                f"{_TOWARDS[axis][shift_nm > 0]}: it keeps {', '.join(shift.keeps)}."
            )
    if shift.loses:
        said.append(f"No shift keeps {', '.join(shift.loses)} without losing another nucleus at the opposite side.")
    return said


def _brief(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def _pace(pace: PaceForecast) -> list[str]:
    if not pace.stages:
        return []
    said = f"The computer needs {_brief(pace.seconds_per_slice)} s for a slice"
    if pace.keeps_up is None or pace.period_s is None:
        return [f"{said}; the microscope's period is not known (--period-s)."]
    slow = pace.stages[0]
    factor = (
        "" if slow.real_time_factor is None else f" (slowest: {slow.name}, {slow.real_time_factor:.1f} x real time)"
    )
    if not pace.keeps_up:
        behind = spelled_duration(pace.done_after_s or 0.0)
        said = f"{said}, the microscope {pace.period_s:.0f} s{factor}"
        return [f"{said}: it does not keep up, and ends {behind} after the last slice."]
    behind = f"; {spelled_duration(pace.backlog_s)} of work wait" if pace.backlog_s > pace.period_s else ""
    return [f"{said}, the microscope {pace.period_s:.0f} s{factor}: it keeps up{behind}."]


def _disk(disk: DiskForecast) -> list[str]:
    if disk.slices is None:
        return [f"{disk.free_bytes / 1e9:.0f} GB of disk are free."]
    time = f" ({spelled_duration(disk.seconds)})" if disk.seconds else ""
    return [
        f"The disk has room for {counted(disk.slices, 'slice')}{time}: {disk.free_bytes / 1e9:.0f} GB free, "
        f"{_brief(disk.bytes_per_slice / 1e6)} MB a slice."
    ]


def _z(end: EndForecast, chance: float, advice: Advice) -> int:
    return round(end.quantile_nm(chance) / advice.situation.voxel_zyx_nm[0])


def as_json(advice: Advice) -> dict[str, Any]:
    """Return an advice as plain values: z in slices, lengths in nm."""
    return {
        "z": round(advice.situation.now_nm / advice.situation.voxel_zyx_nm[0]),
        "complete": list(advice.complete),
        "cut": list(advice.cut),
        "open": [_nucleus(forecast, advice) for forecast in advice.open],
        "stops": [_stop(stop, advice) for stop in advice.stops],
        "until": None if advice.until is None else _stop(advice.until, advice),
        "shift": {
            "y_nm": round(advice.shift.y_nm),
            "x_nm": round(advice.shift.x_nm),
            "keeps": list(advice.shift.keeps),
            "loses": list(advice.shift.loses),
        },
    }


def _nucleus(forecast: OpenForecast, advice: Advice) -> dict[str, Any]:
    z_nm = advice.situation.voxel_zyx_nm[0]
    return {
        "nucleus_id": forecast.nucleus_id,
        "end_z": {f"{chance:.0%}": _z(forecast.end, chance, advice) for chance in _CHANCES},
        "middle_z": round(forecast.end.middle_z_nm / z_nm),
        "milled": round(forecast.end.volume_to_um3(advice.situation.now_nm) / forecast.end.size.volume_um3, 3),
        "leaves": [
            {
                "side": side.side,
                "chance": round(side.chance, 3),
                "z": None if side.z_nm is None else round(side.z_nm / z_nm),
                "room_nm": round(side.room_nm),
            }
            for side in forecast.sides
        ],
    }


def _stop(stop: Stop, advice: Advice) -> dict[str, Any]:
    return {
        "z": round(stop.z_nm / advice.situation.voxel_zyx_nm[0]),
        "slices": advice.slices_to(stop.z_nm),
        "expected": round(stop.expected, 2),
        "sure": stop.sure,
        "lost_um3": round(stop.lost_um3, 2),
    }
