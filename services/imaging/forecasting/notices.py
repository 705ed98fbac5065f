"""What changes in the advice, said once: what is complete, cut, about to leave the field, and where a nucleus ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from services.imaging.forecasting.advising import Advice, OpenForecast
from services.imaging.forecasting.field import LIKELY
from services.imaging.forecasting.wording import BORDERS

WARNED_FROM = 0.5
"""Chance of leaving the field from which it is said; taken back once it falls below `LIKELY`."""
_RANGE = (0.05, 0.95)


class NoticeKind(StrEnum):
    """What is said of a nucleus."""

    END_FORECAST = "end_forecast"
    LEAVES_FIELD = "leaves_field"
    STAYS_IN_FIELD = "stays_in_field"
    CUT = "cut"
    COMPLETE = "complete"


@dataclass(frozen=True)
class Notice:
    """Something that an operator should hear once.

    Attributes
    ----------
    z
        Slice up to which nuclei had been followed when it was said.
    kind, nucleus_id
        What is said, and of which nucleus.
    text
        In words.
    end_z
        Slices between which the nucleus ends with 90 %, and the one most likely; for `END_FORECAST`.
    """

    z: int
    kind: NoticeKind
    nucleus_id: str
    text: str
    end_z: tuple[int, int, int] | None = None


def notices(advice: Advice, said: Iterable[Notice]) -> list[Notice]:
    """Return what the advice says that was not said before, by nucleus.

    Of each nucleus: where it ends, once its middle has been milled; that it is about to leave the field, when that
    becomes likelier than not, and that it stays after all; that it is complete or cut.

    Parameters
    ----------
    advice
        What is known now.
    said
        Every notice so far, in order.
    """
    z_nm = advice.situation.voxel_zyx_nm[0]
    now = round(advice.situation.now_nm / z_nm)
    latest: dict[str, NoticeKind] = {}
    forecast_before: set[str] = set()
    for notice in said:
        if notice.kind is NoticeKind.END_FORECAST:
            forecast_before.add(notice.nucleus_id)
        else:
            latest[notice.nucleus_id] = notice.kind
    found = [
        _end(forecast, now, z_nm)
        for forecast in advice.open
        if forecast.nucleus_id not in forecast_before and forecast.end.middle_z_nm <= advice.situation.now_nm
    ]
    found += [one for forecast in advice.open if (one := _at_border(forecast, now, latest.get(forecast.nucleus_id)))]
    over = {NoticeKind.COMPLETE: advice.complete, NoticeKind.CUT: advice.cut}
    found += [
        Notice(now, kind, nucleus_id, f"{nucleus_id} is {kind.value}.")
        for kind, nuclei in over.items()
        for nucleus_id in nuclei
        if latest.get(nucleus_id) is not kind
    ]
    return sorted(found, key=lambda notice: (notice.nucleus_id, notice.kind))


def _end(forecast: OpenForecast, now: int, z_nm: float) -> Notice:
    first, last = (round(forecast.end.quantile_nm(chance) / z_nm) for chance in _RANGE)
    likely = round(forecast.end.quantile_nm(0.5) / z_nm)
    text = f"{forecast.nucleus_id} is half milled and ends near z {likely} (z {first} to {last} with 90 %)."
    return Notice(now, NoticeKind.END_FORECAST, forecast.nucleus_id, text, (first, likely, last))


def _at_border(forecast: OpenForecast, now: int, latest: NoticeKind | None) -> Notice | None:
    worst = max(forecast.sides, key=lambda side: side.chance, default=None)
    if worst is None:
        return None
    name = forecast.nucleus_id
    if worst.chance >= WARNED_FROM and latest is not NoticeKind.LEAVES_FIELD:
        text = f"{name} is about to leave the field at the {BORDERS[worst.side]} ({100 * worst.chance:.0f} %)."
        return Notice(now, NoticeKind.LEAVES_FIELD, name, text)
    if worst.chance < LIKELY and latest is NoticeKind.LEAVES_FIELD:
        return Notice(now, NoticeKind.STAYS_IN_FIELD, name, f"{name} stays in the field after all.")
    return None
