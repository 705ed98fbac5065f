"""Forecasts of an end are distributions that hold what is known, and that narrow as more is seen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.imaging.forecasting.ends import EndForecast, Lost, NoSectionsError, Section, forecast_end
from services.imaging.forecasting.sizes import ANYTHING, GERM_LINE, NucleusSize, SizePrior, SizeValueError, learned

LEAST_NM2 = 4.8e6

heights = st.floats(1700.0, 2400.0)
radii = st.floats(1700.0, 2400.0)
middles = st.floats(-5000.0, 50_000.0)
seen_parts = st.floats(0.25, 0.9)


def sections(height: float, radius: float, middle: float, to: float, step: float = 64.0) -> list[Section]:
    """Sections of an ellipsoid from the first that is found to a part of its length."""
    last = middle + (2 * to - 1) * height
    found = []
    z = middle - height
    while z <= last:
        area = math.pi * radius**2 * (1 - ((z - middle) / height) ** 2)
        if area >= LEAST_NM2:
            found.append(Section(z, area))
        z += step
    return found


@settings(deadline=None, max_examples=25)
@given(heights, radii, middles, seen_parts)
def test_a_forecast_is_a_distribution_behind_the_last_section(
    height: float, radius: float, middle: float, to: float
) -> None:
    seen = sections(height, radius, middle, to)
    if not seen:
        return
    end = forecast_end(seen, GERM_LINE)
    assert end.by(seen[-1].z_nm) == 0.0
    assert end.probability[0] == 0.0
    assert end.probability[-1] == 1.0
    assert (end.probability[1:] >= end.probability[:-1]).all()
    quantiles = [end.quantile_nm(chance) for chance in (0.05, 0.25, 0.5, 0.75, 0.95)]
    assert quantiles == sorted(quantiles)
    for chance, quantile in zip((0.25, 0.5, 0.75), quantiles[1:4], strict=True):
        assert end.by(quantile) == pytest.approx(chance, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(heights, radii, middles)
def test_an_ellipsoid_that_is_nearly_milled_ends_where_it_is_forecast(
    height: float, radius: float, middle: float
) -> None:
    end = forecast_end(sections(height, radius, middle, 0.85), GERM_LINE)
    assert end.quantile_nm(0.05) < middle + height < end.quantile_nm(0.95)
    assert end.quantile_nm(0.5) == pytest.approx(middle + height, abs=60)


@settings(deadline=None, max_examples=15)
@given(heights, middles, st.floats(-20_000.0, 20_000.0))
def test_a_forecast_moves_with_the_nucleus(height: float, middle: float, by: float) -> None:
    here = forecast_end(sections(height, 2050.0, middle, 0.6), GERM_LINE)
    there = forecast_end([Section(s.z_nm + by, s.area_nm2) for s in sections(height, 2050.0, middle, 0.6)], GERM_LINE)
    assert there.quantile_nm(0.9) - here.quantile_nm(0.9) == pytest.approx(by, abs=2.0)


def test_the_order_of_sections_does_not_matter() -> None:
    seen = sections(2000.0, 2000.0, 0.0, 0.6)
    one, other = forecast_end(seen, GERM_LINE), forecast_end(seen[::-1], GERM_LINE)
    assert (one.z_nm == other.z_nm).all()
    assert (one.probability == other.probability).all()


def width(end: EndForecast) -> float:
    return end.quantile_nm(0.95) - end.quantile_nm(0.05)


def test_a_forecast_narrows_as_more_is_seen() -> None:
    widths = [width(forecast_end(sections(2050.0, 2050.0, 0.0, to), GERM_LINE)) for to in (0.25, 0.4, 0.6, 0.8)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.3 * widths[0]


def test_a_nucleus_that_fits_no_ellipsoid_is_forecast_with_less_certainty() -> None:
    smooth = sections(2050.0, 2050.0, 0.0, 0.7)
    rough = [Section(s.z_nm, s.area_nm2 * (1 + 0.06 * (-1) ** n)) for n, s in enumerate(smooth)]
    assert width(forecast_end(rough, GERM_LINE)) > 1.3 * width(forecast_end(smooth, GERM_LINE))


def test_what_the_border_cuts_says_less() -> None:
    whole = sections(2050.0, 2050.0, 0.0, 0.6)
    cut = [Section(s.z_nm, s.area_nm2, is_cut=True) for s in whole]
    assert width(forecast_end(cut, GERM_LINE)) > width(forecast_end(whole, GERM_LINE))


def test_a_nucleus_that_is_no_longer_found_ends_sooner() -> None:
    seen = sections(2050.0, 2050.0, 0.0, 0.75)
    last = seen[-1].z_nm
    found, lost = forecast_end(seen, GERM_LINE), forecast_end(seen, GERM_LINE, Lost(last + 300.0, LEAST_NM2))
    assert lost.quantile_nm(0.9) < found.quantile_nm(0.9)


def test_complete_nuclei_teach_how_large_the_next_is() -> None:
    seen = sections(1700.0, 1700.0, 0.0, 0.3)
    small = learned(GERM_LINE, [NucleusSize(1700.0, 1700.0)] * 6)
    before, after = forecast_end(seen, GERM_LINE), forecast_end(seen, small)
    assert abs(after.quantile_nm(0.5) - 1700.0) < abs(before.quantile_nm(0.5) - 1700.0)
    assert width(after) < width(before)


def test_nuclei_of_other_cells_are_forecast_without_the_germ_lines_sizes() -> None:
    seen = sections(6000.0, 7000.0, 0.0, 0.8)
    end = forecast_end(seen, ANYTHING)
    assert end.quantile_nm(0.05) < 6000.0 < end.quantile_nm(0.95)


def test_volumes_add_up_to_that_of_the_nucleus() -> None:
    end = forecast_end(sections(2000.0, 2000.0, 0.0, 0.8), GERM_LINE)
    middle, half = end.middle_z_nm, end.size.half_height_nm
    assert end.volume_to_um3(middle - half) == pytest.approx(0.0, abs=1e-9)
    assert end.volume_to_um3(middle) == pytest.approx(end.size.volume_um3 / 2)
    assert end.volume_to_um3(middle + 2 * half) == pytest.approx(end.size.volume_um3)
    assert end.section_radius_nm(middle) == pytest.approx(end.size.radius_nm)
    assert end.section_radius_nm(middle + 2 * half) == 0.0


@pytest.mark.parametrize("nothing", [[], [Section(0.0, 0.0)], [Section(0.0, math.nan)]])
def test_nothing_seen_is_refused(nothing: list[Section]) -> None:
    with pytest.raises(NoSectionsError, match="above 0"):
        forecast_end(nothing, GERM_LINE)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(SizeValueError, match="spread"):
        SizePrior(spread=0.0)
    with pytest.raises(SizeValueError, match="above 0"):
        learned(GERM_LINE, [NucleusSize(-1.0, 2000.0)])


@given(st.lists(heights, min_size=1, max_size=12), st.randoms())
def test_the_order_of_complete_nuclei_does_not_matter(found: list[float], random: object) -> None:
    sizes = [NucleusSize(height, height) for height in found]
    mixed = list(sizes)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert learned(GERM_LINE, sizes) == learned(GERM_LINE, mixed)
