"""The parts of separation: flooding, fragments, links, covers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import segmentation

from services.components.separation.counting import likeliest
from services.components.separation.doubts import confidence
from services.components.separation.field import paint_field
from services.components.separation.flooding import MarginError, distance_to, watershed
from services.components.separation.fragments import Fragment, find_fragments
from services.components.separation.links import DEEP, LENGTH, Link, possible_links
from services.components.separation.tracks import (
    IDLE,
    IDLE_ONCE,
    LONELY,
    SHORT_NM,
    Cover,
    CoverProblem,
    greedy_cover,
    rings_of,
    tracks_of,
)
from tests.support.rods import VOXEL, parallel_rods, rod, rod_tables

reference: Any = segmentation


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_watershed_is_that_of_scikit_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (9, 10, 11)
    height = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)  # no two heights are equal
    mask = np.pad(rng.random((7, 8, 9)) < 0.8, 1)
    markers = np.where(rng.random(shape) < 0.02, rng.integers(1, 6, shape), 0).astype(np.uint8)
    expected = reference.watershed(height.astype(float), np.where(mask, markers, 0), np.ones((3, 3, 3)), mask=mask)
    assert np.array_equal(watershed(height, markers, mask), expected)


def test_a_mask_that_reaches_the_border_is_refused() -> None:
    ones = np.ones((3, 3, 3), bool)
    with pytest.raises(MarginError):
        watershed(np.zeros(ones.shape, np.float32), ones.astype(np.uint8), ones)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_distances_are_those_of_scipy_in_voxels_of_any_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((6, 7, 8)) < 0.1
    mask[0, 0, 0] = True
    step = (40.0, 4.0, 10.0)
    assert np.allclose(distance_to(mask, step), ndimage.distance_transform_edt(~mask, sampling=step), rtol=1e-5)


def test_a_clean_core_is_one_fragment_with_ends_that_point_outwards() -> None:
    classes, _ = parallel_rods(1)
    (fragment,) = find_fragments(paint_field(rod_tables(classes), VOXEL))
    first, last = sorted(fragment.ends(), key=lambda end: float(end.point[2]))
    assert fragment.length_nm == pytest.approx(1460, abs=120)
    assert first.outward @ np.array([0.0, 0.0, -1.0]) > 0.98
    assert last.outward @ np.array([0.0, 0.0, 1.0]) > 0.98
    assert fragment.section_nm2 == pytest.approx(np.pi * 50**2, rel=0.2)
    assert fragment.voxels.size == np.count_nonzero(classes == 4)


def test_cores_that_cross_are_four_fragments() -> None:
    shape = (30, 100, 100)
    classes = np.zeros(shape, np.uint8)
    classes[rod(shape, (240.0, 800.0, 50.0), (240.0, 800.0, 1550.0), 45.0)] = 4
    classes[rod(shape, (240.0, 50.0, 800.0), (240.0, 1550.0, 800.0), 45.0)] = 4
    fragments = find_fragments(paint_field(rod_tables(classes), VOXEL))
    assert len(fragments) == 4
    assert all(400 < fragment.length_nm < 760 for fragment in fragments)


def test_a_film_beside_a_core_is_no_fragment() -> None:
    classes, _ = parallel_rods(1)
    classes[30, 2:3, 10:90] = 4
    assert len(find_fragments(paint_field(rod_tables(classes), VOXEL))) == 1


def test_a_ring_is_opened() -> None:
    zz, yy, xx = np.ogrid[:20, :80, :80]
    classes = np.where((np.hypot(yy - 40, xx - 40) - 30) ** 2 + (zz - 10) ** 2 <= 9, 4, 0).astype(np.uint8)
    fragments = find_fragments(paint_field(rod_tables(classes), VOXEL))
    assert len(fragments) == 1
    assert fragments[0].length_nm > 0.8 * 2 * np.pi * 30 * 16


def stick(first_nm: tuple[float, float, float], last_nm: tuple[float, float, float]) -> Fragment:
    count = max(2, round(float(np.linalg.norm(np.array(last_nm) - first_nm)) / 50))
    return Fragment(np.linspace(first_nm, last_nm, count), np.arange(1), 6600.0)


def free_field(shape: tuple[int, int, int] = (90, 90, 90)) -> NDArray[np.uint8]:
    return np.full(shape, 2, np.uint8)


def test_the_way_straight_on_is_the_cheapest() -> None:
    fragments = (
        stick((700, 700, 100), (700, 700, 500)),
        stick((700, 700, 800), (700, 700, 1300)),
        stick((700, 1150, 650), (700, 1400, 650)),
    )
    links = possible_links(paint_field(rod_tables(free_field()), VOXEL), fragments)
    cheapest = min(links, key=lambda link: link.cost)
    assert (cheapest.first, cheapest.second) == (1, 2)
    assert cheapest.cost == pytest.approx(0.3 * LENGTH, rel=0.1)


def test_a_way_through_nucleoplasm_or_another_chromosome_is_dearer() -> None:
    fragments = (stick((700, 700, 100), (700, 700, 500)), stick((700, 700, 800), (700, 700, 1300)))
    hollow = free_field()
    hollow[:, :, 35:47] = 1
    between = (*fragments, stick((700, 400, 650), (700, 560, 650)))

    def cost(classes: NDArray[np.uint8], pieces: tuple[Fragment, ...]) -> float:
        links = possible_links(paint_field(rod_tables(classes), VOXEL), pieces)
        return next(link.cost for link in links if (link.first, link.second) == (1, 2))

    plain = cost(free_field(), fragments)
    assert cost(hollow, fragments) > 2 * plain
    assert cost(free_field(), between) > 1.5 * plain


def test_a_way_through_a_lobe_is_dearer_than_one_in_the_neck_between_lobes() -> None:
    def cost(gap_px: int) -> float:
        # Two lobes of chromatin, and a neck as thick as the complex that runs in it; the neck may be filled up.
        classes = np.ones((60, 60, 90), np.uint8)
        classes[10:50, 5:25], classes[10:50, 35:55] = 2, 2
        classes[28:32, 25:35] = 2
        classes[30 - gap_px : 30 + gap_px, 25:35, 30:60] = 2
        classes[29:31, 27:33, 5:30] = classes[29:31, 27:33, 60:85] = 4
        field = paint_field(rod_tables(classes), VOXEL)
        return min(link.cost for link in possible_links(field, find_fragments(field)))

    neck, lobe = cost(2), cost(20)
    assert neck < 1
    # Some 480 nm of a way of which nearly all is deep.
    assert lobe - neck == pytest.approx(0.48 * DEEP, rel=0.25)


def random_problem(rng: np.random.Generator, n: int) -> CoverProblem:
    fragments = tuple(stick((0.0, 5000.0 * k, 0.0), (0.0, 5000.0 * k, float(rng.uniform(100, 2500)))) for k in range(n))
    links = []
    for first, second in itertools.combinations(range(2 * n), 2):
        if first // 2 != second // 2 and rng.random() < 0.6:
            # Ways far apart: crossing is another matter.
            way = np.array([[9e6, 1e5 * first, 1e3 * second], [9e6, 1e5 * first, 1e3 * second + 1]])
            links.append(Link(first, second, float(rng.uniform(0, 20)), way))
    return CoverProblem(fragments, tuple(links))


def cost_of(problem: CoverProblem, used: tuple[bool, ...], chosen: tuple[int, ...]) -> float | None:
    """Cost of a choice, None where it is no cover."""
    ends = [end for k in chosen for end in (problem.links[k].first, problem.links[k].second)]
    if len(set(ends)) < len(ends) or not all(used[end // 2] for end in ends) or rings_of(problem.links, chosen):
        return None
    linked = {end // 2 for end in ends}
    cost = sum(problem.links[k].cost for k in chosen)
    for k, fragment in enumerate(problem.fragments):
        if not used[k]:
            cost += IDLE * fragment.length_nm / 1000 + IDLE_ONCE
        elif k not in linked:
            cost += LONELY * max(SHORT_NM - fragment.length_nm, 0.0) / 1000
    return cost


def by_trying_all(problem: CoverProblem, tracks: int) -> float | None:
    """Cost of the cheapest cover, found among all of them."""
    costs = [
        cost_of(problem, used, chosen)
        for used in itertools.product((True, False), repeat=len(problem.fragments))
        if sum(used) >= tracks
        for chosen in itertools.combinations(range(len(problem.links)), sum(used) - tracks)
    ]
    return min((cost for cost in costs if cost is not None), default=None)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), tracks=st.integers(1, 3))
def test_the_cover_is_the_cheapest_of_all(seed: int, tracks: int) -> None:
    problem = random_problem(np.random.default_rng(seed), 4)
    cover, best = problem.solve(tracks), by_trying_all(problem, tracks)
    assert (cover is None) == (best is None)
    if cover is not None:
        assert cover.cost == pytest.approx(best, abs=1e-3)
        assert cover.tracks == tracks


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 9))
def test_tracks_use_every_end_once_and_never_close(seed: int, n: int) -> None:
    problem = random_problem(np.random.default_rng(seed), n)
    covers: list[Cover] = [problem.cheapest(1), greedy_cover(problem.fragments, problem.links, 1)]
    for cover in covers:
        tracks = tracks_of(problem.fragments, problem.links, cover)
        members = [index for track in tracks for index in track.fragments]
        assert len(tracks) == cover.tracks
        assert sorted(members) == np.flatnonzero(cover.used).tolist()
        assert sorted(k for track in tracks for k in track.links) == list(cover.chosen)


def test_ways_that_run_into_one_another_are_not_both_taken() -> None:
    fragments = (
        stick((0, 0, 0), (0, 0, 2000)),
        stick((0, 0, 2400), (0, 0, 4400)),
        stick((0, -2000, 2200), (0, -200, 2200)),
        stick((0, 200, 2200), (0, 2000, 2200)),
    )
    links = (
        Link(1, 2, 4.0, np.linspace((0.0, 0, 2000), (0, 0, 2400), 10)),
        Link(5, 6, 4.5, np.linspace((0.0, -200, 2200), (0, 200, 2200), 10)),
    )
    problem = CoverProblem(fragments, links)
    assert problem.solve(2) is None or problem.solve(2).chosen != (0, 1)  # type: ignore[union-attr]
    free = problem.solve(None, 10.0)
    assert free is not None
    assert free.chosen == (0,)


def test_two_chromosomes_are_not_one_however_well_their_complexes_go_together() -> None:
    fragments = (stick((0, 0, 0), (0, 0, 7000)), stick((0, 0, 7300), (0, 0, 14300)))
    link = Link(1, 2, 0.1, np.linspace((0.0, 0, 7000), (0, 0, 7300), 10))
    whole = CoverProblem(fragments, (link,))
    assert likeliest(whole, whole.solve).tracks == 2
    # The same two as pieces of one: together as long as a chromosome is.
    halves = CoverProblem((stick((0, 0, 0), (0, 0, 3300)), stick((0, 0, 3600), (0, 0, 6900))), (link,))
    assert likeliest(halves, halves.solve).tracks == 1


def test_a_crumb_of_complex_is_no_track_where_the_number_is_not_given() -> None:
    fragments = (stick((0, 0, 0), (0, 0, 7000)), stick((0, 3000, 0), (0, 3000, 60)))
    problem = CoverProblem(fragments, ())
    cover = likeliest(problem, problem.solve)
    assert cover.tracks == 1
    assert cover.used.tolist() == [True, False]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1, 20000), st.floats(0, 1))
def test_more_doubt_more_gap_or_a_shorter_track_never_makes_a_chromosome_surer(
    sure: float, found: float, length_nm: float, less: float
) -> None:
    plain = confidence(sure, found, length_nm)
    assert 0 < plain < 1
    assert confidence(sure * less, found, length_nm) <= plain
    assert confidence(sure, found * less, length_nm) <= plain
    assert confidence(sure, found, length_nm * less) <= plain
