from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import cc3d
import numpy as np
import pytest
from numpy.typing import NDArray

from services.simulator.anatomy import Tissue
from services.simulator.nucleus import body_volume_nm3, lobe_area_nm2
from services.simulator.phantom import Phantom, PhantomSpec, SliceOutOfRangeError

MakeSpec = Callable[..., PhantomSpec]


def digest(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def volume(phantom: Phantom, plane: str) -> NDArray[np.integer]:
    return np.stack([getattr(phantom.truth(z), plane) for z in range(phantom.shape_zyx[0])])


def test_a_seed_gives_the_same_bytes_in_any_order(make_spec: MakeSpec) -> None:
    spec = make_spec("all", n_slices=30)
    forwards, backwards = Phantom(spec), Phantom(spec)
    first = [digest(forwards.slice(z)) for z in range(30)]
    second = [digest(backwards.slice(z)) for z in reversed(range(30))]
    assert first == second[::-1]
    assert len(set(first)) == 30


def test_truth_and_image_do_not_depend_on_which_is_asked_for_first(make_spec: MakeSpec) -> None:
    one, other = Phantom(make_spec()), Phantom(make_spec())
    image = one.slice(50)
    truth = one.truth(50)
    assert digest(other.truth(50).classes) == digest(truth.classes)
    assert digest(other.slice(50)) == digest(image)


def test_another_seed_gives_another_tissue(make_spec: MakeSpec, phantom: Phantom) -> None:
    other = Phantom(make_spec(seed=6))
    assert (other.truth(50).classes != phantom.truth(50).classes).mean() > 0.02


def test_planes_of_the_truth_agree_with_one_another(phantom: Phantom) -> None:
    for z in (30, 50, 70):
        truth = phantom.truth(z)
        assert np.array_equal(truth.classes > 0, truth.nuclei > 0)
        assert np.array_equal(truth.chromosomes > 0, truth.classes == 2)
        assert np.array_equal(truth.bivalents > 0, np.isin(truth.classes, (2, 4)))
        homologs = truth.chromosomes > 0
        assert np.array_equal((truth.chromosomes[homologs] + 1) // 2, truth.bivalents[homologs])
        assert np.array_equal(truth.tissue == Tissue.NUCLEOLUS, truth.classes == 3)


def test_all_six_bivalents_and_twelve_chromosomes_are_there(phantom: Phantom) -> None:
    nucleus = volume(phantom, "nuclei") == 1
    assert set(np.unique(volume(phantom, "bivalents")[nucleus])) == set(range(7))
    assert set(np.unique(volume(phantom, "chromosomes")[nucleus])) == set(range(13))


def test_volumes_are_those_of_the_geometry(phantom: Phantom) -> None:
    nucleus, anatomy = phantom.nuclei[0], phantom.spec.anatomy
    mine = volume(phantom, "nuclei") == 1
    classes = volume(phantom, "classes")
    voxel_nm3 = phantom.spec.voxel_nm**3
    whole = body_volume_nm3(nucleus.shape.body, anatomy.envelope_nm / 2)
    inner = body_volume_nm3(nucleus.shape.nucleolus)
    ribbon = sum(nucleus.chromosomes.sc_lengths_nm) * anatomy.sc_width_nm * anatomy.sc_thickness_nm
    chromatin = 2 * sum(nucleus.chromosomes.sc_lengths_nm) * lobe_area_nm2(anatomy)
    assert mine.sum() * voxel_nm3 == pytest.approx(whole, rel=0.01)
    assert (mine & (classes == 3)).sum() * voxel_nm3 == pytest.approx(inner, rel=0.02)
    assert (mine & (classes == 4)).sum() * voxel_nm3 == pytest.approx(ribbon, rel=0.10)
    # Ends are rounded, and the gap between chromosomes costs some.
    assert (mine & (classes == 2)).sum() * voxel_nm3 == pytest.approx(chromatin, rel=0.12)


def test_as_many_whole_nuclei_as_asked_for_lie_inside_the_field_with_their_caps(make_spec: MakeSpec) -> None:
    phantom = Phantom(replace(make_spec(n_nuclei=3), neighbours=True))
    size_nm = np.array(phantom.shape_zyx) * phantom.spec.voxel_nm
    inside = [n for n in phantom.nuclei if (n.box_nm[0] > 0).all() and (n.box_nm[1] < size_nm).all()]
    assert [n.ident for n in inside] == [1, 2, 3]
    assert len(phantom.nuclei) > 3
    for nucleus in inside:
        assert nucleus.box_nm[0, 0] >= 700
        assert nucleus.box_nm[1, 0] <= size_nm[0] - 700


def test_whole_nuclei_keep_off_the_border_and_neighbours_are_cut_by_it(make_spec: MakeSpec) -> None:
    phantom = Phantom(replace(make_spec(n_nuclei=2), neighbours=True))
    nuclei = volume(phantom, "nuclei")
    rim: set[int] = set()
    for face in (nuclei[:, 0], nuclei[:, -1], nuclei[:, :, 0], nuclei[:, :, -1]):
        rim |= set(np.unique(face)) - {0}
    assert rim
    assert not rim & {1, 2}
    assert {int(k) for k in np.unique(nuclei)} - {0} == rim | {1, 2}


def test_without_neighbours_there_are_only_whole_nuclei(make_spec: MakeSpec) -> None:
    phantom = Phantom(make_spec(n_nuclei=2))
    assert [n.requested for n in phantom.nuclei] == [True, True]


def test_stacked_nuclei_lie_above_one_another_and_stay_apart(make_spec: MakeSpec) -> None:
    phantom = Phantom(replace(make_spec(n_nuclei=2), layers=2))
    upper, lower = phantom.nuclei
    assert lower.box_nm[0, 0] > upper.box_nm[1, 0]
    assert np.hypot(*(lower.centre_zyx_nm - upper.centre_zyx_nm)[1:]) < 1000


def test_touching_nuclei_share_a_face_and_keep_their_ids(make_spec: MakeSpec) -> None:
    phantom = Phantom(replace(make_spec(n_nuclei=2), touching=True))
    classes, nuclei = volume(phantom, "classes"), volume(phantom, "nuclei")
    _, separate = cc3d.connected_components(nuclei > 0, connectivity=26, return_N=True)
    _, insides = cc3d.connected_components((nuclei > 0) & (classes != 5), connectivity=6, return_N=True)
    assert separate == 1
    assert insides == 2
    assert set(np.unique(nuclei)) == {0, 1, 2}


def test_a_slice_that_is_not_there_is_refused(phantom: Phantom) -> None:
    with pytest.raises(SliceOutOfRangeError, match="slice 100 is not one of the 100"):
        phantom.slice(100)
    with pytest.raises(SliceOutOfRangeError, match="slice -1"):
        phantom.truth(-1)


def test_sixteen_bits_hold_the_same_image_more_finely(phantom: Phantom) -> None:
    fine, coarse = phantom.slice_16bit(50), phantom.slice(50)
    assert np.abs(fine / 257.0 - coarse).max() <= 0.51
    assert len(np.unique(fine)) > len(np.unique(coarse))


def test_shares_of_the_classes_are_those_of_a_crop_through_the_equator() -> None:
    spec = PhantomSpec(seed=3, n_nuclei=1, shape_yx_px=(425, 425), neighbours=False)
    phantom = Phantom(spec)
    middle = int(phantom.nuclei[0].centre_zyx_nm[0] / spec.voxel_nm)
    planes = np.stack([phantom.truth(z).classes for z in range(middle - 40, middle + 41, 20)])
    counts = np.bincount(planes.ravel(), minlength=6)
    share = counts / counts.sum()
    assert share[0] == pytest.approx(0.70, abs=0.06)
    assert share[1] == pytest.approx(0.19, abs=0.06)
    assert share[2] == pytest.approx(0.04, abs=0.02)
    assert share[3] == pytest.approx(0.055, abs=0.025)
    assert share[4] == pytest.approx(0.003, abs=0.0015)
    assert share[5] == pytest.approx(0.013, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_a_gap_of_80_nm_chromosomes_are_twelve_and_bivalents_six(seed: int) -> None:
    spec = PhantomSpec(seed=seed, n_nuclei=1, neighbours=False, contact_gap_nm=80.0, contact_fraction=0.0)
    phantom = Phantom(spec)
    classes = volume(phantom, "classes")
    _, chromosomes = cc3d.connected_components(classes == 2, connectivity=26, return_N=True)
    _, bivalents = cc3d.connected_components(np.isin(classes, (2, 4)), connectivity=26, return_N=True)
    _, complexes = cc3d.connected_components(classes == 4, connectivity=26, return_N=True)
    assert (chromosomes, bivalents, complexes) == (12, 6, 6)
