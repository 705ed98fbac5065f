"""What an operator should know of the nuclei of a run: complete, open, cut; what stopping loses and going on gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.imaging.forecasting.ends import EndForecast, Lost, Section, forecast_end
from services.imaging.forecasting.field import (
    FIELD_SIDES,
    LIKELY,
    FieldShift,
    Place,
    SideForecast,
    forecast_field,
    shift_that_keeps,
)
from services.imaging.forecasting.sizes import GERM_LINE, NucleusSize, SizePrior, learned

SURE = 0.9
"""Chance with which a nucleus must have ended to be counted on."""
_OVER = 0.95


@dataclass(frozen=True)
class OpenSoFar:
    """What was seen of a nucleus that may still grow.

    Attributes
    ----------
    nucleus_id
        Which.
    sections, places
        Where it was found, a selection in order of depth.
    missed_to_nm
        Last depth at which it was looked for in vain since; None where it was found in the last slice.
    cut_by
        Sides that cut it: of the field, or `z_min`, the first slice.
    """

    nucleus_id: str
    sections: tuple[Section, ...]
    places: tuple[Place, ...]
    missed_to_nm: float | None = None
    cut_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClosedSoFar:
    """A nucleus that ended: its size, and the sides that cut it."""

    nucleus_id: str
    size: NucleusSize
    cut_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Situation:
    """All that is known of a run.

    Attributes
    ----------
    now_nm
        Depth of the last slice that nuclei were followed to.
    voxel_zyx_nm, field_yx_nm
        Size of a voxel and of a slice.
    open, closed
        Its nuclei.
    least_area_nm2
        Smallest section that detection finds.
    prior
        Sizes expected before any nucleus was complete.
    """

    now_nm: float
    voxel_zyx_nm: tuple[float, float, float]
    field_yx_nm: tuple[float, float]
    open: tuple[OpenSoFar, ...] = ()
    closed: tuple[ClosedSoFar, ...] = ()
    least_area_nm2: float = 4.8e6
    prior: SizePrior = field(default=GERM_LINE)


@dataclass(frozen=True)
class OpenForecast:
    """An open nucleus.

    Attributes
    ----------
    nucleus_id, cut_by
        Which, and what cuts it.
    end
        Where it ends.
    sides
        Whether it leaves the field; empty where it is cut already.
    """

    nucleus_id: str
    cut_by: tuple[str, ...]
    end: EndForecast
    sides: tuple[SideForecast, ...]

    @property
    def worst_side(self) -> SideForecast | None:
        """The side it is most likely to be cut by, where that is likely."""
        likely = [side for side in self.sides if side.chance >= LIKELY]
        return max(likely, key=lambda side: side.chance, default=None)


@dataclass(frozen=True)
class Stop:
    """What stopping at a depth would mean for the nuclei known now.

    Attributes
    ----------
    z_nm
        Depth.
    expected, sure
        Open whole nuclei that have ended by then: expected number, and number with 90 %.
    lost_um3
        Expected volume that would have been imaged of nuclei that are not complete.
    """

    z_nm: float
    expected: float
    sure: int
    lost_um3: float


@dataclass(frozen=True)
class Advice:
    """What is advised, and why.

    Attributes
    ----------
    situation
        What it is made of.
    complete, cut
        Nuclei seen whole, and nuclei that the first slice or the field's border cut.
    open
        Those that may be seen whole if the run goes on, in the order in which they are expected to end.
    stops
        Stopping now, and at every depth by which one more nucleus has ended with 90 %.
    until
        The stop that is advised; None where no open nucleus is known.
    shift
        How to move the field.
    """

    situation: Situation
    complete: tuple[str, ...]
    cut: tuple[str, ...]
    open: tuple[OpenForecast, ...]
    stops: tuple[Stop, ...]
    until: Stop | None
    shift: FieldShift

    def slices_to(self, z_nm: float) -> int:
        """Return the slices from now to a depth, rounded up."""
        return max(0, -int(-(z_nm - self.situation.now_nm) // self.situation.voxel_zyx_nm[0]))


def advise(situation: Situation) -> Advice:
    """Forecast every open nucleus and weigh stopping against going on.

    Advised is to go on until every nucleus more than half of which is milled has ended with 90 %; where none is that
    far, until every open one has. What begins meanwhile is not known and not counted.
    """
    whole = [closed for closed in situation.closed if not closed.cut_by]
    prior = learned(situation.prior, [closed.size for closed in whole])
    found = [_forecast(nucleus, situation, prior) for nucleus in situation.open]
    found.sort(key=lambda forecast: (forecast.end.quantile_nm(0.5), forecast.nucleus_id))
    uncut = [forecast for forecast in found if not forecast.cut_by]
    over = [forecast.nucleus_id for forecast in uncut if forecast.end.by(situation.now_nm) >= _OVER]
    still = tuple(forecast for forecast in uncut if forecast.nucleus_id not in over)
    cut = [nucleus.nucleus_id for nucleus in situation.closed if nucleus.cut_by]
    cut += [forecast.nucleus_id for forecast in found if forecast.cut_by]
    stops = _stops(still, situation.now_nm)
    return Advice(
        situation,
        tuple(sorted([*(nucleus.nucleus_id for nucleus in whole), *over])),
        tuple(sorted(cut)),
        still,
        stops,
        _until(still, stops, situation.now_nm),
        shift_that_keeps({forecast.nucleus_id: forecast.sides for forecast in still}),
    )


def _forecast(nucleus: OpenSoFar, situation: Situation, prior: SizePrior) -> OpenForecast:
    lost = None if nucleus.missed_to_nm is None else Lost(nucleus.missed_to_nm, situation.least_area_nm2)
    end = forecast_end(nucleus.sections, prior, lost)
    # What the field cuts already is not kept by a shift.
    is_cut = any(side in nucleus.cut_by for side in FIELD_SIDES)
    sides = () if is_cut or not nucleus.places else forecast_field(nucleus.places, end, situation.field_yx_nm)
    return OpenForecast(nucleus.nucleus_id, nucleus.cut_by, end, sides)


def _stops(found: Sequence[OpenForecast], now_nm: float) -> tuple[Stop, ...]:
    depths = {max(now_nm, forecast.end.quantile_nm(SURE)) for forecast in found}
    return tuple(_stop(found, depth) for depth in sorted({now_nm, *depths}))


def _stop(found: Sequence[OpenForecast], z_nm: float) -> Stop:
    chances = [forecast.end.by(z_nm) for forecast in found]
    lost = sum((1 - chance) * forecast.end.volume_to_um3(z_nm) for chance, forecast in zip(chances, found, strict=True))
    # Interpolation may fall short of the quantile by a rounding error.
    return Stop(z_nm, sum(chances), sum(chance >= SURE - 1e-9 for chance in chances), lost)


def _until(found: Sequence[OpenForecast], stops: Sequence[Stop], now_nm: float) -> Stop | None:
    if not found:
        return None
    late = [forecast for forecast in found if forecast.end.middle_z_nm <= now_nm] or list(found)
    z_nm = max(forecast.end.quantile_nm(SURE) for forecast in late)
    return next((stop for stop in stops if stop.z_nm >= z_nm - 1e-6), stops[-1])
