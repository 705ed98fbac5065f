"""Every constraint of every message and value refuses what it should, and says which field it was."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from services.contracts.messages import (
    MESSAGE_TYPES,
    AcquisitionFinished,
    AcquisitionOpened,
    ChromosomesSeparated,
    ComponentsMeasured,
    CropAbsent,
    CropExtracted,
    CropSegmented,
    DeadLettered,
    DecisionRecorded,
    Message,
    ModelPublished,
    NucleusClosed,
    NucleusOpened,
    ObjectChanged,
    OutlinesDetected,
    SliceAbsent,
    SliceIngested,
    SliceJudged,
    SliceRegistered,
    TrainingRequested,
    VolumeClosed,
    VolumeExtended,
)
from services.contracts.values import (
    AbsenceReason,
    AbsentPlane,
    ArtefactKey,
    ArtefactRef,
    GreyMapping,
    ObjectChange,
    PixelWindow,
    Side,
    Transform,
    Value,
    VoxelSize,
)
from tests.support.messages import EXAMPLES, GREY, TRANSFORM, VOXEL_SIZE, WINDOW, example, ref

NOT_A_NUMBER: list[Any] = [None, "", "many", [], {}]
NOT_FINITE = [float("nan"), float("inf"), float("-inf"), *NOT_A_NUMBER]

IDENTIFIER = ["", ".hidden", "-n1", "a/b", "..", "a b", "a\\b", "a\0", "a\n", "é", "a~", "a" * 81, None, 7]
KEY = ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "a b/c", "a\\b", "a\0b", "a\n", "é", "a~", "a" * 513, None, 7]
HASH = ["", "0" * 63, "0" * 65, "g" * 64, "A" * 64, "0" * 64 + "\n", None]
TEXT = ["", "x" * 4001, None, 7, b"\xff"]
Z = [-1, 2**31, 0.5, *NOT_A_NUMBER]
COUNT = [-1, 0.5, *NOT_A_NUMBER]
POSITIVE = [0, *COUNT]
PIXELS = [0, -1, 2**20 + 1, 0.5, *NOT_A_NUMBER]
PLACE = [-(2**20) - 1, 2**20 + 1, 0.5, *NOT_A_NUMBER]
BITS = [0, 1, 4, 7, 9, 12, 24, 32, *NOT_A_NUMBER]
LENGTH = [0.0, -1.0, 10_000.1, *NOT_FINITE]
NAME = ["", "UNSPECIFIED", "missing", "SOMETHING_ELSE", 0, 1, None]
OBJECT_KEY = ["", "1-2", "1-2-3-4", "1-2-3 ", "-1-2-3", "a-b-c", "1-2-3\n", "../1-2-3", None, 7]

REF = [None, {}, "a/b", {"key": "a/b", "sha256": "0" * 64}, {"key": "../b", "sha256": "0" * 64, "size_bytes": 1}]
VOXELS = [None, {}, 4.0, [8.0, 4.0, 4.0], {"z_nm": 8.0, "y_nm": 4.0}, {"z_nm": 8.0, "y_nm": 4.0, "x_nm": 0.0}]
MAPPING = [None, {}, {"low": 0, "high": 255, "mean": 130}, {"low": 5, "high": 5, "mean": 1, "sd": 1}]
PLACEMENT = [None, 1, [1.0, 0.0], {"yy": float("nan")}, {"zz": 1.0}]
CANVAS = [None, {}, [0, 0, 1, 1], {"y0_px": 0, "x0_px": 0, "height_px": 0, "width_px": 1}]
ABSENT: list[Any] = [None, 3, [{}], [{"z": -1, "reason": "MISSING"}], [{"z": 402, "reason": "UNSPECIFIED"}]]
SIDES = [None, "Z_LAST", ["UNSPECIFIED"], ["TOP"], [1]]
NESTED: list[Any] = [None, {}, "message"]

OPTIONAL_HASH = [bad for bad in HASH if bad is not None]
REPAIRS = [None, 3, "gain", ["de/stripe"], [""]]
OPTIONAL_REF = [bad for bad in REF if bad is not None]
OPTIONAL_IDENTIFIER = [bad for bad in IDENTIFIER if bad is not None]
WHERE: dict[str, list[Any]] = {"acquisition_id": IDENTIFIER, "nucleus_id": IDENTIFIER}

INVALID: dict[type[Value], dict[str, list[Any]]] = {
    ArtefactRef: {"key": KEY, "sha256": HASH, "size_bytes": COUNT},
    VoxelSize: {"z_nm": LENGTH, "y_nm": LENGTH, "x_nm": LENGTH},
    PixelWindow: {"y0_px": PLACE, "x0_px": PLACE, "height_px": PIXELS, "width_px": PIXELS},
    Transform: dict.fromkeys(("yy", "yx", "xy", "xx", "shift_y_px", "shift_x_px"), NOT_FINITE),
    GreyMapping: {
        "low": [-1.0, 243.0, 244.0, *NOT_FINITE],
        "high": [0.0, -1.0, 12.5, 65_535.5, *NOT_FINITE],
        "mean": [-0.5, 255.5, *NOT_FINITE],
        "sd": [0.0, -1.0, 255.5, *NOT_FINITE],
        "inverted": [None, 2, 0.5, "maybe"],
    },
    AbsentPlane: {"z": Z, "reason": NAME},
    AcquisitionOpened: {
        "acquisition_id": IDENTIFIER, "voxel_size": VOXELS, "height_px": PIXELS, "width_px": PIXELS,
        "bits": BITS, "z_first": Z, "grey": MAPPING,
    },
    DecisionRecorded: {
        "acquisition_id": IDENTIFIER, "kind": NAME, "z_first": [*Z, 406], "z_last": [*Z, 401],
        "decided_by": IDENTIFIER, "reason": TEXT, "model_set": OPTIONAL_HASH, "request_id": OPTIONAL_IDENTIFIER,
    },
    AcquisitionFinished: {"acquisition_id": IDENTIFIER, "z_first": [*Z, 1651], "z_last": [*Z, 399]},
    SliceIngested: {
        "acquisition_id": IDENTIFIER, "z": Z, "raw": REF, "page": COUNT, "file_name": TEXT,
        "height_px": PIXELS, "width_px": PIXELS, "bits": BITS, "voxel_size": VOXELS, "grey": MAPPING,
        "transform": PLACEMENT, "channel": [-1, 4, 0.5, "red"], "model_set": OPTIONAL_HASH,
    },
    SliceAbsent: {"acquisition_id": IDENTIFIER, "z": Z, "reason": NAME, "detail": TEXT},
    OutlinesDetected: {
        "slice": NESTED, "outlines": REF, "outline_count": COUNT, "digest": OPTIONAL_REF, "quality": OPTIONAL_REF,
        "repairs": REPAIRS,
    },
    SliceJudged: {
        "acquisition_id": IDENTIFIER, "z": Z, "troubles": [None, 3, [{}], [{"trouble": "defocus", "severity": 0.5}]],
        "thickness_nm": [-1.0, *[bad for bad in NOT_FINITE if bad is not None]], "scores": [None, 3, [{}]],
        "absent": [bad for bad in NAME if bad is not None], "repairs": REPAIRS,
    },
    SliceRegistered: {
        "acquisition_id": IDENTIFIER, "z": Z, "first": PLACEMENT, "transform": PLACEMENT, "linked": [None, 2, "maybe"],
        "ncc": [-1.5, 1.5, *NOT_FINITE], "registration": IDENTIFIER,
    },
    NucleusOpened: {
        **WHERE, "z_first": Z, "canvas": CANVAS, "voxel_size": VOXELS, "grey": MAPPING, "model_set": HASH,
        "continues": OPTIONAL_IDENTIFIER, "registration": OPTIONAL_IDENTIFIER,
    },
    NucleusClosed: {
        **WHERE, "z_first": [*Z, 399, 401, 418], "z_last": [*Z, 416, 418], "absent": ABSENT, "clipped": SIDES,
        "detected_planes": [*COUNT, 8, 10], "bridged_planes": [*COUNT, 3, 5], "cap_planes": [*COUNT, 2, 4],
        "depths": OPTIONAL_REF,
    },
    CropExtracted: {
        **WHERE, "z": Z, "kind": NAME, "window": CANVAS, "crop": REF, "voxel_size": VOXELS, "grey": MAPPING,
        "transform": PLACEMENT, "model_set": HASH,
    },
    CropAbsent: {**WHERE, "z": Z, "reason": NAME, "detail": TEXT},
    CropSegmented: {"crop": NESTED, "planes": REF, "plane_voxel_size": VOXELS, "numeric_profile": IDENTIFIER},
    VolumeExtended: {
        **WHERE, "z_first": Z, "clean_final_z": Z, "volume_prefix": KEY, "changes": REF,
        "closed_tables": OPTIONAL_REF, "plane_voxel_size": VOXELS,
    },
    VolumeClosed: {
        "nucleus": NESTED, "opened": NESTED, "volume_prefix": KEY, "tables": REF, "changes": REF, "summary": REF,
    },
    ObjectChanged: {
        **WHERE, "object_key": OBJECT_KEY, "change": NAME, "label_class": [0, 256, *COUNT], "voxels": POSITIVE,
        "z_front": Z, "merged_into": [bad for bad in OBJECT_KEY if bad is not None],
    },
    ChromosomesSeparated: {
        **WHERE, "group": OBJECT_KEY, "standing": NAME, "method": IDENTIFIER, "chromosome_count": COUNT,
        "voxels": POSITIVE, "z_front": Z, "rows": REF, "confidence": [-0.1, 1.1, float("nan"), "sure"],
    },
    ComponentsMeasured: {
        **WHERE, "method": IDENTIFIER, "expected_count": COUNT, "chromosome_count": COUNT, "volume_prefix": KEY,
        "objects": REF, "measurements": REF,
    },
    TrainingRequested: {
        "request_id": IDENTIFIER, "recipe": REF, "requested_by": IDENTIFIER, "inputs": OPTIONAL_REF,
    },
    ModelPublished: {
        "model_id": IDENTIFIER, "card": REF, "weights": REF, "archive": REF, "served": OPTIONAL_REF,
        "model_set": OPTIONAL_HASH, "request_id": OPTIONAL_IDENTIFIER,
    },
    DeadLettered: {
        "service": IDENTIFIER, "subject": TEXT, "origin": TEXT, "message_type": TEXT, "message_key": TEXT,
        "original": REF, "reason": IDENTIFIER, "detail": TEXT, "attempts": COUNT,
        "acquisition_id": OPTIONAL_IDENTIFIER, "z": [-1, 2**31, 0.5],
    },
}  # fmt: skip

VALUES = (ref("raw"), VOXEL_SIZE, WINDOW, TRANSFORM, GREY, AbsentPlane(z=402, reason=AbsenceReason.BLANK))
VALID: dict[type[Value], Value] = {type(value): value for value in (*EXAMPLES.values(), *VALUES)}
CASES = [
    pytest.param(kind, field, id=f"{kind.__name__}.{field}") for kind, fields in INVALID.items() for field in fields
]


def with_field(kind: type[Value], field: str, value: object) -> Value:
    return kind.model_validate({**{name: getattr(VALID[kind], name) for name in kind.model_fields}, field: value})


@pytest.mark.parametrize(("kind", "field"), CASES)
def test_bad_values_of_a_field_are_refused(kind: type[Value], field: str) -> None:
    assert with_field(kind, field, getattr(VALID[kind], field)) == VALID[kind]
    for bad in INVALID[kind][field]:
        with pytest.raises(ValidationError):
            pytest.fail(f"accepted {with_field(kind, field, bad)!r}")


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.__name__)
def test_every_field_has_a_value_that_it_refuses(kind: type[Value]) -> None:
    assert set(INVALID[kind]) == set(kind.model_fields)
    assert all(INVALID[kind].values())


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_a_field_that_is_left_out_is_missed_unless_it_may_be(kind: type[Message]) -> None:
    for field, described in kind.model_fields.items():
        fields = {name: getattr(VALID[kind], name) for name in kind.model_fields if name != field}
        if described.is_required():
            with pytest.raises(ValidationError, match=field):
                kind.model_validate(fields)


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.__name__)
def test_an_unknown_field_is_refused(kind: type[Value]) -> None:
    with pytest.raises(ValidationError, match="surprise"):
        with_field(kind, "surprise", 1)


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.__name__)
def test_nothing_can_be_changed_afterwards(kind: type[Value]) -> None:
    name = next(iter(kind.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(VALID[kind], name, getattr(VALID[kind], name))


# What several fields say together


def test_a_range_may_be_one_slice_long() -> None:
    assert example(DecisionRecorded, z_first=402, z_last=402).z_last == 402
    assert example(AcquisitionFinished, z_first=0, z_last=0).z_last == 0


@pytest.mark.parametrize("kind", [DecisionRecorded, AcquisitionFinished])
def test_a_range_backwards_is_refused(kind: type[Message]) -> None:
    with pytest.raises(ValidationError, match=r"z_last \(399\) is before z_first \(400\)"):
        example(kind, z_first=400, z_last=399)


def test_planes_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValidationError, match="19 planes do not account for z 400 to 417"):
        example(NucleusClosed, detected_planes=10)


@pytest.mark.parametrize("z", [399, 418])
def test_an_absent_plane_outside_the_nucleus_is_refused(z: int) -> None:
    outside = AbsentPlane(z=z, reason=AbsenceReason.MISSING)
    with pytest.raises(ValidationError, match="outside the nucleus"):
        example(NucleusClosed, absent=(outside,), detected_planes=10)


@pytest.mark.parametrize("change", [change for change in ObjectChange if change is not ObjectChange.MERGED])
def test_only_a_merge_names_another_object(change: ObjectChange) -> None:
    with pytest.raises(ValidationError, match="exactly when the change is MERGED"):
        example(ObjectChanged, change=change, merged_into="1-2-3")
    assert example(ObjectChanged, change=change, merged_into=None).change is change


def test_a_merge_without_the_older_object_is_refused() -> None:
    with pytest.raises(ValidationError, match="exactly when the change is MERGED"):
        example(ObjectChanged, change=ObjectChange.MERGED, merged_into=None)


def test_only_a_swap_names_models() -> None:
    with pytest.raises(ValidationError, match="names no model set"):
        example(DecisionRecorded, kind="SLICES_MISSING")


def test_closed_tables_without_the_size_of_their_voxels_are_refused() -> None:
    with pytest.raises(ValidationError, match="plane_voxel_size"):
        example(VolumeExtended, plane_voxel_size=None)


def test_a_grey_range_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be below high"):
        GreyMapping(low=7.0, high=7.0, mean=100.0, sd=10.0)


def test_an_object_key_has_the_digits_0_to_9() -> None:
    with pytest.raises(ValidationError):
        example(ObjectChanged, object_key="\u0661-\u0662-\u0663")


@pytest.mark.parametrize(
    ("kind", "field", "beyond"),
    [
        (ArtefactRef, "size_bytes", 2**63),
        (SliceIngested, "page", 2**31),
        (OutlinesDetected, "outline_count", 2**31),
        (ObjectChanged, "voxels", 2**63),
        (DeadLettered, "attempts", 2**31),
    ],
)
def test_a_count_that_the_wire_cannot_carry_is_refused(kind: type[Value], field: str, beyond: int) -> None:
    with pytest.raises(ValidationError):
        with_field(kind, field, beyond)


# Values


def test_an_absent_transform_is_the_identity() -> None:
    assert Transform() == Transform(yy=1.0, yx=0.0, xy=0.0, xx=1.0, shift_y_px=0.0, shift_x_px=0.0)


def test_lengths_and_windows_are_given_in_the_order_of_array_axes() -> None:
    assert VoxelSize(z_nm=8.0, y_nm=4.0, x_nm=2.0).zyx_nm == (8.0, 4.0, 2.0)
    assert VoxelSize(z_nm=8.0, y_nm=4.0, x_nm=2.0).volume_nm3 == 64.0
    window = PixelWindow(y0_px=-3, x0_px=5, height_px=7, width_px=11)
    assert (window.origin_yx, window.shape_yx) == ((-3, 5), (7, 11))


def test_every_face_has_a_name() -> None:
    assert [side.value for side in Side] == ["Z_FIRST", "Z_LAST", "Y_FIRST", "Y_LAST", "X_FIRST", "X_LAST"]


# Identities


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_identities_and_keys_are_path_safe_and_the_same_every_time(kind: type[Message]) -> None:
    message = EXAMPLES[kind]
    again = kind.model_validate_json(message.model_dump_json())
    assert (again.identity, again.key) == (message.identity, message.key)
    key = TypeAdapter[str](ArtefactKey)
    assert key.validate_python(message.identity)
    assert key.validate_python(message.key)


def test_every_type_says_what_it_is_about() -> None:
    with pytest.raises(NotImplementedError):
        _ = Message().identity
    with pytest.raises(NotImplementedError):
        _ = Message().key
    assert all(EXAMPLES[kind].identity for kind in MESSAGE_TYPES.values())


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (SliceIngested, {"z": 418}),
        (SliceIngested, {"acquisition_id": "other"}),
        (CropExtracted, {"nucleus_id": "n0004"}),
        (CropExtracted, {"z": 418}),
        (DecisionRecorded, {"kind": "CONFLICT_RESOLVED", "model_set": None}),
        (DecisionRecorded, {"request_id": "use_models-ba9876543210"}),
        (DecisionRecorded, {"z_last": 406}),
        (VolumeExtended, {"clean_final_z": 411}),
        (ObjectChanged, {"z_front": 418}),
        (ObjectChanged, {"object_key": "12-340-568"}),
        (ChromosomesSeparated, {"group": "12-340-568"}),
        (ChromosomesSeparated, {"standing": "PROVISIONAL"}),
        (ComponentsMeasured, {"method": "cc26"}),
        (DeadLettered, {"reason": "not_a_tiff"}),
        (ModelPublished, {"model_id": "other"}),
    ],
)
def test_another_fact_has_another_identity(kind: type[Message], changes: dict[str, Any]) -> None:
    assert example(kind, **changes).identity != EXAMPLES[kind].identity


def test_a_transform_onto_a_line_is_refused() -> None:
    with pytest.raises(ValidationError, match="line or a point"):
        Transform(yy=1.0, yx=2.0, xy=0.5, xx=1.0)


def test_a_volume_is_closed_by_the_nucleus_that_opened_it() -> None:
    with pytest.raises(ValidationError, match="was closed"):
        example(VolumeClosed, opened=example(NucleusOpened, nucleus_id="n0099"))


def test_a_plane_is_absent_once() -> None:
    plane = AbsentPlane(z=0, reason=AbsenceReason.BLANK)
    with pytest.raises(ValidationError, match="absent twice"):
        example(
            NucleusClosed, z_first=0, z_last=2, absent=(plane, plane), detected_planes=1, bridged_planes=0, cap_planes=0
        )
