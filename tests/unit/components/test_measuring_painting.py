"""Label arrays painted from run tables: in their place, with absent planes filled, thinned where they are fine."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.components.measuring.painting import CanvasPlace, NothingLabelledError, painted
from services.imaging.labelling import LabellingParameters, LabelTables, StreamingLabeller

VOXEL = (20.0, 16.0, 16.0)


def tables_of(volume: NDArray[np.uint8], first_z: int = 10, absent: tuple[int, ...] = ()) -> LabelTables:
    labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=(40, 50)), first_z=first_z)
    for index, plane in enumerate(volume):
        if index in absent:
            labeller.skip(first_z + index)
        else:
            labeller.add(first_z + index, plane, (4, 6))
    return labeller.finish()


def volume(planes: int = 8) -> NDArray[np.uint8]:
    classes = np.zeros((planes, 20, 30), np.uint8)
    classes[1:-1, 3:15, 5:25] = 1
    classes[2:-2, 5:9, 8:12] = 2
    return classes


def test_labels_lie_where_they_lay_with_an_empty_margin() -> None:
    classes = volume()
    tables = tables_of(classes)
    image = painted(tables, tables.labels_plane, CanvasPlace((-3, 7), VOXEL))
    assert np.array_equal(image.classes[1:-1, 1:-1, 1:-1], classes[1:-1, 3:15, 5:25])
    assert not image.classes[[0, -1]].any()
    assert np.array_equal(image.objects, image.chromosomes)
    # Plane 11, row 4 + 3 - 3 and column 6 + 5 + 7 of the acquisition, less the margin.
    assert not image.clipped
    assert image.lattice.origin_zyx_nm == (10 * 20, 3 * 16, 17 * 16)


def test_an_absent_plane_is_that_before_it() -> None:
    classes = volume()
    tables = tables_of(classes, absent=(4,))
    image = painted(tables, tables.labels_plane, CanvasPlace((0, 0), VOXEL))
    assert image.classes.shape[0] == 8
    assert np.array_equal(image.classes[4], image.classes[3])
    assert image.classes[4].any()


def test_fine_planes_are_thinned_to_sixteen_nanometres_about_the_same_middle() -> None:
    tables = tables_of(volume(planes=18))
    fine = painted(tables, tables.labels_plane, CanvasPlace((0, 0), (4.0, 4.0, 4.0)))
    assert fine.lattice.voxel_zyx_nm == (16.0, 16.0, 16.0)
    assert fine.classes.shape == (4 + 2, 3 + 2, 5 + 2)
    z, y, x = fine.lattice.places_nm(np.array([[1, 1, 1]]), 6)[0]
    # The third of the first four planes, rows and columns: 13.5, 9.5 and 13.5 voxels of 4 nm.
    assert (z, y, x) == (13.5 * 4, 9.5 * 4, 13.5 * 4)


def test_measured_depths_are_taken_where_they_are_known() -> None:
    tables = tables_of(volume())
    image = painted(tables, tables.labels_plane, CanvasPlace((0, 0), VOXEL), plane_z_nm=lambda z: 25.0 * z + 1)
    assert image.lattice.depths_nm(8).tolist() == [25.0 * z + 1 for z in range(10, 18)]


def test_only_faces_that_objects_reach_cut_them() -> None:
    tables = tables_of(volume())
    place = CanvasPlace((0, 0), VOXEL)
    reached = painted(tables, tables.labels_plane, place, cut={(0, 0): 11, (2, 1): 31})
    assert reached.cut == ((0, 0), (2, 1))
    beyond = painted(tables, tables.labels_plane, place, cut={(0, 0): 10, (2, 1): 36})
    assert beyond.cut == ()
    assert beyond.clipped


def test_tables_without_objects_have_nothing_to_measure() -> None:
    tables = tables_of(np.zeros((4, 20, 30), np.uint8))
    with pytest.raises(NothingLabelledError, match="nothing to measure"):
        painted(tables, tables.labels_plane, CanvasPlace((0, 0), VOXEL))
