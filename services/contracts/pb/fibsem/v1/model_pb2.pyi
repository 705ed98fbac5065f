from services.contracts.pb.fibsem.v1 import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainingRequested(_message.Message):
    __slots__ = ("request_id", "recipe", "requested_by")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    recipe: _common_pb2.ArtefactRef
    requested_by: str
    def __init__(self, request_id: _Optional[str] = ..., recipe: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., requested_by: _Optional[str] = ...) -> None: ...

class ModelPublished(_message.Message):
    __slots__ = ("model_id", "card", "weights", "archive")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    card: _common_pb2.ArtefactRef
    weights: _common_pb2.ArtefactRef
    archive: _common_pb2.ArtefactRef
    def __init__(self, model_id: _Optional[str] = ..., card: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., weights: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., archive: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ...) -> None: ...
