"""What is known about labelled objects, as JSON.

The document has these members; positions are voxels of the volume, boxes are half open:

``schema``
    ``fibsem-nuclei/label/1``; a change that could break a reader raises the number.
``input``, ``output``, ``largest``, ``filled_voxels``
    What was asked, and how many background voxels were filled before labelling.
``shape_zyx``, ``voxel_type``, ``connectivity``, ``delta``, ``min_voxels``
    The volume, and how it was labelled; ``min_voxels`` has ``else`` and the classes that were named.
``n_objects``, ``voxels``, ``n_left_out``, ``voxels_left_out``
    Objects in the output and their voxels; objects that were too small, or not among the largest.
``classes``
    The same four by class (value of the input); class 0 stands for "several values" of a grey volume.
``contacts``
    Pairs of objects that share voxel faces: ``labels`` (smaller first) and ``faces_zyx``, the number of faces across
    each axis. An area is their sum, each times the two other edges of a voxel.
``objects``
    One by line, in the order of labels: ``label``, ``class``, ``voxels``, ``bbox_zyx`` (first corner, last corner),
    ``centroid_zyx``, ``covariance_zyx`` (zz, yy, xx, zy, zx, yx, of voxel centres, divided by the number of voxels),
    ``first_voxel_zyx``, ``touches_border`` (any side of the volume: such an object may be cut).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from services.imaging.labelling.contacts import contacts_of
from services.imaging.labelling.rows import ObjectRows, first_voxels
from services.imaging.labelling.slabs import Selection

SCHEMA = "fibsem-nuclei/label/1"
_SECOND_MOMENTS = tuple(zip("zyxzzy", "zyxyxx", strict=True))


def statistics_of(selection: Selection, asked: Mapping[str, object]) -> Iterator[str]:
    """Yield the document as text, in pieces; ``asked`` is put in front."""
    head = json.dumps({"schema": SCHEMA, **asked, **_summary(selection)}, indent=1)
    yield head.rstrip("}").rstrip() + ',\n "contacts": ['
    yield _lines(_contacts(selection))
    yield '],\n "objects": ['
    yield _lines(_objects(selection))
    yield "]\n}\n"


def _lines(documents: Iterator[dict[str, object]]) -> str:
    return ",".join(f"\n  {json.dumps(document)}" for document in documents)


def _summary(selection: Selection) -> dict[str, object]:
    tables = selection.tables
    parameters = asdict(tables.parameters)
    rows, chosen = tables.objects, selection.number > 0
    classes = [
        {"class": class_id, **_totals(rows[rows["class_id"] == class_id], chosen[rows["class_id"] == class_id])}
        for class_id in np.unique(rows["class_id"]).tolist()
    ]
    named = {str(class_id): least for class_id, least in sorted(parameters["min_voxels"].items())}
    return {
        "shape_zyx": [tables.next_z - tables.first_z, *parameters["canvas_shape_yx"]],
        "voxel_type": parameters["plane_type"],
        "connectivity": parameters["connectivity"],
        "delta": parameters["delta"],
        "min_voxels": {"else": parameters["min_voxels_else"], **named},
        **_totals(rows, chosen),
        "classes": classes,
    }


def _totals(rows: ObjectRows, chosen: NDArray[np.bool_]) -> dict[str, int]:
    return {
        "n_objects": int(chosen.sum()),
        "voxels": int(rows["voxels"][chosen].sum()),
        "n_left_out": int((~chosen).sum()),
        "voxels_left_out": int(rows["voxels"][~chosen].sum()),
    }


def _contacts(selection: Selection) -> Iterator[dict[str, object]]:
    for contact in contacts_of(selection.tables):
        labels = selection.number[[contact["a"], contact["b"]]].tolist()
        if all(labels):
            yield {"labels": labels, "faces_zyx": [int(contact[f"faces_{axis}"]) for axis in "zyx"]}


def _objects(selection: Selection) -> Iterator[dict[str, object]]:
    tables = selection.tables
    rows = tables.objects[selection.number > 0]
    first = first_voxels(rows["identity"])
    cut = rows["touches_border"] | (rows["z0"] == tables.first_z) | (rows["z1"] == tables.next_z)
    centroid, covariance = moments(rows)
    for i, row in enumerate(rows):
        yield {
            "label": i + 1,
            "class": int(row["class_id"]),
            "voxels": int(row["voxels"]),
            "bbox_zyx": [[int(row[f"{axis}{side}"]) for axis in "zyx"] for side in (0, 1)],
            "centroid_zyx": centroid[i].tolist(),
            "covariance_zyx": covariance[i].tolist(),
            "first_voxel_zyx": first[i].tolist(),
            "touches_border": bool(cut[i]),
        }


def moments(rows: ObjectRows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centroids of objects, and the covariances of their voxel centres, from exact sums.

    Returns
    -------
    centroid
        float64, shape (objects, 3): z, y, x in voxels; the centre of the first voxel is 0.
    covariance
        float64, shape (objects, 6): zz, yy, xx, zy, zx, yx in voxels squared, divided by the number of voxels. The sums
        are shifted to the box of the object as integers first, so that nothing cancels far from the origin.

    Examples
    --------
    >>> from services.imaging.labelling import LabellingParameters, label_volume
    >>> line = np.array([[[0, 2, 2, 2]]], np.uint8)
    >>> centroid, covariance = moments(label_volume(line, LabellingParameters(canvas_shape_yx=(1, 4))).objects)
    >>> centroid.tolist(), covariance.round(3).tolist()
    ([[0.0, 0.0, 2.0]], [[0.0, 0.0, 0.667, 0.0, 0.0, 0.0]])
    """
    n = rows["voxels"]
    corner = {axis: rows[f"{axis}0"].astype(np.int64) for axis in "zyx"}
    shifted = {axis: rows[f"sum_{axis}"] - n * corner[axis] for axis in "zyx"}
    mean = {axis: shifted[axis] / n for axis in "zyx"}
    centroid = np.stack([corner[axis] + mean[axis] for axis in "zyx"], axis=1)
    covariance = np.empty((rows.size, len(_SECOND_MOMENTS)))
    for i, (a, b) in enumerate(_SECOND_MOMENTS):
        about_corner = rows[f"sum_{a}{b}"] - corner[b] * rows[f"sum_{a}"] - corner[a] * shifted[b]
        covariance[:, i] = about_corner / n - mean[a] * mean[b]
    return centroid, covariance
