"""Forecasts of where nuclei end, set against where they ended: calibration and error, on simulated acquisitions.

    python tests/benchmarks/bench_forecasts.py [--runs 40] [--first-seed 1000] [--plot FILE.png] [--json FILE.json]

Every run is a phantom of two sheets of nuclei laid out at 16 nm (no slice is painted: sections come from the geometry,
with the scatter that the detected outlines of the demo have, down to the smallest area that detection finds). Slices
are as thick as the simulated mill makes them, +-15 % each and +-10 % slowly, while forecasts know the nominal thickness
alone. Runs are cut every 20 slices; each nucleus that is open there is forecast from its sections so far, and from the
sizes of the nuclei complete by then. Two others forecast the same: the mean length of the complete nuclei (of the
nominal sphere while there is none), and a parabola through the areas (the same mean length while it opens upwards).

Prints, by how much of the nucleus was milled: forecasts, share of true ends inside the 50, 80 and 90 % intervals, mean
absolute error in slices of the median and of the two others. With --even every slice
has the nominal thickness. Seeds are those of no other measurement.

    python tests/benchmarks/bench_forecasts.py --field [--runs 20]

sets the chance of leaving the field against what happened: the stage drifts (up to 1 um and 1 nm a slice), nuclei lean
as the phantom's do, and at every cut the border is put 0 to 500 nm beyond what was seen so far, at each of the sides.
Prints, by the chance that was given: forecasts, how many were cut, and of those that were cut and warned of, how many
the advised shift would have kept, and by how much it was larger than needed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.imaging.forecasting.ends import EndForecast, Lost, Section, forecast_end  # noqa: E402
from services.imaging.forecasting.field import Place, forecast_field  # noqa: E402
from services.imaging.forecasting.sizes import GERM_LINE, NucleusSize, SizePrior, learned  # noqa: E402
from services.simulator.artefacts import Artefacts  # noqa: E402
from tests.support.simulated_nuclei import (  # noqa: E402
    LEAST_AREA_NM2,
    SimulatedNucleus,
    SimulatedRun,
    simulated_run,
)

EVERY = 20
CONFIRMED = 5
INTERVALS = (0.5, 0.8, 0.9)
STAGES = (("first quarter", 0.0, 0.25), ("second", 0.25, 0.5), ("third", 0.5, 0.75), ("last", 0.75, 1.0))
NOMINAL_NM = 2050.0


@dataclass(frozen=True)
class Forecast:
    """One forecast and what became of it; slices.

    Attributes
    ----------
    milled
        Part of the nucleus that was milled when it was made.
    known
        Nuclei complete by then.
    chance
        Chance that the forecast gave to an end at or before the true one.
    error, mean_error, parabola_error
        Forecast less truth: the median, and the two others.
    """

    milled: float
    known: int
    chance: float
    error: float
    mean_error: float
    parabola_error: float


def to_pole_nm(radius_nm: float = NOMINAL_NM) -> float:
    """Return how far behind the last section that is found a sphere ends."""
    return radius_nm - math.sqrt(radius_nm**2 - LEAST_AREA_NM2 / math.pi)


def forecasts(run: SimulatedRun) -> Iterator[Forecast]:
    """Yield every forecast of a run."""
    sizes: dict[int, NucleusSize] = {}
    lengths: dict[int, float] = {}
    for now in range(0, run.slices, EVERY):
        for number, nucleus in enumerate(run.nuclei):
            if number not in sizes and now > nucleus.pole_last:
                sections = _sections(nucleus, now, run.voxel_nm)
                sizes[number] = forecast_end(sections, GERM_LINE).size
                lengths[number] = (nucleus.z[-1] - nucleus.z[0]) + to_pole_nm() / run.voxel_nm
        prior = learned(GERM_LINE, list(sizes.values()))
        for nucleus in run.nuclei:
            if nucleus.z[0] + CONFIRMED <= now < nucleus.pole_last:
                yield _forecast(nucleus, now, run.voxel_nm, prior, list(lengths.values()))


def _sections(nucleus: SimulatedNucleus, now: int, voxel_nm: float) -> list[Section]:
    seen = nucleus.z <= now
    return [Section(z * voxel_nm, area) for z, area in zip(nucleus.z[seen], nucleus.area_nm2[seen], strict=True)]


def _forecast(nucleus: SimulatedNucleus, now: int, voxel_nm: float, prior: SizePrior, lengths: list[float]) -> Forecast:
    sections = _sections(nucleus, now, voxel_nm)
    lost = Lost(now * voxel_nm, LEAST_AREA_NM2) if now > nucleus.z[-1] else None
    end = forecast_end(sections, prior, lost)
    truth = nucleus.pole_last
    nominal = (2 * math.sqrt(NOMINAL_NM**2 - LEAST_AREA_NM2 / math.pi) + to_pole_nm()) / voxel_nm
    by_mean = float(nucleus.z[0] + (np.mean(lengths) if lengths else nominal))
    parabola = _parabola_end(sections, voxel_nm)
    return Forecast(
        milled=(now - nucleus.pole_first) / (truth - nucleus.pole_first),
        known=len(lengths),
        chance=end.by(truth * voxel_nm),
        error=end.quantile_nm(0.5) / voxel_nm - truth,
        mean_error=by_mean - truth,
        parabola_error=(by_mean if parabola is None else parabola) - truth,
    )


def _parabola_end(sections: list[Section], voxel_nm: float) -> float | None:
    z = np.array([section.z_nm for section in sections]) / voxel_nm
    area = np.array([section.area_nm2 for section in sections]) / 1e6
    c, b, a = np.polyfit(z, area, 2)
    inside = b**2 - 4 * a * c
    return None if c >= 0 or inside < 0 else float((-b - math.sqrt(inside)) / (2 * c))


def _row(name: str, found: list[Forecast]) -> dict[str, object]:
    chance = np.array([forecast.chance for forecast in found])
    inside = {f"{p:.0%}": float(np.mean(np.abs(chance - 0.5) <= p / 2)) for p in INTERVALS}
    errors = {
        "error": float(np.mean([abs(forecast.error) for forecast in found])),
        "mean_length": float(np.mean([abs(forecast.mean_error) for forecast in found])),
        "parabola": float(np.median([abs(forecast.parabola_error) for forecast in found])),
        "bias": float(np.mean([forecast.error for forecast in found])),
    }
    return {"milled": name, "forecasts": len(found)} | inside | errors


def table(found: list[Forecast]) -> list[dict[str, object]]:
    """Return the rows of the table."""
    rows = [
        _row(f"{name}, {known}", some)
        for name, low, high in STAGES
        for known, least, most in (("none complete", 0, 0), ("some complete", 1, 10**6))
        if (some := [f for f in found if low <= f.milled < high and least <= f.known <= most])
    ]
    return [*rows, _row("all", found)]


CHANCES = ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01))
FARTHEST_NM = 500.0
WIDE_NM = 1e5


@dataclass(frozen=True)
class Exit:
    """A forecast at one side: the chance given, how far it came out beyond the border, and the room advised."""

    chance: float
    beyond_nm: float
    room_nm: float


def exits(run: SimulatedRun, rng: np.random.Generator) -> Iterator[Exit]:
    """Yield every forecast of leaving the field of a run."""
    for now in range(0, run.slices, 2 * EVERY):
        for nucleus in run.nuclei:
            if nucleus.z[0] + CONFIRMED <= now < nucleus.z[-1] - CONFIRMED:
                end = forecast_end(_sections(nucleus, now, run.voxel_nm), GERM_LINE)
                for axis in (0, 1):
                    yield from _exits(nucleus, now, run.voxel_nm, end, axis, rng)


def _exits(
    nucleus: SimulatedNucleus, now: int, voxel_nm: float, end: EndForecast, axis: int, rng: np.random.Generator
) -> Iterator[Exit]:
    seen = nucleus.z <= now
    for sign, edge in ((-1, -nucleus.low_yx_nm[:, axis]), (1, nucleus.high_yx_nm[:, axis])):
        border = float(edge[seen].max() + rng.uniform(0, FARTHEST_NM))
        # All other borders are far away.
        offset_nm = np.full(2, WIDE_NM)
        if sign < 0:
            offset_nm[axis] = border
        low, high = nucleus.low_yx_nm[seen] + offset_nm, nucleus.high_yx_nm[seen] + offset_nm
        places = [
            Place(z * voxel_nm, (a[0], a[1]), (b[0], b[1])) for z, a, b in zip(nucleus.z[seen], low, high, strict=True)
        ]
        size = [3 * WIDE_NM, 3 * WIDE_NM]
        if sign > 0:
            size[axis] = border + WIDE_NM
        side = f"{'yx'[axis]}_{'min' if sign < 0 else 'max'}"
        (found,) = (one for one in forecast_field(places, end, (size[0], size[1])) if one.side == side)
        yield Exit(found.chance, float(edge[~seen].max()) - border, found.room_nm)


def field_table(found: list[Exit]) -> list[dict[str, object]]:
    """Return the rows of the second table."""
    rows: list[dict[str, object]] = []
    for low, high in CHANCES:
        some = [one for one in found if low <= one.chance < high]
        cut = [one for one in some if one.beyond_nm > 0]
        kept = [one for one in cut if -one.room_nm >= one.beyond_nm]
        more = [-one.room_nm - one.beyond_nm for one in kept]
        rows.append(
            {
                "chance": f"{low:.0%} to {min(1.0, high):.0%}",
                "forecasts": len(some),
                "cut": len(cut) / max(1, len(some)),
                "kept by the shift": len(kept) / max(1, len(cut)),
                "more than needed, nm": float(np.mean(more)) if more else 0.0,
            }
        )
    return rows


def plot(found: list[Forecast], path: Path) -> None:
    """Draw calibration, and error against what was milled."""
    import matplotlib as mpl  # noqa: PLC0415 - only who wants a picture

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    levels = np.linspace(0, 1, 41)
    for _, low, high in STAGES:
        chance = np.array([forecast.chance for forecast in found if low <= forecast.milled < high])
        left.plot(levels, [(chance <= level).mean() for level in levels], label=f"{low:.0%} to {high:.0%}")
    left.plot([0, 1], [0, 1], color="0.5", linewidth=1, linestyle=":")
    left.set(xlabel="chance that was given", ylabel="share that had ended", title="Calibration, by what was milled")
    left.legend(frameon=False)
    edges = np.linspace(0.05, 1.0, 20)
    middles = (edges[1:] + edges[:-1]) / 2
    for name, label in (("error", "forecast"), ("mean_error", "mean length"), ("parabola_error", "parabola")):
        errors = [
            np.median([abs(getattr(f, name)) for f in found if low <= f.milled < high])
            for low, high in itertools.pairwise(edges)
        ]
        right.plot(middles, errors, label=label, marker="o", markersize=3)
    right.set(xlabel="part of the nucleus milled", ylabel="median error, slices of 16 nm", title="Error", ylim=(0, 40))
    right.legend(frameon=False)
    figure.savefig(path, dpi=100)


def _print(rows: list[dict[str, object]]) -> None:
    print(" | ".join(rows[0]))
    for row in rows:
        print(" | ".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--field", action="store_true")
    parser.add_argument("--even", action="store_true")
    wanted = parser.parse_args()
    if wanted.field:
        drifting = Artefacts(thickness=1.0, drift=1.0)
        leaving = [
            one
            for seed in range(wanted.first_seed, wanted.first_seed + wanted.runs)
            for one in exits(simulated_run(seed, artefacts=drifting), np.random.default_rng(seed))
        ]
        _print(field_table(leaving))
        return
    found: list[Forecast] = []
    for seed in range(wanted.first_seed, wanted.first_seed + wanted.runs):
        found += forecasts(simulated_run(seed, artefacts=Artefacts(thickness=0.0 if wanted.even else 1.0)))
    rows = table(found)
    _print(rows)
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=1) + "\n")
    if wanted.plot:
        plot(found, wanted.plot)


if __name__ == "__main__":
    main()
