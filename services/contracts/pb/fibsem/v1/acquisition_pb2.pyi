from services.contracts.pb.fibsem.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AcquisitionOpened(_message.Message):
    __slots__ = ("acquisition_id", "voxel_size", "height_px", "width_px", "bits", "z_first", "grey")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    Z_FIRST_FIELD_NUMBER: _ClassVar[int]
    GREY_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    voxel_size: _common_pb2.VoxelSize
    height_px: int
    width_px: int
    bits: int
    z_first: int
    grey: _common_pb2.GreyMapping
    def __init__(self, acquisition_id: _Optional[str] = ..., voxel_size: _Optional[_Union[_common_pb2.VoxelSize, _Mapping]] = ..., height_px: _Optional[int] = ..., width_px: _Optional[int] = ..., bits: _Optional[int] = ..., z_first: _Optional[int] = ..., grey: _Optional[_Union[_common_pb2.GreyMapping, _Mapping]] = ...) -> None: ...

class DecisionRecorded(_message.Message):
    __slots__ = ("acquisition_id", "kind", "z_first", "z_last", "decided_by", "reason", "model_set", "request_id")
    class Kind(_message.Message):
        __slots__ = ()
        class Value(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            UNSPECIFIED: _ClassVar[DecisionRecorded.Kind.Value]
            SLICES_MISSING: _ClassVar[DecisionRecorded.Kind.Value]
            CONFLICT_RESOLVED: _ClassVar[DecisionRecorded.Kind.Value]
            ACQUISITION_FINISHED: _ClassVar[DecisionRecorded.Kind.Value]
            MODELS_SWAPPED: _ClassVar[DecisionRecorded.Kind.Value]
        UNSPECIFIED: DecisionRecorded.Kind.Value
        SLICES_MISSING: DecisionRecorded.Kind.Value
        CONFLICT_RESOLVED: DecisionRecorded.Kind.Value
        ACQUISITION_FINISHED: DecisionRecorded.Kind.Value
        MODELS_SWAPPED: DecisionRecorded.Kind.Value
        def __init__(self) -> None: ...
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    Z_FIRST_FIELD_NUMBER: _ClassVar[int]
    Z_LAST_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MODEL_SET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    kind: DecisionRecorded.Kind.Value
    z_first: int
    z_last: int
    decided_by: str
    reason: str
    model_set: str
    request_id: str
    def __init__(self, acquisition_id: _Optional[str] = ..., kind: _Optional[_Union[DecisionRecorded.Kind.Value, str]] = ..., z_first: _Optional[int] = ..., z_last: _Optional[int] = ..., decided_by: _Optional[str] = ..., reason: _Optional[str] = ..., model_set: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class AcquisitionFinished(_message.Message):
    __slots__ = ("acquisition_id", "z_first", "z_last")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIRST_FIELD_NUMBER: _ClassVar[int]
    Z_LAST_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    z_first: int
    z_last: int
    def __init__(self, acquisition_id: _Optional[str] = ..., z_first: _Optional[int] = ..., z_last: _Optional[int] = ...) -> None: ...

class SliceIngested(_message.Message):
    __slots__ = ("acquisition_id", "z", "raw", "page", "file_name", "height_px", "width_px", "bits", "voxel_size", "grey", "transform", "channel", "model_set")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    GREY_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_SET_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    z: int
    raw: _common_pb2.ArtefactRef
    page: int
    file_name: str
    height_px: int
    width_px: int
    bits: int
    voxel_size: _common_pb2.VoxelSize
    grey: _common_pb2.GreyMapping
    transform: _common_pb2.Transform
    channel: int
    model_set: str
    def __init__(self, acquisition_id: _Optional[str] = ..., z: _Optional[int] = ..., raw: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., page: _Optional[int] = ..., file_name: _Optional[str] = ..., height_px: _Optional[int] = ..., width_px: _Optional[int] = ..., bits: _Optional[int] = ..., voxel_size: _Optional[_Union[_common_pb2.VoxelSize, _Mapping]] = ..., grey: _Optional[_Union[_common_pb2.GreyMapping, _Mapping]] = ..., transform: _Optional[_Union[_common_pb2.Transform, _Mapping]] = ..., channel: _Optional[int] = ..., model_set: _Optional[str] = ...) -> None: ...

class SliceAbsent(_message.Message):
    __slots__ = ("acquisition_id", "z", "reason", "detail")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    z: int
    reason: _common_pb2.AbsenceReason.Value
    detail: str
    def __init__(self, acquisition_id: _Optional[str] = ..., z: _Optional[int] = ..., reason: _Optional[_Union[_common_pb2.AbsenceReason.Value, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class OutlinesDetected(_message.Message):
    __slots__ = ("slice", "outlines", "outline_count", "digest", "quality", "repairs")
    SLICE_FIELD_NUMBER: _ClassVar[int]
    OUTLINES_FIELD_NUMBER: _ClassVar[int]
    OUTLINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    REPAIRS_FIELD_NUMBER: _ClassVar[int]
    slice: SliceIngested
    outlines: _common_pb2.ArtefactRef
    outline_count: int
    digest: _common_pb2.ArtefactRef
    quality: _common_pb2.ArtefactRef
    repairs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, slice: _Optional[_Union[SliceIngested, _Mapping]] = ..., outlines: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., outline_count: _Optional[int] = ..., digest: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., quality: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., repairs: _Optional[_Iterable[str]] = ...) -> None: ...

class SliceJudged(_message.Message):
    __slots__ = ("acquisition_id", "z", "troubles", "thickness_nm", "scores", "absent", "repairs")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    TROUBLES_FIELD_NUMBER: _ClassVar[int]
    THICKNESS_NM_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    REPAIRS_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    z: int
    troubles: _containers.RepeatedCompositeFieldContainer[_common_pb2.SliceTrouble]
    thickness_nm: float
    scores: _containers.RepeatedCompositeFieldContainer[_common_pb2.SliceScore]
    absent: _common_pb2.AbsenceReason.Value
    repairs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, acquisition_id: _Optional[str] = ..., z: _Optional[int] = ..., troubles: _Optional[_Iterable[_Union[_common_pb2.SliceTrouble, _Mapping]]] = ..., thickness_nm: _Optional[float] = ..., scores: _Optional[_Iterable[_Union[_common_pb2.SliceScore, _Mapping]]] = ..., absent: _Optional[_Union[_common_pb2.AbsenceReason.Value, str]] = ..., repairs: _Optional[_Iterable[str]] = ...) -> None: ...

class SliceRegistered(_message.Message):
    __slots__ = ("acquisition_id", "z", "first", "transform", "linked", "ncc", "registration")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    LINKED_FIELD_NUMBER: _ClassVar[int]
    NCC_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    z: int
    first: _common_pb2.Transform
    transform: _common_pb2.Transform
    linked: bool
    ncc: float
    registration: str
    def __init__(self, acquisition_id: _Optional[str] = ..., z: _Optional[int] = ..., first: _Optional[_Union[_common_pb2.Transform, _Mapping]] = ..., transform: _Optional[_Union[_common_pb2.Transform, _Mapping]] = ..., linked: _Optional[bool] = ..., ncc: _Optional[float] = ..., registration: _Optional[str] = ...) -> None: ...
