"""Messages survive the wire; the wire contract only grows; models and protos say the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from services.contracts.codec import MalformedMessageError, decode, encode, wire_type
from services.contracts.messages import MESSAGE_TYPES, AcquisitionFinished, Message
from tests.support.hostile_wire import HOSTILE
from tests.support.messages import EXAMPLES, without_optional
from tests.support.wire_growth import breaking_changes
from tests.support.write_golden import GOLDEN, write_new

ROOT = Path(__file__).resolve().parents[3]
KINDS = list(MESSAGE_TYPES.values())


def name_of(kind: type[Message]) -> str:
    return kind.__name__


# Round trips


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_a_message_survives_the_wire(kind: type[Message]) -> None:
    for message in (EXAMPLES[kind], without_optional(kind)):
        assert decode(kind.__name__, encode(message)) == message


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_examples_set_every_field(kind: type[Message]) -> None:
    wire = wire_type(kind.__name__).FromString(encode(EXAMPLES[kind]))
    assert {field.name for field, _ in wire.ListFields()} == set(kind.model_fields)


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_equal_messages_give_equal_bytes(kind: type[Message]) -> None:
    message = EXAMPLES[kind]
    again = kind.model_validate(dict(reversed(message.model_dump().items())))
    assert encode(again) == encode(message)


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_fields_of_a_newer_version_are_passed_over(kind: type[Message]) -> None:
    # Field 1000, a text: what an additive change of a later version looks like from here.
    assert decode(kind.__name__, encode(EXAMPLES[kind]) + b"\xc2\x3e\x03new") == EXAMPLES[kind]


# Golden bytes


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_golden_bytes_mean_what_they_always_meant(kind: type[Message]) -> None:
    payload = (GOLDEN / f"{kind.__name__}.binpb").read_bytes()
    expected = kind.model_validate_json((GOLDEN / f"{kind.__name__}.json").read_bytes())
    assert decode(kind.__name__, payload) == expected


def test_no_golden_file_is_left_without_a_message_type() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(MESSAGE_TYPES)


def test_golden_files_are_added_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "SliceAbsent.binpb").write_bytes(b"what an older version sent")
    assert set(write_new(tmp_path)) == set(MESSAGE_TYPES) - {"SliceAbsent"}
    assert (tmp_path / "SliceAbsent.binpb").read_bytes() == b"what an older version sent"
    assert write_new(tmp_path) == []


# The descriptor set


def descriptors(path: Path) -> FileDescriptorSet:
    return FileDescriptorSet.FromString(path.read_bytes())


@pytest.fixture
def baseline() -> FileDescriptorSet:
    return descriptors(GOLDEN.parent / "fibsem_v1_baseline.binpb")


def test_the_wire_contract_only_grows(baseline: FileDescriptorSet) -> None:
    assert breaking_changes(baseline, descriptors(ROOT / "services/contracts/fibsem_v1.binpb")) == []


def _message(files: FileDescriptorSet, name: str) -> DescriptorProto:
    return next(message for file in files.file for message in file.message_type if message.name == name)


def _renumber(files: FileDescriptorSet) -> None:
    _message(files, "SliceIngested").field[1].number = 99


def _retype(files: FileDescriptorSet) -> None:
    _message(files, "SliceIngested").field[1].type = FieldDescriptorProto.TYPE_INT64


def _point_elsewhere(files: FileDescriptorSet) -> None:
    _message(files, "SliceIngested").field[2].type_name = ".fibsem.v1.VoxelSize"


def _repeat(files: FileDescriptorSet) -> None:
    _message(files, "SliceIngested").field[1].label = FieldDescriptorProto.LABEL_REPEATED


def _remove_a_field(files: FileDescriptorSet) -> None:
    del _message(files, "SliceIngested").field[1]


def _rename_a_field(files: FileDescriptorSet) -> None:
    _message(files, "SliceIngested").field[1].name = "depth"


def _remove_a_message(files: FileDescriptorSet) -> None:
    for file in files.file:
        if file.name.endswith("nucleus.proto"):
            del file.message_type[0]


def _renumber_a_value(files: FileDescriptorSet) -> None:
    _message(files, "AbsenceReason").enum_type[0].value[1].number = 9


def _remove_a_value(files: FileDescriptorSet) -> None:
    del _message(files, "AbsenceReason").enum_type[0].value[1]


def _remove_an_enum(files: FileDescriptorSet) -> None:
    del _message(files, "AbsenceReason").enum_type[0]


BREAKS = (
    _renumber,
    _retype,
    _point_elsewhere,
    _repeat,
    _remove_a_field,
    _rename_a_field,
    _remove_a_message,
    _renumber_a_value,
    _remove_a_value,
    _remove_an_enum,
)


@pytest.mark.parametrize("breaking", BREAKS, ids=lambda breaking: breaking.__name__.strip("_"))
def test_a_change_that_breaks_old_bytes_is_found(
    baseline: FileDescriptorSet, breaking: Callable[[FileDescriptorSet], None]
) -> None:
    changed = FileDescriptorSet.FromString(baseline.SerializeToString())
    breaking(changed)
    assert breaking_changes(baseline, changed)


def test_additions_break_nothing(baseline: FileDescriptorSet) -> None:
    grown = FileDescriptorSet.FromString(baseline.SerializeToString())
    _message(grown, "SliceIngested").field.add(name="dose", number=40, type=FieldDescriptorProto.TYPE_DOUBLE)
    _message(grown, "AbsenceReason").enum_type[0].value.add(name="LOST", number=40)
    grown.file[0].message_type.add(name="SliceWeighed")
    assert breaking_changes(baseline, grown) == []


def test_generated_code_is_that_of_the_protos() -> None:
    script = ROOT / "protos" / "generate.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Models and protos

# Descriptors, and annotations of models: the stubs of protobuf and of typing have no type that holds for all of them.
Described = Any

SCALARS: dict[type, set[int]] = {
    str: {FieldDescriptor.TYPE_STRING},
    bool: {FieldDescriptor.TYPE_BOOL},
    int: {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64},
    float: {FieldDescriptor.TYPE_DOUBLE},
}


def bare(annotation: Described) -> tuple[Described, str]:
    """Return what a field holds, and whether it is "one", "optional" or "many" of it."""
    origin: Described = get_origin(annotation)
    if origin is Annotated:
        return bare(get_args(annotation)[0])
    if origin is tuple:
        return bare(get_args(annotation)[0])[0], "many"
    if origin in {Union, UnionType}:
        (held,) = (part for part in get_args(annotation) if part is not NoneType)
        return bare(held)[0], "optional"
    return annotation, "one"


def occurrence(field: Described) -> str:
    if field.is_repeated:
        return "many"
    # A message has presence always: it may be left out where the proto says so.
    optional = field.has_presence if field.message_type is None else field.containing_oneof is not None
    return "optional" if optional else "one"


def same_type(held: Described, field: Described) -> bool:
    """Whether a field of a model and one of a proto hold the same; nested messages are compared by themselves."""
    if issubclass(held, BaseModel):
        return bool(field.message_type is not None and field.message_type.name == held.__name__)
    if issubclass(held, StrEnum):
        names = {value.name for value in field.enum_type.values if value.number != 0} if field.enum_type else set()
        return names == {member.value for member in held}
    return bool(field.type in SCALARS[held])


def differences(model: type[BaseModel], descriptor: Described) -> Iterator[str]:
    """Yield in what a model and its proto differ, with all that they hold."""
    fields = {field.name: field for field in descriptor.fields}
    for name in sorted(fields.keys() ^ model.model_fields.keys()):
        yield f"{model.__name__}.{name} stands on one side only"
    for name in sorted(fields.keys() & model.model_fields.keys()):
        held, count = bare(model.model_fields[name].annotation)
        if count != occurrence(fields[name]) or not same_type(held, fields[name]):
            yield f"{model.__name__}.{name} is {count} {held.__name__}, not so in the proto"
        elif issubclass(held, BaseModel):
            yield from differences(held, fields[name].message_type)


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_a_model_has_the_fields_of_its_proto_and_no_others(kind: type[Message]) -> None:
    assert list(differences(kind, wire_type(kind.__name__).DESCRIPTOR)) == []


class _OtherFinished(AcquisitionFinished):
    z_middle: int
    acquisition_id: tuple[str, ...]  # type: ignore[assignment]  # the difference that must be found
    z_first: float  # type: ignore[assignment]


def test_a_model_that_differs_from_its_proto_is_found() -> None:
    found = " ".join(differences(_OtherFinished, wire_type("AcquisitionFinished").DESCRIPTOR))
    assert all(name in found for name in ("z_middle", "acquisition_id", "z_first"))
    assert "z_last" not in found


def test_every_message_of_the_protos_is_a_message_or_a_value_of_one() -> None:
    used: set[str] = set()

    def collect(descriptor: Described) -> None:
        used.add(descriptor.name)
        for field in descriptor.fields:
            if field.message_type is not None:
                collect(field.message_type)
            if field.enum_type is not None:
                used.add(field.enum_type.containing_type.name)

    for name in MESSAGE_TYPES:
        collect(wire_type(name).DESCRIPTOR)
    files = descriptors(ROOT / "services/contracts/fibsem_v1.binpb").file
    assert {message.name for file in files for message in file.message_type} <= used


# Hostile bytes


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bytes_are_refused_with_a_reason(what: str) -> None:
    message_type, payload = HOSTILE[what]
    with pytest.raises(MalformedMessageError, match=r".{10}") as caught:
        decode(message_type, payload)
    assert message_type in str(caught.value)


def accepted_or_refused(message_type: str, payload: bytes) -> None:
    """Decode; nothing but a valid message or a `MalformedMessageError` may come of it."""
    try:
        message = decode(message_type, payload)
    except MalformedMessageError:
        return
    assert decode(message_type, encode(message)) == message


@pytest.mark.parametrize("claimed", KINDS, ids=name_of)
def test_bytes_of_another_type_never_raise_anything_else(claimed: type[Message]) -> None:
    for sent in KINDS:
        accepted_or_refused(claimed.__name__, encode(EXAMPLES[sent]))


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_a_message_cut_anywhere_never_raises_anything_else(kind: type[Message]) -> None:
    payload = encode(EXAMPLES[kind])
    for end in range(len(payload)):
        accepted_or_refused(kind.__name__, payload[:end])


@settings(deadline=None)
@given(st.sampled_from(sorted(MESSAGE_TYPES)), st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(message_type: str, payload: bytes) -> None:
    accepted_or_refused(message_type, payload)


@settings(deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_a_message_with_random_damage_never_raises_anything_else(kind: type[Message], data: st.DataObject) -> None:
    payload = bytearray(encode(EXAMPLES[kind]))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    accepted_or_refused(kind.__name__, bytes(payload))


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=30))
def test_a_random_type_name_is_refused(message_type: str) -> None:
    if message_type not in MESSAGE_TYPES:
        with pytest.raises(MalformedMessageError):
            decode(message_type, b"")
