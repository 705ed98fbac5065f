"""Meshes: read by trimesh, closed, as large as the voxels, in micrometres at the place in the acquisition."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from services.exports.blocks import whole
from services.exports.export import Request, export
from services.exports.place import Placement
from services.exports.surfaces import gather, surface_of
from tests.support.exported import place_nm
from tests.support.results_builder import CHROMOSOME_IDS, VOXEL_NM, nucleus_volumes

FORMATS = ("glb", "obj", "stl", "ply")


def ball(radius: float, size: int) -> Any:
    z, y, x = np.indices((size, size, size)) - (size - 1) / 2
    return (np.sqrt(z**2 + y**2 + x**2) < radius).astype(np.uint8)


@pytest.mark.parametrize("file_type", FORMATS)
def test_a_chromosome_is_closed_as_large_as_its_voxels_and_in_its_place(out: Path, file_type: str) -> None:
    folder = export(Request(out, file_type, label="objects")).folder
    _, _, objects = nucleus_volumes()
    mesh: Any = trimesh.load(folder / "n0001" / f"object-{CHROMOSOME_IDS[4]}.{file_type}", force="mesh")
    where = np.argwhere(objects == CHROMOSOME_IDS[4])
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(len(where) * np.prod(VOXEL_NM) / 1e9, rel=0.02)
    np.testing.assert_allclose(mesh.center_mass[::-1] * 1000.0, place_nm(where.mean(axis=0)), atol=20.0)


def test_all_bodies_lie_in_one_file_in_the_manuscripts_colours(out: Path) -> None:
    folder = export(Request(out, "glb")).folder
    scene: Any = trimesh.load(folder / "n0001.glb")
    assert set(scene.geometry) >= {"chromosome-01", "chromosome-12"}
    for name, mesh in scene.geometry.items():
        red, green, blue = mesh.visual.material.baseColorFactor[:3]
        if name.startswith("chromosome"):
            assert red > 200
            assert green > 150
            assert blue < 80


def test_chromosomes_differ_in_colour_in_the_other_file(out: Path) -> None:
    scene: Any = trimesh.load(export(Request(out, "glb")).folder / "n0001-distinct.glb")
    colours = {tuple(m.visual.material.baseColorFactor) for n, m in scene.geometry.items() if n.startswith("chrom")}
    assert len(colours) == 12


def test_a_ball_has_the_volume_and_the_area_of_a_ball() -> None:
    voxels = ball(20.0, 48)
    body = gather(lambda window: voxels[window], 1, whole(voxels.shape), Placement((10.0, 10.0, 10.0), (0.0, 0.0, 0.0)))
    surface = surface_of(body)
    mesh = trimesh.Trimesh(surface.points_nm, surface.faces)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 200.0**3, rel=0.01)
    assert mesh.area == pytest.approx(4 * np.pi * 200.0**2, rel=0.02)


def test_a_sheet_two_voxels_thick_keeps_its_volume() -> None:
    voxels = np.zeros((10, 40, 40), np.uint8)
    voxels[4:6, 5:35, 5:35] = 1
    body = gather(lambda window: voxels[window], 1, whole(voxels.shape), Placement((10.0, 10.0, 10.0), (0.0, 0.0, 0.0)))
    assert surface_of(body).volume_nm3 == pytest.approx(2 * 30 * 30 * 1000.0, rel=0.01)


def test_a_single_voxel_has_a_surface() -> None:
    voxels = np.ones((1, 1, 1), np.uint8)
    body = gather(lambda window: voxels[window], 1, whole(voxels.shape), Placement((10.0, 20.0, 30.0), (0.0, 0.0, 0.0)))
    assert surface_of(body).volume_nm3 == pytest.approx(6000.0, rel=0.05)


def test_a_body_too_large_is_thinned_and_stays_as_large_and_where_it_was() -> None:
    voxels = ball(20.0, 48)
    placement = Placement((10.0, 10.0, 10.0), (100.0, 0.0, -50.0))
    fine = gather(lambda window: voxels[window], 1, whole(voxels.shape), placement)
    coarse = gather(lambda window: voxels[window], 1, whole(voxels.shape), placement, limit=30_000)
    assert coarse.share.size <= 30_000
    meshes = [trimesh.Trimesh(s.points_nm, s.faces) for s in (surface_of(fine), surface_of(coarse))]
    assert meshes[1].volume == pytest.approx(meshes[0].volume, rel=0.02)
    np.testing.assert_allclose(meshes[1].center_mass, meshes[0].center_mass, atol=5.0)


def test_bodies_read_in_blocks_are_the_whole(tmp_path: Path) -> None:
    voxels = np.zeros((70, 20, 300), np.uint8)
    voxels[5:66, 4:15, 3:297] = 2
    placement = Placement((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    body = gather(lambda window: voxels[window], 2, whole(voxels.shape), placement)
    np.testing.assert_array_equal(body.share, voxels == 2)
    assert body.volume_nm3 == float((voxels == 2).sum())
