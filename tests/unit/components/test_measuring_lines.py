"""Lengths, curvature and cross sections of ribbons about lines that are known by formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.components.measuring.centreline import Track, curvature, tracks
from services.components.measuring.lattice import Lattice
from services.components.measuring.ribbon import (
    axis_distance_um,
    cross_sections,
    homolog_distance_um,
    median_width_um,
    swellings,
    twist,
)
from tests.support.analytic_shapes import FloatArray, Voxel, helix, ribbon, rod, torus

VOXELS: list[Voxel] = [(16.0, 16.0, 16.0), (24.0, 16.0, 16.0), (8.0, 16.0, 16.0)]
WIDTH, THICKNESS = 110.0, 60.0
TILTED = (0.5, 0.6, 0.62)


def traced(line: tuple[FloatArray, FloatArray], voxel: Voxel, thickness: FloatArray | float = THICKNESS) -> Track:
    mask, corner = ribbon(line, WIDTH, thickness, voxel)
    (track,) = tracks(mask, Lattice(voxel, corner))
    return track


@pytest.mark.parametrize("voxel", VOXELS)
@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), TILTED, (0.2, 0.1, 0.97)])
def test_the_length_of_a_rod_of_any_tilt_is_right_to_two_voxels(
    voxel: Voxel, direction: tuple[float, float, float]
) -> None:
    track = traced(rod(2000, direction), voxel)
    assert track.length_um * 1000 == pytest.approx(2000, abs=2 * max(voxel))
    assert not track.branches


@pytest.mark.parametrize("voxel", VOXELS)
def test_the_length_and_curvature_of_a_helix_are_right(voxel: Voxel) -> None:
    radius, pitch, turns = 400.0, 700.0, 1.5
    track = traced(helix(radius, pitch, turns), voxel)
    rise = pitch / (2 * np.pi)
    bend = curvature(track)
    assert track.length_um == pytest.approx(turns * 2 * np.pi * np.hypot(radius, rise) / 1000, rel=0.01)
    assert bend is not None
    assert bend.mean_per_um == pytest.approx(radius / (radius**2 + rise**2) * 1000, rel=0.05)


@pytest.mark.parametrize("voxel", VOXELS)
@pytest.mark.parametrize("half_turn", [2500.0, -1500.0])
def test_width_thickness_and_twist_of_a_helical_ribbon_are_right(voxel: Voxel, half_turn: float) -> None:
    sections = cross_sections(traced(rod(3000, TILTED, half_turn), voxel))
    width_um, thickness_um = median_width_um(sections)
    turn = twist(sections)
    assert turn is not None
    assert width_um == pytest.approx(0.110, abs=0.003)
    assert thickness_um == pytest.approx(0.060, abs=0.005)
    assert turn.pitch_um == pytest.approx(2 * abs(half_turn) / 1000, rel=0.03)
    assert turn.turns == pytest.approx(1500 / half_turn, rel=0.05)
    assert axis_distance_um(sections) == pytest.approx(0.088, abs=0.003)


def test_a_rod_that_does_not_twist_hardly_turns() -> None:
    turn = twist(cross_sections(traced(rod(2000, TILTED), VOXELS[0])))
    assert turn is not None
    assert abs(turn.turns) < 0.01


def test_a_round_rod_has_no_twist() -> None:
    curve, across = rod(2000, TILTED)
    mask, _ = ribbon((curve, across), THICKNESS, THICKNESS, VOXELS[0])
    (track,) = tracks(mask, Lattice(VOXELS[0]))
    assert twist(cross_sections(track)) is None


def test_swellings_are_found_where_they_are_and_only_there() -> None:
    line = rod(3000, TILTED)
    s = np.linspace(0, 3000, len(line[0]))
    thickness = np.where((np.abs(s - 900) < 100) | (np.abs(s - 2200) < 100), 1.5 * THICKNESS, THICKNESS)
    track = traced(line, VOXELS[0], thickness)
    found = swellings(cross_sections(track))
    from_start = sorted(float(np.linalg.norm(np.array(one.place_nm) - line[0][0])) for one in found)
    assert from_start == pytest.approx([900, 2200], abs=40)
    assert swellings(cross_sections(traced(line, VOXELS[0]))) == ()


def test_measured_depths_of_planes_give_the_true_length() -> None:
    mask, _ = ribbon(rod(2000, (1.0, 0.1, 0.05)), WIDTH, THICKNESS, (16.0, 16.0, 16.0))
    depths = tuple((20.0 * np.arange(len(mask))).tolist())
    (track,) = tracks(mask, Lattice((16.0, 16.0, 16.0), plane_z_nm=depths))
    stretched = np.linalg.norm(np.array([1.25, 0.1, 0.05])) / np.linalg.norm([1.0, 0.1, 0.05]) * 2.0
    assert track.length_um == pytest.approx(stretched, abs=0.03)


def test_rods_that_cross_are_both_measured_and_marked() -> None:
    voxel = VOXELS[0]
    lattice = Lattice(voxel)
    shape = (20, 140, 140)
    mask = np.zeros(shape, bool)
    mask[8:12, 66:73, 6:134] = True
    mask[8:12, 6:134, 66:73] = True
    found = tracks(mask, lattice)
    assert all(track.branches for track in found)
    # The crossing itself is counted once: the second line stops on either side of it.
    assert sum(track.length_um for track in found) == pytest.approx(2 * 128 * 0.016, rel=0.12)


def test_a_ring_is_marked_as_a_body_that_closes_on_itself() -> None:
    found = tracks(torus(500, 60, VOXELS[0]), Lattice(VOXELS[0]))
    assert all(track.branches for track in found)


def test_bodies_apart_are_lines_apart_the_longest_first() -> None:
    mask = np.zeros((20, 40, 130), bool)
    mask[4:8, 4:11, 4:60] = True
    mask[4:8, 24:31, 4:120] = True
    lengths = [track.length_um for track in tracks(mask, Lattice(VOXELS[0]))]
    assert lengths == pytest.approx([116 * 0.016, 56 * 0.016], rel=0.02)


def test_specks_and_empty_masks_have_no_line() -> None:
    mask = np.zeros((8, 8, 8), bool)
    assert tracks(mask, Lattice(VOXELS[0])) == ()
    mask[3:5, 3:5, 3] = True
    assert tracks(mask, Lattice(VOXELS[0])) == ()


def test_the_line_of_the_same_voxels_is_the_same_to_the_bit() -> None:
    line = helix(400, 700, 1.0)
    assert traced(line, VOXELS[0]).points_nm.tobytes() == traced(line, VOXELS[0]).points_nm.tobytes()


def test_the_chromatin_of_the_homologs_is_apart_by_the_distance_of_its_two_halves() -> None:
    curve, across = rod(2000, TILTED, 2500)
    sections = cross_sections(traced((curve, across), VOXELS[0]))
    lobes = []
    for side in (-1, 1):
        mask, corner = ribbon((curve + side * 130 * across, across), 80, 80, VOXELS[0])
        lobes.append(Lattice(VOXELS[0], corner).places_nm(np.argwhere(mask), len(mask)))
    assert homolog_distance_um(sections, np.concatenate(lobes)) == pytest.approx(0.260, abs=0.006)
    assert homolog_distance_um(sections, lobes[0]) is None


@given(
    mask=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)),
    voxel=st.sampled_from([*VOXELS, (50.0, 16.0, 16.0)]),
)
def test_whatever_was_labelled_has_finite_lines_or_none(mask: np.ndarray, voxel: Voxel) -> None:
    for track in tracks(mask, Lattice(voxel), least_um=0.0):
        assert np.isfinite(track.points_nm).all()
        assert 0 <= track.length_um <= np.linalg.norm(np.multiply(mask.shape, voxel)) / 1000 * mask.size
        bend = curvature(track)
        assert bend is None or np.isfinite(bend.mean_per_um)


def test_a_thick_body_of_a_few_voxels_has_a_line_of_two_points() -> None:
    mask = np.zeros((5, 5, 5), np.bool_)
    mask[1:4, 1:4, 1:4] = True
    (track,) = tracks(mask, Lattice((16.0, 16.0, 16.0)), least_um=0.0)
    assert track.points_nm.mean(axis=0) == pytest.approx((40.0, 40.0, 40.0), abs=16.0)
