"""Volumes, areas and contacts on bodies whose values are known by formula, at several voxel sizes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.components.measuring.contact import contacts
from services.components.measuring.lattice import Lattice, LatticeError, bounding_box
from services.components.measuring.surface import face_areas, sphericity
from services.components.measuring.volume import volume, volume_um3
from tests.support.analytic_shapes import FloatArray, Mask, Voxel, ball, ellipsoid, ellipsoid_area, sampled, torus

VOXELS: list[Voxel] = [(16.0, 16.0, 16.0), (24.0, 16.0, 16.0), (8.0, 16.0, 16.0)]
BALL_UM3, BALL_UM2 = 4 / 3 * np.pi * 0.2**3, 4 * np.pi * 0.2**2


def area_um2(mask: Mask, voxel: Voxel) -> float:
    return float(face_areas(mask.astype(np.uint8), Lattice(voxel)).area_um2[1])


@pytest.mark.parametrize("voxel", VOXELS)
def test_the_volume_of_a_ball_is_right_to_one_percent(voxel: Voxel) -> None:
    assert volume_um3(ball(200, voxel), Lattice(voxel)) == pytest.approx(BALL_UM3, rel=0.01)


@pytest.mark.parametrize("voxel", VOXELS)
def test_areas_are_right_to_half_a_percent(voxel: Voxel) -> None:
    axes = (400.0, 250.0, 180.0)
    assert area_um2(ball(200, voxel), voxel) == pytest.approx(BALL_UM2, rel=0.005)
    assert area_um2(torus(400, 120, voxel), voxel) == pytest.approx(4 * np.pi**2 * 0.4 * 0.12, rel=0.005)
    assert area_um2(ellipsoid(axes, voxel), voxel) == pytest.approx(ellipsoid_area(axes) / 1e6, rel=0.005)


@pytest.mark.parametrize("voxel", VOXELS)
def test_the_area_of_a_thin_rod_is_right_to_two_percent(voxel: Voxel) -> None:
    along = np.array([0.5, 0.6, 0.62]) / np.linalg.norm([0.5, 0.6, 0.62])

    def inside(z: FloatArray, y: FloatArray, x: FloatArray) -> Mask:
        places = np.stack([z, y, x], axis=-1)
        s = np.clip(places @ along, -400, 400)
        return np.asarray(np.linalg.norm(places - s[..., None] * along, axis=-1) <= 30, bool)

    exact = (2 * np.pi * 30 * 800 + 4 * np.pi * 30**2) / 1e6
    assert area_um2(sampled(inside, 430, voxel), voxel) == pytest.approx(exact, rel=0.02)


def test_a_ball_has_a_sphericity_of_one_and_a_torus_does_not() -> None:
    voxel = VOXELS[0]
    mask = ball(200, voxel)
    assert sphericity(volume_um3(mask, Lattice(voxel)), area_um2(mask, voxel)) == pytest.approx(1, abs=0.01)
    exact = np.pi ** (1 / 3) * (6 * 2 * np.pi**2 * 0.4 * 0.12**2) ** (2 / 3) / (4 * np.pi**2 * 0.4 * 0.12)
    ring = torus(400, 120, voxel)
    assert sphericity(volume_um3(ring, Lattice(voxel)), area_um2(ring, voxel)) == pytest.approx(exact, rel=0.01)


def test_erosion_and_dilation_bound_the_volume_by_about_one_voxel_of_the_radius() -> None:
    found = volume(ball(200, VOXELS[0]), Lattice(VOXELS[0]))
    assert found.eroded_um3 < found.um3 < found.dilated_um3
    # Six neighbours move a surface by between 1 / sqrt(3) and 1 voxel along its normal.
    for value, sign in ((found.eroded_um3, -1), (found.dilated_um3, 1)):
        shift = (value / (4 / 3 * np.pi)) ** (1 / 3) * 1000 - 200
        assert 16 / np.sqrt(3) - 1 <= sign * shift <= 16 + 1


def test_measured_slice_thickness_replaces_the_nominal_one() -> None:
    steps = np.tile([10.0, 22.0], 20)
    middles = np.cumsum(steps) - steps[0]
    z, y, x = np.meshgrid(
        middles - middles.mean(), np.arange(-240, 241, 16.0), np.arange(-240, 241, 16.0), indexing="ij"
    )
    mask = z**2 + y**2 + x**2 <= 200**2
    uneven = Lattice((8.0, 16.0, 16.0), plane_z_nm=tuple(middles.tolist()))
    assert volume_um3(mask, uneven) == pytest.approx(BALL_UM3, rel=0.01)
    assert face_areas(mask.astype(np.uint8), uneven).area_um2[1] == pytest.approx(BALL_UM2, rel=0.01)
    # At the nominal 8 nm the ball would be half as deep.
    assert volume_um3(mask, Lattice((8.0, 16.0, 16.0))) == pytest.approx(BALL_UM3 / 2, rel=0.01)


def test_depths_that_do_not_increase_are_refused() -> None:
    with pytest.raises(LatticeError, match="increase"):
        Lattice((8.0, 8.0, 8.0), plane_z_nm=(4.0, 4.0))


def test_a_voxel_without_thickness_is_refused() -> None:
    with pytest.raises(LatticeError, match="positive"):
        Lattice((0.0, 8.0, 8.0))


def test_depths_of_another_number_of_planes_are_refused() -> None:
    with pytest.raises(LatticeError, match="2 depths"):
        Lattice((8.0, 8.0, 8.0), plane_z_nm=(4.0, 8.0)).depths_nm(3)


@pytest.mark.parametrize("voxel", VOXELS)
def test_two_halves_of_a_ball_share_a_tilted_disc(voxel: Voxel) -> None:
    normal = np.array([0.4, 0.7, 0.59]) / np.linalg.norm([0.4, 0.7, 0.59])
    radius = 240.0
    side = sampled(lambda z, y, x: z * normal[0] + y * normal[1] + x * normal[2] > 0, radius, voxel)
    labels = ball(radius, voxel).astype(np.uint8) * (1 + side.astype(np.uint8))
    faces = face_areas(labels, Lattice(voxel))
    (contact,) = contacts(labels, faces, Lattice(voxel), owners=2)
    # A contact lacks a part of a voxel all along its rim, where only one of the two has a voxel.
    assert (0.24 - max(voxel) / 2000) ** 2 * np.pi < contact.area_um2 < 1.01 * np.pi * 0.24**2
    assert contact.patches == 1
    assert (contact.first, contact.second) == (1, 2)


def test_bodies_that_touch_twice_have_two_patches_of_contact_and_say_where_the_larger_is() -> None:
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[1, 2:10, 2:4] = 1
    labels[1, 2:10, 6:8] = 2
    labels[1, 2:4, 4:6] = 2
    labels[1, 6:9, 4:6] = 2
    lattice = Lattice((10.0, 10.0, 10.0))
    (contact,) = contacts(labels, face_areas(labels, lattice), lattice, owners=2)
    assert contact.patches == 2
    assert contact.place_nm == (15.0, 75.0, 35.0)


def test_labels_above_the_owners_have_no_contacts_of_their_own() -> None:
    labels = np.array([[[1, 2, 3, 0]]], np.uint8)
    lattice = Lattice((10.0, 10.0, 10.0))
    found = contacts(labels, face_areas(labels, lattice), lattice, owners=1)
    assert [(contact.first, contact.second) for contact in found] == [(1, 2)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_no_contact_is_larger_than_its_voxel_faces(seed: int, count: int) -> None:
    labels = np.random.default_rng(seed).integers(0, count + 1, (4, 5, 6)).astype(np.uint8)
    lattice = Lattice((12.0, 8.0, 10.0))
    faces = face_areas(labels, lattice)
    assert np.array_equal(faces.contact_um2, faces.contact_um2.T)
    # No contact is larger than the voxel faces that it is made of.
    for first, second in combinations(range(1, len(faces.area_um2)), 2):
        limit = 0.0
        for axis, face in enumerate((80.0, 120.0, 96.0)):
            here, there = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
            pair = ((here == first) & (there == second)) | ((here == second) & (there == first))
            limit += face * np.count_nonzero(pair) / 1e6
        assert faces.contact_um2[first, second] <= limit + 1e-12


def test_a_bounding_box_keeps_a_margin_and_stops_at_the_edge() -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[0, 2, 3:5] = True
    assert bounding_box(mask, margin=2) == (slice(0, 3), slice(0, 5), slice(1, 7))
    assert bounding_box(np.zeros((2, 2, 2), bool)) is None
