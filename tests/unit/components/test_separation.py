"""Separation on small nuclei whose answer is known: rods of chromatin with a dark core that cross, touch and break."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.components.separation import (
    METHODS,
    Doubt,
    Nucleus,
    Separated,
    Target,
    separate,
    target_of,
)
from services.components.separation.record import with_doubts
from services.contracts.rows import ChromosomeRow, MeasuredNucleus
from services.evaluation.metrics import adapted_rand_error, count_pairs
from tests.support.rods import VOXEL, parallel_rods, rod, rod_tables

Volume = NDArray[np.uint8]
TRACKING = ("sc_link_watershed", "path_cover")
BY_COMPLEX = ("sc_watershed", *TRACKING)


def numbers_of(separated: Separated, shape: tuple[int, ...]) -> Volume:
    found = np.zeros(shape, np.uint8)
    for z, (y, x), plane in separated.planes():
        found[z, y : y + plane.shape[0], x : x + plane.shape[1]] = plane
    return found


def solve(classes: Volume, method: str, target: Target, voxel: tuple[float, float, float] = VOXEL) -> Separated:
    return separate(rod_tables(classes), Nucleus(voxel), target, method)


def error(separated: Separated, truth: Volume) -> float:
    found = numbers_of(separated, truth.shape)
    return adapted_rand_error(count_pairs(truth[truth > 0], found[truth > 0]))


@pytest.mark.parametrize("method", BY_COMPLEX)
def test_rods_that_touch_are_told_apart_by_their_cores(method: str) -> None:
    classes, truth = parallel_rods()
    separated = solve(classes, method, target_of(3))
    assert [c.number for c in separated.chromosomes] == [1, 2, 3]
    assert error(separated, truth) < 0.02


def test_connected_components_take_rods_that_touch_for_one() -> None:
    classes, truth = parallel_rods()
    separated = solve(classes, "cc26", target_of(3))
    assert len(separated.chromosomes) == 1
    assert [s.doubt for s in separated.suspects] == [Doubt.COUNT]
    assert error(separated, truth) > 0.4


@pytest.mark.parametrize("method", TRACKING)
def test_a_core_that_is_broken_is_linked_along_its_rod(method: str) -> None:
    classes, truth = parallel_rods(gap_nm=(600.0, 1000.0))
    separated = solve(classes, method, target_of(3))
    assert error(separated, truth) < 0.03
    assert [c.sc_length_nm for c in separated.chromosomes] == pytest.approx([1460.0] * 3, abs=60)
    assert all(0.5 < (c.sc_found or 0) < 0.85 for c in separated.chromosomes)


def test_cores_that_are_broken_are_too_many_without_links() -> None:
    classes, _ = parallel_rods(gap_nm=(600.0, 1000.0))
    separated = solve(classes, "sc_watershed", target_of(3))
    assert len(separated.chromosomes) == 6
    assert separated.suspects[0].doubt is Doubt.COUNT


@pytest.mark.parametrize("method", TRACKING)
def test_cores_that_cross_and_touch_go_straight_on(method: str) -> None:
    shape = (40, 110, 110)
    classes, truth = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    lines = (((290.0, 900.0, 100.0), (290.0, 900.0, 1660.0)), ((370.0, 100.0, 900.0), (370.0, 1660.0, 900.0)))
    bodies = [rod(shape, *line, 200.0) for line in lines]
    cores = [rod(shape, *line, 45.0) for line in lines]
    for index, body in enumerate(bodies, start=1):
        classes[body], truth[body] = 2, index
    truth[bodies[0] & bodies[1]] = 0
    classes[cores[0] | cores[1]] = 4
    separated = solve(classes, method, target_of(2))
    assert len(separated.chromosomes) == 2
    assert error(separated, truth) < 0.06


@pytest.mark.parametrize("method", TRACKING)
def test_voxels_of_any_shape_give_the_same_chromosomes(method: str) -> None:
    voxel = (32.0, 16.0, 24.0)
    classes, truth = parallel_rods(voxel=voxel, gap_nm=(600.0, 1000.0))
    separated = solve(classes, method, target_of(3), voxel)
    assert error(separated, truth) < 0.05


def test_fine_voxels_are_separated_on_a_coarser_grid_and_told_voxel_by_voxel() -> None:
    voxel = (8.0, 8.0, 8.0)
    classes, truth = parallel_rods(2, voxel=voxel)
    separated = solve(classes, "path_cover", target_of(2), voxel)
    assert separated.field.strides_zyx == (2, 2, 2)
    found = numbers_of(separated, truth.shape)
    assert np.array_equal(found > 0, classes > 0)
    assert error(separated, truth) < 0.05
    assert [c.voxels for c in separated.chromosomes] == np.bincount(found.ravel())[1:].tolist()


def ribbon() -> tuple[Volume, Volume]:
    """A bivalent along x: a ribbon of SC 110 nm wide in y, a lobe of chromatin at each edge of it."""
    shape = (30, 40, 110)
    classes, homologs = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    classes[5:25, 4:36, 5:105] = 2
    homologs[5:25, 4:20, 5:105] = 1
    homologs[5:25, 20:36, 5:105] = 2
    classes[13:17, 16:24, 8:102] = 4
    homologs[classes == 4] = 0
    return classes, homologs


@pytest.mark.parametrize("method", TRACKING)
def test_a_bivalent_is_divided_by_the_side_of_its_complex(method: str) -> None:
    classes, homologs = ribbon()
    separated = solve(classes, method, Target(2, homologs=True))
    assert error(separated, homologs) < 0.03
    assert not numbers_of(separated, classes.shape)[classes == 4].any()
    assert {c.bivalent for c in separated.chromosomes} == {1}
    assert separated.bodies[separated.field.classes > 0].tolist().count(0) == 0


def test_with_an_odd_number_the_shortest_complex_is_that_of_no_pair() -> None:
    classes = np.zeros((30, 40, 260), np.uint8)
    classes[:, :, :110] = ribbon()[0]
    classes[5:25, 4:36, 150:210] = 2
    classes[13:17, 16:24, 155:205] = 4
    separated = solve(classes, "path_cover", Target(3, homologs=True))
    assert len(separated.chromosomes) == 3
    assert sorted(c.bivalent for c in separated.chromosomes) == [1, 1, 2]


@pytest.mark.parametrize("method", TRACKING)
def test_without_any_complex_connected_pieces_stand_for_chromosomes_and_say_so(method: str) -> None:
    classes = np.zeros((20, 60, 60), np.uint8)
    classes[5:15, 5:20, 5:55] = 2
    classes[5:15, 35:50, 5:55] = 2
    separated = solve(classes, method, target_of(2))
    assert [c.confidence for c in separated.chromosomes] == [None, None]
    assert all("touches no complex" in suspect.reason for suspect in separated.suspects)
    assert len(separated.suspects) == 2


def test_a_piece_that_touches_no_complex_belongs_to_none_and_is_told_with_its_place() -> None:
    classes, _ = parallel_rods(2)
    wide = np.zeros((classes.shape[0], classes.shape[1] + 30, classes.shape[2]), np.uint8)
    wide[:, : classes.shape[1]] = classes
    wide[10:20, -15:-5, 40:60] = 2
    separated = solve(wide, "path_cover", target_of(2))
    assert not numbers_of(separated, wide.shape)[:, -20:].any()
    (suspect,) = [s for s in separated.suspects if s.doubt is Doubt.UNASSIGNED]
    assert suspect.place_zyx_nm == pytest.approx((15 * 16, (wide.shape[1] - 10) * 16, 50 * 16), abs=1)


def test_nothing_labelled_gives_no_chromosome() -> None:
    for method in METHODS:
        separated = solve(np.ones((4, 6, 5), np.uint8), method, target_of(12))
        assert separated.chromosomes == ()
        assert [s.doubt for s in separated.suspects] == [Doubt.COUNT]


@pytest.mark.parametrize("method", TRACKING)
def test_a_number_that_is_too_large_is_not_reached_and_told(method: str) -> None:
    classes, _ = parallel_rods()
    separated = solve(classes, method, target_of(5))
    assert len(separated.chromosomes) == 3
    assert separated.suspects[0].doubt is Doubt.COUNT


@pytest.mark.parametrize("method", TRACKING)
def test_a_number_that_is_too_small_joins_what_is_told_as_a_probable_merge(method: str) -> None:
    classes, _ = parallel_rods(gap_nm=(600.0, 1000.0))
    separated = solve(classes, method, target_of(2))
    assert any(s.doubt in {Doubt.MERGE, Doubt.COUNT} for s in separated.suspects)


@pytest.mark.parametrize("method", METHODS)
def test_in_a_clipped_nucleus_no_number_is_forced(method: str) -> None:
    classes, _ = parallel_rods()
    separated = separate(rod_tables(classes), Nucleus(VOXEL, clipped=True), target_of(1), method)
    assert not separated.forced
    assert len(separated.chromosomes) == (1 if method == "cc26" else 3)
    assert Doubt.CLIPPED in {s.doubt for s in separated.suspects}


@pytest.mark.parametrize("method", METHODS)
def test_what_touches_the_front_of_a_growing_nucleus_is_provisional(method: str) -> None:
    classes, _ = parallel_rods(2)
    classes = np.ascontiguousarray(classes.transpose(2, 0, 1))
    separated = separate(rod_tables(classes[:60], finished=False), Nucleus(VOXEL), target_of(2), method)
    assert separated.chromosomes
    assert all(c.provisional for c in separated.chromosomes)
    whole = separate(rod_tables(classes), Nucleus(VOXEL), target_of(2), method)
    assert not any(c.provisional for c in whole.chromosomes)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_tables_give_the_same_bytes(method: str) -> None:
    classes, _ = parallel_rods(gap_nm=(600.0, 1000.0))
    first, second = (solve(classes, method, target_of(3)) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    assert first.chromosomes == second.chromosomes
    assert first.suspects == second.suspects


@pytest.mark.parametrize("method", TRACKING)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_nucleus_looked_at_from_the_other_side_has_the_same_chromosomes(method: str, axis: int) -> None:
    classes, truth = parallel_rods(gap_nm=(600.0, 900.0))
    turned = np.ascontiguousarray(np.flip(classes, axis))
    separated = solve(turned, method, target_of(3))
    assert error(separated, np.ascontiguousarray(np.flip(truth, axis))) < 0.03


def test_an_object_is_told_by_the_chromosome_that_holds_most_of_it() -> None:
    classes, _ = parallel_rods(2)
    separated = solve(classes, "path_cover", target_of(2))
    found = separated.chromosome_of_object()
    kinds = separated.field.tables.objects["class_id"]
    # One object of chromatin for both rods, a core for each.
    assert sorted(found[kinds == 4].tolist()) == [1, 2]
    assert found[kinds == 2].tolist() == [1]


def test_planes_say_the_same_one_by_one() -> None:
    classes, _ = parallel_rods(2)
    separated = solve(classes, "path_cover", target_of(2))
    for z, _, plane in separated.planes():
        assert np.array_equal(separated.paint_plane(z), plane)


def bare_nucleus(*chromosomes: ChromosomeRow) -> MeasuredNucleus:
    return MeasuredNucleus(nucleus_id="n0001", z_first=0, z_last=9, state="closed", chromosomes=chromosomes)


def test_suspects_become_rows_that_tell_places_in_the_acquisition() -> None:
    classes, _ = parallel_rods(gap_nm=(600.0, 1000.0))
    separated = solve(classes, "path_cover", target_of(2))
    rows = with_doubts(bare_nucleus(), separated, (0.0, 1000.0, 0.0)).suspects
    assert [row.rank for row in rows] == list(range(1, len(separated.suspects) + 1))
    placed = [(row, s.place_zyx_nm) for row, s in zip(rows, separated.suspects, strict=True) if s.place_zyx_nm]
    assert placed
    for row, (z, y, x) in placed:
        assert (row.z_nm, row.y_nm, row.x_nm) == pytest.approx((z, y + 1000.0, x), abs=0.06)


def test_a_chromosome_row_says_how_sure_it_is() -> None:
    classes, _ = parallel_rods(2)
    separated = solve(classes, "path_cover", target_of(2))
    nothing = {"volume_um3": 1, "volume_low_um3": 1, "volume_high_um3": 1, "contacts": 0, "contact_area_um2": 0}
    rows = tuple(
        ChromosomeRow(
            nucleus_id="n0001",
            chromosome=number,
            complete=True,
            nucleolus_contact_um2=0,
            envelope_contact_um2=0,
            centroid_z_nm=0,
            centroid_y_nm=0,
            centroid_x_nm=0,
            **nothing,
        )
        for number in (1, 2)
    )
    said = with_doubts(bare_nucleus(*rows), separated, (0.0, 0.0, 0.0)).chromosomes
    assert [row.confidence for row in said] == [pytest.approx(c.confidence, abs=1e-6) for c in separated.chromosomes]
    assert all(row.sc_path_um and row.sc_found == pytest.approx(1.0) for row in said)
