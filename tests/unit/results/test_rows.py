"""Rows of the result tables refuse what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.contracts.classes import LabelClass, UnknownLabelError, class_name
from services.contracts.rows import OBJECT_ROWS, NucleusRow, ObjectRow
from services.contracts.values import Side

NUCLEUS: dict[str, Any] = {"nucleus_id": "n1", "z_first": 3, "z_last": 9, "state": "closed"}
OBJECT: dict[str, Any] = {
    "nucleus_id": "n1", "object_id": 7, "class": "chromosome", "chromosome": 2, "voxels": 5, "volume_um3": 0.25,
    "z0": 3, "y0": -2, "x0": 4, "z1": 5, "y1": 1, "x1": 6,
    "centroid_z_nm": 60.0, "centroid_y_nm": -4.0, "centroid_x_nm": 80.0,
    "touches_border": False, "open": False, "bridged": True,
}  # fmt: skip


def test_rows_survive_their_journey_as_json() -> None:
    nucleus = NucleusRow.model_validate(NUCLEUS | {"volume_um3": 61.5, "mean_confidence": 0.9})
    assert NucleusRow.model_validate_json(nucleus.model_dump_json()) == nucleus
    rows = (ObjectRow.model_validate(OBJECT), ObjectRow.model_validate(OBJECT | {"object_id": 8}))
    assert OBJECT_ROWS.validate_json(OBJECT_ROWS.dump_json(rows)) == rows


def test_the_sides_of_a_nucleus_stand_in_one_order_and_once() -> None:
    row = NucleusRow.model_validate(NUCLEUS | {"clipped": ["X_FIRST", "Z_LAST", "X_FIRST"]})
    assert row.clipped == (Side.Z_LAST, Side.X_FIRST)


@pytest.mark.parametrize(
    "change",
    [
        {"nucleus_id": "a/b"},
        {"z_first": -1},
        {"z_last": 2},
        {"z_last": None},
        {"state": "half"},
        {"clipped": ["UP"]},
        {"volume_um3": -1.0},
        {"volume_um3": float("nan")},
        {"chromosome_count": -1},
        {"mean_confidence": 1.5},
        {"centroid_z_nm": float("inf")},
        {"surprise": 1},
    ],
)
def test_an_impossible_nucleus_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NucleusRow.model_validate(NUCLEUS | change)


@pytest.mark.parametrize(
    "change",
    [
        {"object_id": 0},
        {"object_id": 2**32},
        {"class": "exterior"},
        {"class": "no name"},
        {"chromosome": 0},
        {"voxels": 0},
        {"volume_um3": 0.0},
        {"z1": 3},
        {"y1": -2},
        {"x1": 0},
        {"centroid_x_nm": float("nan")},
        {"surprise": 1},
    ],
)
def test_an_impossible_object_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ObjectRow.model_validate(OBJECT | change)


def test_classes_have_the_ids_names_and_order_that_everybody_uses() -> None:
    assert [(int(label), label.label) for label in LabelClass] == [
        (0, "exterior"),
        (1, "nucleoplasm"),
        (2, "chromosome"),
        (3, "nucleolus"),
        (4, "synaptonemal_complex"),
        (5, "nuclear_membrane"),
    ]
    assert class_name(200) == "class_200"


def test_an_unknown_class_name_is_refused() -> None:
    with pytest.raises(UnknownLabelError, match="mitochondrion"):
        LabelClass.from_label("mitochondrion")
