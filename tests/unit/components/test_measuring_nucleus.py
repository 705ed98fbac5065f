"""Measures, stage and checks of whole nuclei: a ball with an envelope, a nucleolus and ribbons in it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from services.components.measuring.lattice import Lattice
from services.components.measuring.nucleus import body_of, nucleus_measures
from services.components.measuring.painting import NucleusImage
from services.components.measuring.position import depth_nm, eccentricity, radial_position
from services.components.measuring.record import measured_nucleus
from services.components.measuring.stage import Evidence, stage_of
from services.contracts.rows import CheckRow, MeasuredNucleus, NucleusRow

VOXEL = (32.0, 32.0, 32.0)
RADIUS, ENVELOPE, NUCLEOLUS_RADIUS, NUCLEOLUS_Z = 1600.0, 64.0, 600.0, 300.0
Labels = NDArray[np.uint8]


def nucleus(voxel: tuple[float, float, float] = VOXEL) -> tuple[Labels, tuple[NDArray[np.float64], ...]]:
    """Return the classes of a nucleus without chromosomes, and the places of its voxels from its middle."""
    counts = [2 * int(np.ceil(RADIUS / edge)) + 7 for edge in voxel]
    axes = [(np.arange(n) - (n - 1) / 2 + 0.2) * edge for n, edge in zip(counts, voxel, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    classes = np.select([radius > RADIUS, radius > RADIUS - ENVELOPE], [0, 5], 1).astype(np.uint8)
    classes[(z - NUCLEOLUS_Z) ** 2 + y**2 + x**2 <= NUCLEOLUS_RADIUS**2] = 3
    return classes, (z, y, x)


def image(classes: Labels, chromosomes: NDArray[np.uint16] | None = None) -> NucleusImage:
    numbers = np.zeros(classes.shape, np.uint16) if chromosomes is None else chromosomes
    return NucleusImage(classes, numbers, classes.astype(np.uint32), Lattice(VOXEL))


def pachytene() -> NucleusImage:
    """A nucleus with twelve straight complexes of 1.7 um, each in a chromosome of its own."""
    classes, (z, y, x) = nucleus()
    chromosomes = np.zeros(classes.shape, np.uint16)
    for number in range(12):
        angle = 2 * np.pi * number / 12
        across = y * np.cos(angle) + x * np.sin(angle) - 1000
        aside = -y * np.sin(angle) + x * np.cos(angle)
        body = (np.abs(z) < 850) & (np.hypot(across, aside) < 230)
        classes[body] = 2
        classes[body & (np.abs(across) < 100) & (np.abs(aside) < 60)] = 4
        chromosomes[body] = number + 1
    return image(classes, chromosomes)


ROW = NucleusRow(nucleus_id="n1", z_first=0, z_last=99, state="closed", chromosome_count=12)


@cache
def measured_pachytene() -> MeasuredNucleus:
    return measured_nucleus(pachytene(), ROW, 12)


def checks_of(measured: MeasuredNucleus) -> dict[str, CheckRow]:
    return {check.check: check for check in measured.checks}


@pytest.mark.parametrize("voxel", [VOXEL, (48.0, 32.0, 32.0)])
def test_the_measures_of_a_nucleus_are_those_of_its_formula(voxel: tuple[float, float, float]) -> None:
    classes, _ = nucleus(voxel)
    lattice = Lattice(voxel)
    found = nucleus_measures(classes, lattice, body_of(classes, lattice), is_cut=False)
    assert found.volume.um3 == pytest.approx(4 / 3 * np.pi * 1.6**3, rel=0.01)
    assert found.area_um2 == pytest.approx(4 * np.pi * 1.6**2, rel=0.01)
    assert found.sphericity == pytest.approx(1, abs=0.01)
    assert found.nucleolus_fraction == pytest.approx((600 / 1600) ** 3, rel=0.02)
    assert found.nucleolus_eccentricity == pytest.approx(300 / 1000, abs=0.02)
    assert found.nucleolus_sphericity == pytest.approx(1, abs=0.02)
    assert found.envelope_thickness_um == pytest.approx(0.064, abs=0.006)
    assert found.open_fraction == 0
    assert found.leak_nm is None


def test_a_nucleus_that_is_cut_keeps_its_volume_and_loses_its_shape() -> None:
    classes, _ = nucleus()
    half = classes[: len(classes) // 2]
    lattice = Lattice(VOXEL)
    found = nucleus_measures(half, lattice, body_of(half, lattice), is_cut=True)
    assert found.volume.um3 == pytest.approx(2 / 3 * np.pi * 1.6**3, rel=0.02)
    assert (found.area_um2, found.sphericity, found.nucleolus_fraction) == (None, None, None)
    assert (found.nucleolus_eccentricity, found.envelope_thickness_um) == (None, None)


def test_removed_specks_leave_no_holes_in_the_body() -> None:
    classes, _ = nucleus()
    whole = body_of(classes, Lattice(VOXEL)).solid
    middle = tuple(n // 2 for n in classes.shape)
    classes[middle[0] - 2 : middle[0] + 2, middle[1], middle[2]] = 0
    assert np.array_equal(body_of(classes, Lattice(VOXEL)).solid, whole)


def test_an_open_envelope_fails_its_check_at_the_place_of_the_gap() -> None:
    one = pachytene()
    z, y, x = (n // 2 for n in one.classes.shape)
    one.classes[z - 14 : z + 14, y - 14 : y + 14, x:][one.classes[z - 14 : z + 14, y - 14 : y + 14, x:] == 5] = 1
    measured = measured_nucleus(one, ROW, 12)
    check = checks_of(measured)["envelope_closed"]
    assert check.state == "failed"
    assert check.x_nm == pytest.approx((x + RADIUS / 32) * 32, abs=150)
    assert check.z_nm == pytest.approx(z * 32, abs=100)
    assert measured.envelope_thickness_um is None
    # The other is that of the length of the complexes, see below.
    assert measured.checks_failed == 2


def test_a_whole_pachytene_nucleus_passes_every_check_that_its_form_allows() -> None:
    measured = measured_pachytene()
    states = {name: check.state for name, check in checks_of(measured).items()}
    assert measured.stage == "pachytene"
    # Twelve complexes of 1.7 um are 20 um: too short, on purpose.
    assert states.pop("sc_length") == "failed"
    assert set(states.values()) == {"passed"}
    assert measured.sc_length_um == pytest.approx(12 * 1.7, rel=0.03)
    assert measured.sc_tracks == 12


def test_every_complex_belongs_to_its_chromosome() -> None:
    measured = measured_pachytene()
    assert sorted(track.chromosome or 0 for track in measured.tracks) == list(range(1, 13))
    for row in measured.chromosomes:
        assert row.sc_tracks == 1
        assert row.sc_length_um == pytest.approx(1.7, rel=0.03)
        assert row.volume_low_um3 < row.volume_um3 < row.volume_high_um3
        assert row.complete
        assert row.contacts == 0
    near = [track.near_end_envelope_um for track in measured.tracks]
    # Each complex ends 850 nm above and 1000 nm beside the middle of a ball of 1536 nm.
    assert near == pytest.approx([1.536 - np.hypot(1.0, 0.85)] * 12, abs=0.06)


def test_a_wrong_number_of_chromosomes_fails_its_check() -> None:
    check = checks_of(measured_nucleus(pachytene(), ROW, 11))["chromosome_number"]
    assert (check.state, check.value, check.low, check.high) == ("failed", 12, 11, 11)


def test_a_complex_outside_the_chromatin_is_named_with_its_object_and_place() -> None:
    one = pachytene()
    bare = (one.chromosomes == 1) & (one.classes == 2)
    one.classes[bare] = 1
    one.objects[one.classes == 4] += 100 * one.chromosomes[one.classes == 4]
    failed = [check for check in measured_nucleus(one, ROW, 12).checks if check.check == "sc_in_chromatin"]
    (check,) = failed
    middle = (np.array(one.classes.shape) - 1) / 2 * 32
    assert (check.state, check.object_id, check.chromosome) == ("failed", 104, 1)
    assert check.value == pytest.approx(0, abs=0.01)
    assert check.y_nm == pytest.approx(middle[1] + 1000, abs=40)
    assert check.x_nm == pytest.approx(middle[2], abs=40)


def test_a_nucleolus_that_reaches_out_of_the_nucleus_fails_its_check() -> None:
    one = pachytene()
    z, y, x = (n // 2 for n in one.classes.shape)
    one.classes[:z, y - 6 : y + 6, x - 6 : x + 6][one.classes[:z, y - 6 : y + 6, x - 6 : x + 6] > 0] = 3
    one = image(one.classes, one.chromosomes)
    check = checks_of(measured_nucleus(one, ROW, 12))["nucleolus_inside"]
    assert check.state == "failed"
    assert check.object_id == 3
    assert check.z_nm == pytest.approx((z - RADIUS / 32) * 32, abs=120)


def test_a_clipped_nucleus_is_asked_nothing_and_its_cut_chromosomes_are_marked() -> None:
    whole = pachytene()
    cut = len(whole.classes) // 2
    low = NucleusImage(
        np.pad(whole.classes[:cut], ((0, 1), (0, 0), (0, 0))),
        np.pad(whole.chromosomes[:cut], ((0, 1), (0, 0), (0, 0))),
        np.pad(whole.objects[:cut], ((0, 1), (0, 0), (0, 0))),
        Lattice(VOXEL),
        clipped=True,
        cut=((0, 1),),
    )
    measured = measured_nucleus(low, ROW, 12)
    assert measured.stage == "unknown"
    assert {check.state for check in measured.checks} == {"not_run"}
    assert measured.checks_failed == 0
    assert (measured.area_um2, measured.sc_length_um, measured.chromatin_fraction) == (None, None, None)
    assert measured.volume_low_um3 is not None
    for row in measured.chromosomes:
        assert not row.complete
        assert (row.area_um2, row.sphericity, row.sc_length_um, row.radial_position) == (None, None, None, None)
    assert all(track.length_um is None and not track.complete for track in measured.tracks)
    assert len(measured.tracks) == 12


def test_chromosomes_that_touch_have_a_contact_and_so_have_those_at_the_nucleolus() -> None:
    one = pachytene()
    numbers = one.chromosomes.copy()
    numbers[(numbers == 1) & (np.arange(len(numbers))[:, None, None] < len(numbers) // 2)] = 13
    measured = measured_nucleus(replace(one, chromosomes=numbers), ROW, 12)
    (contact,) = [row for row in measured.contacts if row.second == "13"]
    assert contact.first == 1
    # A disc of radius 230 nm, at right angles to z.
    assert contact.area_um2 == pytest.approx(np.pi * 0.23**2, rel=0.12)
    assert measured.chromosomes[0].contacts == 1
    assert measured.chromosomes[0].contact_area_um2 == contact.area_um2


def test_the_same_labels_give_the_same_bytes() -> None:
    assert measured_nucleus(pachytene(), ROW, 12).model_dump_json() == measured_pachytene().model_dump_json()


def test_depth_and_radial_position_in_a_ball_follow_the_radius() -> None:
    classes, (z, y, x) = nucleus()
    depths = depth_nm(classes > 0, Lattice(VOXEL))
    radius = np.sqrt(z**2 + y**2 + x**2)
    inside = (radius < RADIUS - 100) & (radius > 100)
    assert np.abs(depths[inside] - (RADIUS - radius[inside])).max() < 40
    spot = (z - 800) ** 2 + y**2 + x**2 < 150**2
    assert radial_position(spot, depths) == pytest.approx(800 / 1600, abs=0.02)


def test_an_eccentric_body_is_at_one_when_it_touches_the_surface() -> None:
    outer, inner = 4 / 3 * np.pi * 2.0**3, 4 / 3 * np.pi * 0.5**3
    assert eccentricity(1.5, outer, inner) == pytest.approx(1)
    assert eccentricity(0.0, outer, inner) == 0


GERM = Evidence(is_cut=False, volume_um3=36, chromatin_fraction=0.15, nucleolus_fraction=0.1, sc_length_um=38)


@pytest.mark.parametrize(
    ("evidence", "stage"),
    [
        (GERM, "pachytene"),
        (replace(GERM, sc_length_um=15), "pachytene"),
        (replace(GERM, sc_length_um=14.9), "other_prophase"),
        (replace(GERM, sc_length_um=1.9), "mitotic"),
        (replace(GERM, is_cut=True), "unknown"),
        (replace(GERM, volume_um3=0), "unknown"),
        (replace(GERM, sc_length_um=0, chromatin_fraction=0), "unknown"),
        (replace(GERM, sc_length_um=0, bodies=[(0.3, 0.8)] * 6), "other_prophase"),
        (replace(GERM, sc_length_um=0, bodies=[(0.3, 0.3)] * 6), "mitotic"),
        (replace(GERM, sc_length_um=0, bodies=[(0.3, 0.8)] * 12), "mitotic"),
        (replace(GERM, volume_um3=2, chromatin_fraction=0.7, nucleolus_fraction=0, sc_length_um=0), "sperm"),
        (replace(GERM, volume_um3=2, chromatin_fraction=0.7, sc_length_um=0), "mitotic"),
    ],
)
def test_a_stage_follows_from_its_rules(evidence: Evidence, stage: str) -> None:
    assert stage_of(evidence) == stage


@pytest.mark.parametrize("label", [2, 3, 4, 5])
def test_a_nucleus_of_one_stray_voxel_is_measured_as_such(label: int) -> None:
    classes = np.zeros((5, 5, 5), np.uint8)
    classes[2, 2, 2] = label
    row = measured_nucleus(image(classes), ROW, 12)
    assert row.stage == "unknown"
    assert row.tracks == ()


@settings(max_examples=30, deadline=None)
@given(classes=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 5)))
def test_whatever_was_labelled_gives_a_row(classes: Labels) -> None:
    labelled = np.pad(classes, 1)
    row = measured_nucleus(image(labelled, (labelled == 2).astype(np.uint16)), ROW, 12)
    assert MeasuredNucleus.model_validate_json(row.model_dump_json()) == row
