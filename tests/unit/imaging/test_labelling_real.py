"""Real label volumes against `cc3d`: partition, counts and statistics."""

from pathlib import Path
from typing import Literal

import cc3d
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from services.imaging.labelling import LabellingParameters, label_volume, paint_volume
from services.imaging.labelling.statistics import moments


def volume_of(data: Path, name: str) -> NDArray[np.unsignedinteger]:
    if name == "neurons":
        return np.asarray(tifffile.imread(data / "fib25" / "sample2_neurons_z000-149.tif")).astype(np.uint32)
    if name == "hela":
        stack = data / "hela" / "labels3d_20x20x50nm_z000-157.tif"
        return np.asarray(tifffile.imread(stack, key=range(60, 90))).astype(np.uint8)
    with np.load(data / "urocell" / f"{name}.npz") as arrays:
        return np.ascontiguousarray(arrays[arrays.files[0]]).astype(np.uint16)


def same_numbers_up_to_names(a: NDArray[np.uint32], b: NDArray[np.unsignedinteger]) -> bool:
    """Whether each label of ``a`` is one of ``b``, with the same background."""
    name = np.zeros(int(a.max()) + 1, b.dtype)
    name[a.ravel()] = b.ravel()
    return name[0] == 0 and np.unique(name).size == name.size and np.array_equal(name[a], b)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("name", ["fib1-0-0-0", "fib1-1-0-3", "fib1-3-2-1", "neurons", "hela"])
def test_real_volumes_agree_with_cc3d(real_data: Path, name: str, connectivity: Literal[6, 18, 26]) -> None:
    volume = volume_of(real_data, name)
    parameters = LabellingParameters(
        canvas_shape_yx=volume.shape[1:], connectivity=connectivity, plane_type=volume.dtype.name
    )
    tables = label_volume(volume, parameters)
    rows = tables.objects
    labels = np.zeros(volume.shape, np.uint32)
    paint_volume(tables, labels, np.arange(1, rows.size + 1, dtype=np.uint32), np.ones(rows.size, np.bool_))
    expected = cc3d.connected_components(volume, connectivity=connectivity, out_dtype=np.uint32)
    assert rows.size == expected.max() > 0
    assert same_numbers_up_to_names(labels, expected)
    theirs = cc3d.statistics(labels, no_slice_conversion=True)
    boxes = np.stack([rows["z0"], rows["z1"] - 1, rows["y0"], rows["y1"] - 1, rows["x0"], rows["x1"] - 1], axis=1)
    np.testing.assert_array_equal(rows["voxels"], theirs["voxel_counts"][1:])
    np.testing.assert_array_equal(boxes, theirs["bounding_boxes"][1:])
    np.testing.assert_allclose(moments(rows)[0], theirs["centroids"][1:], rtol=1e-5)
