"""SWC: read by MorphIO; lines as long as they are, without spurs, at their place in the acquisition."""

from pathlib import Path

import morphio
import numpy as np
import pytest
from scipy.spatial import cKDTree

from services.exports.blocks import whole
from services.exports.export import Request, export
from services.exports.place import Placement
from services.exports.skeletons import Skeleton, skeleton_of, to_swc
from services.exports.surfaces import Body, gather
from tests.support.exported import place_nm
from tests.support.results_builder import nucleus_volumes

PLACE = Placement((16.0, 16.0, 16.0), (0.0, 0.0, 0.0))


def body_of(mask: np.ndarray, placement: Placement = PLACE) -> Body:
    voxels = mask.astype(np.uint8)
    return gather(lambda window: voxels[window], 1, whole(voxels.shape), placement)


def tube(points: np.ndarray, radius: float, shape: tuple[int, int, int]) -> np.ndarray:
    voxels = np.argwhere(np.ones(shape, bool))
    away: np.ndarray = np.asarray(cKDTree(points).query(voxels)[0])
    return (away <= radius).reshape(shape)


def test_a_helix_is_as_long_as_it_is() -> None:
    t = np.linspace(0, 4 * np.pi, 2000)
    points = np.stack([10 + 70 * t / t[-1], 32 + 22 * np.sin(t), 32 + 22 * np.cos(t)], axis=1)
    length_px = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    skeleton = skeleton_of(body_of(tube(points, 3.0, (90, 64, 64))))
    assert skeleton.length_nm == pytest.approx(length_px * 16.0, rel=0.03)
    assert (skeleton.parents < 0).sum() == 1


def test_a_short_side_branch_is_left_out_and_a_long_one_kept() -> None:
    mask = np.zeros((12, 12, 80), bool)
    mask[5:8, 5:8, 5:75] = True
    short, long = mask.copy(), np.pad(mask, ((0, 0), (0, 40), (0, 0)))
    short[5:8, 8:11, 40] = True
    long[5:8, 8:45, 39:42] = True

    def ends(skeleton: Skeleton) -> int:
        degree = np.bincount(skeleton.parents[skeleton.parents >= 0], minlength=len(skeleton.parents))
        return int(((degree + (skeleton.parents >= 0)) == 1).sum())

    assert ends(skeleton_of(body_of(short))) == 2
    assert ends(skeleton_of(body_of(long))) == 3


def test_a_speck_has_a_node() -> None:
    assert len(skeleton_of(body_of(np.ones((1, 1, 2), bool))).parents) >= 1


def test_a_rod_two_voxels_thick_has_a_line_along_it() -> None:
    mask = np.zeros((4, 4, 40), bool)
    mask[1:3, 1:3, 2:38] = True
    assert skeleton_of(body_of(mask)).length_nm == pytest.approx(35 * 16.0, rel=0.05)


def test_two_pieces_are_two_trees() -> None:
    mask = np.zeros((8, 8, 60), bool)
    mask[3:6, 3:6, 3:25] = mask[3:6, 3:6, 35:57] = True
    assert (skeleton_of(body_of(mask)).parents < 0).sum() == 2


def test_parents_come_before_children_and_morphio_reads_what_was_written(tmp_path: Path) -> None:
    t = np.linspace(0, 1, 400)
    points = np.stack([10 + 0 * t, 8 + 20 * t**2, 6 + 60 * t], axis=1)
    skeleton = skeleton_of(body_of(tube(points, 2.5, (20, 40, 74))))
    assert (skeleton.parents < np.arange(len(skeleton.parents))).all()
    (tmp_path / "a.swc").write_bytes(to_swc(skeleton, "a curve"))
    morphology = read(tmp_path / "a.swc")
    length_um = sum(np.linalg.norm(np.diff(s.points, axis=0), axis=1).sum() for s in morphology.iter())
    assert length_um == pytest.approx(skeleton.length_nm / 1000.0, rel=0.01)


def test_complexes_lie_where_they_lie_in_the_acquisition(out: Path) -> None:
    folder = export(Request(out, "swc")).folder
    morphology = read(folder / "n0001.swc")
    points_nm = morphology.points[:, ::-1] * 1000.0
    _, classes, _ = nucleus_volumes()
    low, high = np.argwhere(classes == 4).min(axis=0), np.argwhere(classes == 4).max(axis=0)
    assert (points_nm >= place_nm(low) - 60.0).all()
    assert (points_nm <= place_nm(high) + 60.0).all()
    assert np.ptp(points_nm[:, 0]) > 0.7 * np.ptp([place_nm(low)[0], place_nm(high)[0]])


def read(path: Path) -> morphio.Morphology:
    options = morphio.Option.no_modifier
    morphio.set_maximum_warnings(0)
    return morphio.Morphology(str(path), options)
