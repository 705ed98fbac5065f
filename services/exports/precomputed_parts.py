"""Bytes of Neuroglancer's meshes, skeletons and segment properties, and the states that show them."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.exports.styles import Label

VIEWER = "https://neuroglancer-demo.appspot.com/#!"
PORT = 9400
_PLAIN = frozenset(string.ascii_letters + string.digits + ":/,@!*()'-._~")


def encode_mesh(points_nm: NDArray[np.float64], faces: NDArray[np.int32]) -> bytes:
    """Return a fragment of a legacy single-resolution mesh: corner count, corners (x, y, z) in nm, faces.

    Examples
    --------
    >>> len(encode_mesh(np.zeros((3, 3)), np.array([[0, 1, 2]], np.int32)))
    52
    """
    return np.uint32(len(points_nm)).tobytes() + points_nm.astype("<f4").tobytes() + faces.astype("<u4").tobytes()


def encode_skeleton(points_nm: NDArray[np.float64], parents: NDArray[np.int64], radii_nm: NDArray[np.float64]) -> bytes:
    """Return a skeleton: counts, nodes (x, y, z) in nm, edges, then the radius of each node.

    Examples
    --------
    >>> len(encode_skeleton(np.zeros((2, 3)), np.array([-1, 0]), np.zeros(2)))
    48
    """
    child = np.flatnonzero(parents >= 0)
    edges = np.stack([parents[child], child], axis=1).astype("<u4")
    counts = np.array([len(points_nm), len(edges)], "<u4")
    return b"".join(part.tobytes() for part in (counts, points_nm.astype("<f4"), edges, radii_nm.astype("<f4")))


def encode_properties(labels: Sequence[Label]) -> dict[str, object]:
    """Return the `info` of segment properties: a name for each label, its class as a tag, its numbers.

    Examples
    --------
    >>> info = encode_properties([Label(3, "nucleolus 3", (0, 0, 0, 255), {"voxels": 5})])
    >>> info["inline"]["ids"], [entry["id"] for entry in info["inline"]["properties"]]
    (['3'], ['label', 'voxels'])
    """
    properties: list[dict[str, object]] = [{"id": "label", "type": "label", "values": [la.name for la in labels]}]
    classes = sorted({label.class_name for label in labels} - {""})
    if classes:
        tags = [[classes.index(label.class_name)] if label.class_name else [] for label in labels]
        properties.append({"id": "tags", "type": "tags", "tags": classes, "values": tags})
    for name in _numeric(labels):
        values = [float(label.properties.get(name) or 0.0) for label in labels]
        properties.append({"id": name, "type": "number", "data_type": "float32", "values": values})
    inline = {"ids": [str(label.value) for label in labels], "properties": properties}
    return {"@type": "neuroglancer_segment_properties", "inline": inline}


def _numeric(labels: Sequence[Label]) -> list[str]:
    """Columns that hold a number for at least one label, in the order in which they come."""
    names: dict[str, None] = {}
    for label in labels:
        for name, cell in label.properties.items():
            if isinstance(cell, int | float) and not isinstance(cell, bool):
                names[name] = None
    return list(names)


def state(
    sources: Mapping[str, Sequence[Label] | None],
    root: str,
    voxel_nm: tuple[float, float, float],
    shift_nm: tuple[float, float, float],
    middle_nm: tuple[float, float, float],
) -> dict[str, object]:
    """Return a viewer state with one layer for each source.

    Parameters
    ----------
    sources
        Layer name to its labels, None for the grey image.
    root
        Address of the folder that holds the layers.
    voxel_nm
        (z, y, x) edges of a voxel.
    shift_nm
        (z, y, x) to add to the volumes' own coordinates, see `precomputed.remainder_nm`.
    middle_nm
        (z, y, x) place to look at.
    """
    x_nm, y_nm, z_nm = voxel_nm[::-1]
    dimensions = {"x": [x_nm * 1e-9, "m"], "y": [y_nm * 1e-9, "m"], "z": [z_nm * 1e-9, "m"]}
    matrix = [
        [1.0 if row == column else 0.0 for column in range(3)] + [shift_nm[2 - row] / voxel_nm[2 - row]]
        for row in range(3)
    ]
    layers = [
        _layer(name, labels, root, {"matrix": matrix, "outputDimensions": dimensions})
        for name, labels in sources.items()
    ]
    return {
        "dimensions": dimensions,
        "position": [p / v for p, v in zip(middle_nm[::-1], voxel_nm[::-1], strict=True)],
        "crossSectionScale": 1.0,
        "projectionScale": 400.0,
        "layers": layers,
        "selectedLayer": {"layer": layers[-1]["name"], "visible": True},
        "layout": "4panel",
    }


def _layer(name: str, labels: Sequence[Label] | None, root: str, transform: Mapping[str, object]) -> dict[str, object]:
    layer: dict[str, object] = {
        "name": name,
        "type": "image" if labels is None else "segmentation",
        "source": {"url": f"precomputed://{root}/{name}", "transform": transform},
    }
    if labels is not None:
        layer["segments"] = [str(label.value) for label in labels if label.rgba[3] == 255] if len(labels) < 64 else []
        layer["segmentColors"] = {str(la.value): "#{:02x}{:02x}{:02x}".format(*la.rgba[:3]) for la in labels}
        layer["selectedAlpha"] = 0.35
    return layer


def link(viewer_state: Mapping[str, object]) -> str:
    """Return the address that opens a viewer in a state.

    Examples
    --------
    >>> link({"layout": "3d"}).removeprefix(VIEWER)
    '%7B%22layout%22:%223d%22%7D'
    """
    text = json.dumps(viewer_state, separators=(",", ":"), sort_keys=True)
    return VIEWER + "".join(c if c in _PLAIN else f"%{ord(c):02X}" for c in text)
