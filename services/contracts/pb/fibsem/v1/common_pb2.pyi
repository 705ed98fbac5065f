from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ArtefactRef(_message.Message):
    __slots__ = ("key", "sha256", "size_bytes")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    key: str
    sha256: str
    size_bytes: int
    def __init__(self, key: _Optional[str] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class VoxelSize(_message.Message):
    __slots__ = ("z_nm", "y_nm", "x_nm")
    Z_NM_FIELD_NUMBER: _ClassVar[int]
    Y_NM_FIELD_NUMBER: _ClassVar[int]
    X_NM_FIELD_NUMBER: _ClassVar[int]
    z_nm: float
    y_nm: float
    x_nm: float
    def __init__(self, z_nm: _Optional[float] = ..., y_nm: _Optional[float] = ..., x_nm: _Optional[float] = ...) -> None: ...

class PixelWindow(_message.Message):
    __slots__ = ("y0_px", "x0_px", "height_px", "width_px")
    Y0_PX_FIELD_NUMBER: _ClassVar[int]
    X0_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    y0_px: int
    x0_px: int
    height_px: int
    width_px: int
    def __init__(self, y0_px: _Optional[int] = ..., x0_px: _Optional[int] = ..., height_px: _Optional[int] = ..., width_px: _Optional[int] = ...) -> None: ...

class Transform(_message.Message):
    __slots__ = ("yy", "yx", "xy", "xx", "shift_y_px", "shift_x_px")
    YY_FIELD_NUMBER: _ClassVar[int]
    YX_FIELD_NUMBER: _ClassVar[int]
    XY_FIELD_NUMBER: _ClassVar[int]
    XX_FIELD_NUMBER: _ClassVar[int]
    SHIFT_Y_PX_FIELD_NUMBER: _ClassVar[int]
    SHIFT_X_PX_FIELD_NUMBER: _ClassVar[int]
    yy: float
    yx: float
    xy: float
    xx: float
    shift_y_px: float
    shift_x_px: float
    def __init__(self, yy: _Optional[float] = ..., yx: _Optional[float] = ..., xy: _Optional[float] = ..., xx: _Optional[float] = ..., shift_y_px: _Optional[float] = ..., shift_x_px: _Optional[float] = ...) -> None: ...

class GreyMapping(_message.Message):
    __slots__ = ("low", "high", "mean", "sd", "inverted")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    SD_FIELD_NUMBER: _ClassVar[int]
    INVERTED_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    mean: float
    sd: float
    inverted: bool
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ..., mean: _Optional[float] = ..., sd: _Optional[float] = ..., inverted: _Optional[bool] = ...) -> None: ...

class AbsenceReason(_message.Message):
    __slots__ = ()
    class Value(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[AbsenceReason.Value]
        MISSING: _ClassVar[AbsenceReason.Value]
        BLANK: _ClassVar[AbsenceReason.Value]
        DEAD_LETTERED: _ClassVar[AbsenceReason.Value]
    UNSPECIFIED: AbsenceReason.Value
    MISSING: AbsenceReason.Value
    BLANK: AbsenceReason.Value
    DEAD_LETTERED: AbsenceReason.Value
    def __init__(self) -> None: ...

class PlaneKind(_message.Message):
    __slots__ = ()
    class Value(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[PlaneKind.Value]
        DETECTED: _ClassVar[PlaneKind.Value]
        BRIDGED: _ClassVar[PlaneKind.Value]
        CAP: _ClassVar[PlaneKind.Value]
    UNSPECIFIED: PlaneKind.Value
    DETECTED: PlaneKind.Value
    BRIDGED: PlaneKind.Value
    CAP: PlaneKind.Value
    def __init__(self) -> None: ...

class Side(_message.Message):
    __slots__ = ()
    class Value(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Side.Value]
        Z_FIRST: _ClassVar[Side.Value]
        Z_LAST: _ClassVar[Side.Value]
        Y_FIRST: _ClassVar[Side.Value]
        Y_LAST: _ClassVar[Side.Value]
        X_FIRST: _ClassVar[Side.Value]
        X_LAST: _ClassVar[Side.Value]
    UNSPECIFIED: Side.Value
    Z_FIRST: Side.Value
    Z_LAST: Side.Value
    Y_FIRST: Side.Value
    Y_LAST: Side.Value
    X_FIRST: Side.Value
    X_LAST: Side.Value
    def __init__(self) -> None: ...

class AbsentPlane(_message.Message):
    __slots__ = ("z", "reason")
    Z_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    z: int
    reason: AbsenceReason.Value
    def __init__(self, z: _Optional[int] = ..., reason: _Optional[_Union[AbsenceReason.Value, str]] = ...) -> None: ...

class SliceTrouble(_message.Message):
    __slots__ = ("trouble", "severity", "quantity", "value", "usual")
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    USUAL_FIELD_NUMBER: _ClassVar[int]
    trouble: str
    severity: float
    quantity: str
    value: float
    usual: float
    def __init__(self, trouble: _Optional[str] = ..., severity: _Optional[float] = ..., quantity: _Optional[str] = ..., value: _Optional[float] = ..., usual: _Optional[float] = ...) -> None: ...

class SliceScore(_message.Message):
    __slots__ = ("quantity", "value")
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    quantity: str
    value: float
    def __init__(self, quantity: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
