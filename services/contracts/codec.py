"""Messages to bytes and back: protobuf on the wire, frozen pydantic models inside.

`encode` is deterministic; `decode` never returns a protobuf object, and refuses with a reason
whatever proto3 would let pass (missing fields, ranges, unknown enum values).
"""

from __future__ import annotations

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as WireMessage
from pydantic import ValidationError

from services.contracts.messages import MESSAGE_TYPES, Message
from services.contracts.pb.fibsem.v1 import (
    acquisition_pb2,
    model_pb2,
    nucleus_pb2,
    operations_pb2,
    volume_pb2,
)

WIRE_MODULES = (acquisition_pb2, nucleus_pb2, volume_pb2, model_pb2, operations_pb2)


class MalformedMessageError(ValueError):
    """The bytes are not a valid message of the type they claim."""


def wire_type(name: str) -> type[WireMessage]:
    """Return the generated protobuf class of a message type.

    Raises
    ------
    MalformedMessageError
        If no message has that name.
    """
    for module in WIRE_MODULES:
        found: type[WireMessage] | None = getattr(module, name, None) if name in MESSAGE_TYPES else None
        if found is not None:
            return found
    raise MalformedMessageError(f"unknown message type {name!r}")


def encode(message: Message) -> bytes:
    """Return the wire form of a message; equal messages give equal bytes."""
    wire = wire_type(type(message).__name__)()
    json_format.ParseDict(message.model_dump(mode="json", exclude_none=True), wire)
    return wire.SerializeToString(deterministic=True)


def decode(message_type: str, payload: bytes) -> Message:
    """Return the message that `payload` holds.

    Raises
    ------
    MalformedMessageError
        If the type is unknown, the bytes are not protobuf of that type, carry fields this version
        does not know how to honour as values, or say something the model refuses.
    """
    try:
        wire = wire_type(message_type).FromString(payload)
        fields = json_format.MessageToDict(
            wire, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return MESSAGE_TYPES[message_type].model_validate(fields)
    except (DecodeError, ValidationError, json_format.Error, ValueError) as error:
        raise MalformedMessageError(f"{message_type}: {error}") from error
