"""Bytes that no honest producer sends: each must be refused with a reason, and stop nothing.

Deliberately absent: a message of an older version, or with fields of a newer one. Both are honest.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from google.protobuf.message import Message as WireMessage

from services.contracts.codec import encode, wire_type
from services.contracts.messages import (
    AcquisitionFinished,
    CropExtracted,
    DeadLettered,
    NucleusClosed,
    ObjectChanged,
    SliceAbsent,
    SliceIngested,
)
from tests.support.messages import EXAMPLES

_SLICE = encode(EXAMPLES[SliceIngested])


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def _tampered(kind: type, tamper: Callable[[WireMessage], None]) -> tuple[str, bytes]:
    """Return a message that only the generated code could write, since the models would refuse it."""
    wire = wire_type(kind.__name__).FromString(encode(EXAMPLES[kind]))
    tamper(wire)
    return kind.__name__, wire.SerializeToString()


def _set(path: str, value: object) -> Callable[[WireMessage], None]:
    def tamper(wire: WireMessage) -> None:
        *parents, name = path.split(".")
        target = wire
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, name, value)

    return tamper


def _clear(name: str) -> Callable[[WireMessage], None]:
    return lambda wire: wire.ClearField(name)


def _raw() -> dict[str, tuple[str, bytes]]:
    noise = random.Random(20_260_101)
    kind = "SliceIngested"
    return {
        "nothing at all": (kind, b""),
        "zeros": (kind, bytes(64)),
        "a megabyte of zeros": (kind, bytes(1_000_000)),
        "all bits set": (kind, b"\xff" * 64),
        "noise": (kind, noise.randbytes(300)),
        "text": (kind, b"this is not protobuf"),
        "json": (kind, b'{"acquisition_id": "worm-7", "z": 417}'),
        "a pickle": (kind, b"\x80\x04cos\nsystem\n(S'echo'\ntR."),
        "cut by one byte": (kind, _SLICE[:-1]),
        "cut in half": (kind, _SLICE[: len(_SLICE) // 2]),
        "only the first field": (kind, _SLICE[: 2 + _SLICE[1]]),
        "noise behind the message": (kind, _SLICE + b"\xff\xff\xff"),
        "a length of two gigabytes": (kind, b"\x0a" + _varint(2**31 - 1) + b"worm-7"),
        "a length beyond 64 bits": (kind, b"\x0a" + b"\xff" * 10 + b"\x01"),
        "a tag without a value": (kind, _SLICE + b"\x0a"),
        "field number zero": (kind, b"\x02\x01a" + _SLICE),
        "a group that never ends": (kind, _SLICE + b"\x9b\x06"),
        "groups in groups": (kind, b"\x9b\x06" * 5000 + _SLICE),
        "an identifier that is not utf-8": (kind, b"\x0a\x04\xff\xfe\xfd\xfc" + _SLICE),
        "a number where a text belongs": (kind, b"\x08\x01"),
        "another message": (kind, encode(EXAMPLES[NucleusClosed])),
        "a type nobody knows": ("SliceDreamt", _SLICE),
        "a type of no name": ("", _SLICE),
        "the base of all types": ("Message", _SLICE),
        "a value that is no message": ("ArtefactRef", _SLICE),
        "an attribute of the generated module": ("DESCRIPTOR", _SLICE),
    }


def _insane() -> dict[str, tuple[str, bytes]]:
    """Well-formed protobuf that means nothing, or harm."""
    return {
        "a path as acquisition": _tampered(SliceIngested, _set("acquisition_id", "../../etc")),
        "an absolute path as acquisition": _tampered(SliceIngested, _set("acquisition_id", "/etc/passwd")),
        "an empty acquisition": _tampered(SliceIngested, _clear("acquisition_id")),
        "an endless acquisition": _tampered(SliceIngested, _set("acquisition_id", "a" * 100_000)),
        "a hidden nucleus": _tampered(CropExtracted, _set("nucleus_id", ".n0003")),
        "a key that climbs": _tampered(SliceIngested, _set("raw.key", "worm-7/../../../etc/passwd")),
        "a key with a zero byte": _tampered(SliceIngested, _set("raw.key", "worm-7/raw\0.tif")),
        "a hash that is none": _tampered(SliceIngested, _set("raw.sha256", "sha256:00")),
        "a negative size": _tampered(SliceIngested, _set("raw.size_bytes", -1)),
        "a negative z": _tampered(SliceIngested, _set("z", -1)),
        "a slice of no rows": _tampered(SliceIngested, _set("height_px", 0)),
        "a slice of two thousand million columns": _tampered(SliceIngested, _set("width_px", 2**31 - 1)),
        "twelve bits": _tampered(SliceIngested, _set("bits", 12)),
        "a fifth channel": _tampered(SliceIngested, _set("channel", 4)),
        "a voxel of no length": _tampered(SliceIngested, _set("voxel_size.z_nm", 0.0)),
        "a voxel that is not a number": _tampered(SliceIngested, _set("voxel_size.y_nm", float("nan"))),
        "an endless voxel": _tampered(SliceIngested, _set("voxel_size.x_nm", float("inf"))),
        "a grey range upside down": _tampered(SliceIngested, _set("grey.low", 250.0)),
        "an endless shift": _tampered(SliceIngested, _set("transform.shift_y_px", float("-inf"))),
        "no reference": _tampered(SliceIngested, _clear("raw")),
        "no transform": _tampered(SliceIngested, _clear("transform")),
        "no reason": _tampered(SliceAbsent, _set("reason", 0)),
        "a reason of the future": _tampered(SliceAbsent, _set("reason", 99)),
        "a negative reason": _tampered(SliceAbsent, _set("reason", -1)),
        "an end before the beginning": _tampered(AcquisitionFinished, _set("z_last", 3)),
        "planes that do not add up": _tampered(NucleusClosed, _set("cap_planes", 30)),
        "an object without voxels": _tampered(ObjectChanged, _clear("voxels")),
        "a merge into nothing": _tampered(ObjectChanged, _clear("merged_into")),
        "a dead letter without a reason": _tampered(DeadLettered, _clear("reason")),
        "a dead letter of endless detail": _tampered(DeadLettered, _set("detail", "x" * 1_000_000)),
    }


HOSTILE: dict[str, tuple[str, bytes]] = {**_raw(), **_insane()}
"""What it is: the type that the record claims, and its bytes."""
