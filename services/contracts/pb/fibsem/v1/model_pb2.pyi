from services.contracts.pb.fibsem.v1 import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainingRequested(_message.Message):
    __slots__ = ("request_id", "recipe", "requested_by", "inputs")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    recipe: _common_pb2.ArtefactRef
    requested_by: str
    inputs: _common_pb2.ArtefactRef
    def __init__(self, request_id: _Optional[str] = ..., recipe: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., requested_by: _Optional[str] = ..., inputs: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ...) -> None: ...

class ModelPublished(_message.Message):
    __slots__ = ("model_id", "card", "weights", "archive", "served", "model_set", "request_id")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    MODEL_SET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    card: _common_pb2.ArtefactRef
    weights: _common_pb2.ArtefactRef
    archive: _common_pb2.ArtefactRef
    served: _common_pb2.ArtefactRef
    model_set: str
    request_id: str
    def __init__(self, model_id: _Optional[str] = ..., card: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., weights: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., archive: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., served: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., model_set: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...
