from services.contracts.pb.fibsem.v1 import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeadLettered(_message.Message):
    __slots__ = ("service", "subject", "origin", "message_type", "message_key", "original", "reason", "detail", "attempts", "acquisition_id", "z")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_KEY_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    service: str
    subject: str
    origin: str
    message_type: str
    message_key: str
    original: _common_pb2.ArtefactRef
    reason: str
    detail: str
    attempts: int
    acquisition_id: str
    z: int
    def __init__(self, service: _Optional[str] = ..., subject: _Optional[str] = ..., origin: _Optional[str] = ..., message_type: _Optional[str] = ..., message_key: _Optional[str] = ..., original: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., attempts: _Optional[int] = ..., acquisition_id: _Optional[str] = ..., z: _Optional[int] = ...) -> None: ...
