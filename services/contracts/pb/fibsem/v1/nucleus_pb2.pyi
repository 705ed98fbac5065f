from services.contracts.pb.fibsem.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NucleusOpened(_message.Message):
    __slots__ = ("acquisition_id", "nucleus_id", "z_first", "canvas", "voxel_size", "grey", "model_set", "continues", "registration")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIRST_FIELD_NUMBER: _ClassVar[int]
    CANVAS_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    GREY_FIELD_NUMBER: _ClassVar[int]
    MODEL_SET_FIELD_NUMBER: _ClassVar[int]
    CONTINUES_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    nucleus_id: str
    z_first: int
    canvas: _common_pb2.PixelWindow
    voxel_size: _common_pb2.VoxelSize
    grey: _common_pb2.GreyMapping
    model_set: str
    continues: str
    registration: str
    def __init__(self, acquisition_id: _Optional[str] = ..., nucleus_id: _Optional[str] = ..., z_first: _Optional[int] = ..., canvas: _Optional[_Union[_common_pb2.PixelWindow, _Mapping]] = ..., voxel_size: _Optional[_Union[_common_pb2.VoxelSize, _Mapping]] = ..., grey: _Optional[_Union[_common_pb2.GreyMapping, _Mapping]] = ..., model_set: _Optional[str] = ..., continues: _Optional[str] = ..., registration: _Optional[str] = ...) -> None: ...

class NucleusClosed(_message.Message):
    __slots__ = ("acquisition_id", "nucleus_id", "z_first", "z_last", "absent", "clipped", "detected_planes", "bridged_planes", "cap_planes", "depths")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIRST_FIELD_NUMBER: _ClassVar[int]
    Z_LAST_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_FIELD_NUMBER: _ClassVar[int]
    DETECTED_PLANES_FIELD_NUMBER: _ClassVar[int]
    BRIDGED_PLANES_FIELD_NUMBER: _ClassVar[int]
    CAP_PLANES_FIELD_NUMBER: _ClassVar[int]
    DEPTHS_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    nucleus_id: str
    z_first: int
    z_last: int
    absent: _containers.RepeatedCompositeFieldContainer[_common_pb2.AbsentPlane]
    clipped: _containers.RepeatedScalarFieldContainer[_common_pb2.Side.Value]
    detected_planes: int
    bridged_planes: int
    cap_planes: int
    depths: _common_pb2.ArtefactRef
    def __init__(self, acquisition_id: _Optional[str] = ..., nucleus_id: _Optional[str] = ..., z_first: _Optional[int] = ..., z_last: _Optional[int] = ..., absent: _Optional[_Iterable[_Union[_common_pb2.AbsentPlane, _Mapping]]] = ..., clipped: _Optional[_Iterable[_Union[_common_pb2.Side.Value, str]]] = ..., detected_planes: _Optional[int] = ..., bridged_planes: _Optional[int] = ..., cap_planes: _Optional[int] = ..., depths: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ...) -> None: ...

class CropExtracted(_message.Message):
    __slots__ = ("acquisition_id", "nucleus_id", "z", "kind", "window", "crop", "voxel_size", "grey", "transform", "model_set")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    VOXEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    GREY_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_FIELD_NUMBER: _ClassVar[int]
    MODEL_SET_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    nucleus_id: str
    z: int
    kind: _common_pb2.PlaneKind.Value
    window: _common_pb2.PixelWindow
    crop: _common_pb2.ArtefactRef
    voxel_size: _common_pb2.VoxelSize
    grey: _common_pb2.GreyMapping
    transform: _common_pb2.Transform
    model_set: str
    def __init__(self, acquisition_id: _Optional[str] = ..., nucleus_id: _Optional[str] = ..., z: _Optional[int] = ..., kind: _Optional[_Union[_common_pb2.PlaneKind.Value, str]] = ..., window: _Optional[_Union[_common_pb2.PixelWindow, _Mapping]] = ..., crop: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., voxel_size: _Optional[_Union[_common_pb2.VoxelSize, _Mapping]] = ..., grey: _Optional[_Union[_common_pb2.GreyMapping, _Mapping]] = ..., transform: _Optional[_Union[_common_pb2.Transform, _Mapping]] = ..., model_set: _Optional[str] = ...) -> None: ...

class CropAbsent(_message.Message):
    __slots__ = ("acquisition_id", "nucleus_id", "z", "reason", "detail")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    nucleus_id: str
    z: int
    reason: _common_pb2.AbsenceReason.Value
    detail: str
    def __init__(self, acquisition_id: _Optional[str] = ..., nucleus_id: _Optional[str] = ..., z: _Optional[int] = ..., reason: _Optional[_Union[_common_pb2.AbsenceReason.Value, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class CropSegmented(_message.Message):
    __slots__ = ("crop", "planes", "plane_voxel_size", "numeric_profile")
    CROP_FIELD_NUMBER: _ClassVar[int]
    PLANES_FIELD_NUMBER: _ClassVar[int]
    PLANE_VOXEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    NUMERIC_PROFILE_FIELD_NUMBER: _ClassVar[int]
    crop: CropExtracted
    planes: _common_pb2.ArtefactRef
    plane_voxel_size: _common_pb2.VoxelSize
    numeric_profile: str
    def __init__(self, crop: _Optional[_Union[CropExtracted, _Mapping]] = ..., planes: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., plane_voxel_size: _Optional[_Union[_common_pb2.VoxelSize, _Mapping]] = ..., numeric_profile: _Optional[str] = ...) -> None: ...
