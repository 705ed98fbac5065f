"""Whether one version of the wire contract only adds to another."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)

# What a field is, besides its name; any change makes old bytes mean something else.
Shape = tuple[int, int, int, str, bool]


def _messages(descriptors: FileDescriptorSet) -> Iterator[tuple[str, DescriptorProto]]:
    for file in descriptors.file:
        for message in file.message_type:
            yield from _with_nested(file.package, message)


def _with_nested(scope: str, message: DescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    name = f"{scope}.{message.name}"
    yield name, message
    for nested in message.nested_type:
        yield from _with_nested(name, nested)


def _enums(descriptors: FileDescriptorSet) -> dict[str, EnumDescriptorProto]:
    enums = {f"{name}.{enum.name}": enum for name, message in _messages(descriptors) for enum in message.enum_type}
    return enums | {f"{file.package}.{enum.name}": enum for file in descriptors.file for enum in file.enum_type}


def _shape(field: FieldDescriptorProto) -> Shape:
    return field.number, field.type, field.label, field.type_name, field.proto3_optional


def breaking_changes(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Return what stood in `old` and no longer stands in `new` as it was; nothing if `new` only adds."""
    messages = dict(_messages(new))
    broken: list[str] = []
    for name, message in _messages(old):
        if name not in messages:
            broken.append(f"message {name} is gone")
            continue
        fields = {field.name: field for field in messages[name].field}
        for field in message.field:
            if field.name not in fields:
                broken.append(f"field {name}.{field.name} is gone")
            elif _shape(field) != _shape(fields[field.name]):
                broken.append(f"field {name}.{field.name} is another one")
    return broken + _broken_enums(_enums(old), _enums(new))


def _broken_enums(old: dict[str, EnumDescriptorProto], new: dict[str, EnumDescriptorProto]) -> list[str]:
    broken: list[str] = []
    for name, enum in old.items():
        values = {value.name: value.number for value in new[name].value} if name in new else {}
        broken += [f"value {name}.{v.name} is another one" for v in enum.value if values.get(v.name) != v.number]
    return broken
