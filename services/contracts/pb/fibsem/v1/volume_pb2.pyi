from services.contracts.pb.fibsem.v1 import common_pb2 as _common_pb2
from services.contracts.pb.fibsem.v1 import nucleus_pb2 as _nucleus_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VolumeExtended(_message.Message):
    __slots__ = ("acquisition_id", "nucleus_id", "z_first", "clean_final_z", "volume_prefix", "changes", "closed_tables", "plane_voxel_size")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_ID_FIELD_NUMBER: _ClassVar[int]
    Z_FIRST_FIELD_NUMBER: _ClassVar[int]
    CLEAN_FINAL_Z_FIELD_NUMBER: _ClassVar[int]
    VOLUME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CLOSED_TABLES_FIELD_NUMBER: _ClassVar[int]
    PLANE_VOXEL_SIZE_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    nucleus_id: str
    z_first: int
    clean_final_z: int
    volume_prefix: str
    changes: _common_pb2.ArtefactRef
    closed_tables: _common_pb2.ArtefactRef
    plane_voxel_size: _common_pb2.VoxelSize
    def __init__(self, acquisition_id: _Optional[str] = ..., nucleus_id: _Optional[str] = ..., z_first: _Optional[int] = ..., clean_final_z: _Optional[int] = ..., volume_prefix: _Optional[str] = ..., changes: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., closed_tables: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., plane_voxel_size: _Optional[_Union[_common_pb2.VoxelSize, _Mapping]] = ...) -> None: ...

class VolumeClosed(_message.Message):
    __slots__ = ("nucleus", "opened", "volume_prefix", "tables", "changes", "summary")
    NUCLEUS_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    VOLUME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    nucleus: _nucleus_pb2.NucleusClosed
    opened: _nucleus_pb2.NucleusOpened
    volume_prefix: str
    tables: _common_pb2.ArtefactRef
    changes: _common_pb2.ArtefactRef
    summary: _common_pb2.ArtefactRef
    def __init__(self, nucleus: _Optional[_Union[_nucleus_pb2.NucleusClosed, _Mapping]] = ..., opened: _Optional[_Union[_nucleus_pb2.NucleusOpened, _Mapping]] = ..., volume_prefix: _Optional[str] = ..., tables: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., changes: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., summary: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ...) -> None: ...

class ObjectChanged(_message.Message):
    __slots__ = ("acquisition_id", "nucleus_id", "object_key", "change", "label_class", "voxels", "z_front", "merged_into")
    class Change(_message.Message):
        __slots__ = ()
        class Value(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            UNSPECIFIED: _ClassVar[ObjectChanged.Change.Value]
            BORN: _ClassVar[ObjectChanged.Change.Value]
            GREW: _ClassVar[ObjectChanged.Change.Value]
            MERGED: _ClassVar[ObjectChanged.Change.Value]
            CLOSED: _ClassVar[ObjectChanged.Change.Value]
        UNSPECIFIED: ObjectChanged.Change.Value
        BORN: ObjectChanged.Change.Value
        GREW: ObjectChanged.Change.Value
        MERGED: ObjectChanged.Change.Value
        CLOSED: ObjectChanged.Change.Value
        def __init__(self) -> None: ...
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_KEY_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    LABEL_CLASS_FIELD_NUMBER: _ClassVar[int]
    VOXELS_FIELD_NUMBER: _ClassVar[int]
    Z_FRONT_FIELD_NUMBER: _ClassVar[int]
    MERGED_INTO_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    nucleus_id: str
    object_key: str
    change: ObjectChanged.Change.Value
    label_class: int
    voxels: int
    z_front: int
    merged_into: str
    def __init__(self, acquisition_id: _Optional[str] = ..., nucleus_id: _Optional[str] = ..., object_key: _Optional[str] = ..., change: _Optional[_Union[ObjectChanged.Change.Value, str]] = ..., label_class: _Optional[int] = ..., voxels: _Optional[int] = ..., z_front: _Optional[int] = ..., merged_into: _Optional[str] = ...) -> None: ...

class ChromosomesSeparated(_message.Message):
    __slots__ = ("acquisition_id", "nucleus_id", "group", "standing", "method", "chromosome_count", "voxels", "z_front", "rows", "confidence")
    class Standing(_message.Message):
        __slots__ = ()
        class Value(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            UNSPECIFIED: _ClassVar[ChromosomesSeparated.Standing.Value]
            PROVISIONAL: _ClassVar[ChromosomesSeparated.Standing.Value]
            CONFIRMED: _ClassVar[ChromosomesSeparated.Standing.Value]
            REVISED: _ClassVar[ChromosomesSeparated.Standing.Value]
        UNSPECIFIED: ChromosomesSeparated.Standing.Value
        PROVISIONAL: ChromosomesSeparated.Standing.Value
        CONFIRMED: ChromosomesSeparated.Standing.Value
        REVISED: ChromosomesSeparated.Standing.Value
        def __init__(self) -> None: ...
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    CHROMOSOME_COUNT_FIELD_NUMBER: _ClassVar[int]
    VOXELS_FIELD_NUMBER: _ClassVar[int]
    Z_FRONT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    nucleus_id: str
    group: str
    standing: ChromosomesSeparated.Standing.Value
    method: str
    chromosome_count: int
    voxels: int
    z_front: int
    rows: _common_pb2.ArtefactRef
    confidence: float
    def __init__(self, acquisition_id: _Optional[str] = ..., nucleus_id: _Optional[str] = ..., group: _Optional[str] = ..., standing: _Optional[_Union[ChromosomesSeparated.Standing.Value, str]] = ..., method: _Optional[str] = ..., chromosome_count: _Optional[int] = ..., voxels: _Optional[int] = ..., z_front: _Optional[int] = ..., rows: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., confidence: _Optional[float] = ...) -> None: ...

class ComponentsMeasured(_message.Message):
    __slots__ = ("acquisition_id", "nucleus_id", "method", "expected_count", "chromosome_count", "volume_prefix", "objects", "measurements")
    ACQUISITION_ID_FIELD_NUMBER: _ClassVar[int]
    NUCLEUS_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHROMOSOME_COUNT_FIELD_NUMBER: _ClassVar[int]
    VOLUME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    acquisition_id: str
    nucleus_id: str
    method: str
    expected_count: int
    chromosome_count: int
    volume_prefix: str
    objects: _common_pb2.ArtefactRef
    measurements: _common_pb2.ArtefactRef
    def __init__(self, acquisition_id: _Optional[str] = ..., nucleus_id: _Optional[str] = ..., method: _Optional[str] = ..., expected_count: _Optional[int] = ..., chromosome_count: _Optional[int] = ..., volume_prefix: _Optional[str] = ..., objects: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ..., measurements: _Optional[_Union[_common_pb2.ArtefactRef, _Mapping]] = ...) -> None: ...
