"""Where slices lie, in results: a row for each slice that was registered."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from services.contracts.messages import Message, SliceRegistered
from services.contracts.values import Transform

TRANSFORMS_COLUMNS = pa.schema(
    [
        ("z", pa.int32()),
        *(
            (f"{prefix}{name}", pa.float64())
            for prefix in ("", "first_")
            for name in ("yy", "yx", "xy", "xx", "shift_y_px", "shift_x_px")
        ),
        ("linked", pa.bool_()),
        ("ncc", pa.float64()),
    ]
)


class TransformRow(BaseModel):
    """One registered slice: (y, x) of the acquisition = matrix times (y, x) of the slice, plus shift; pixels.

    The first six numbers are its final place, by which volumes are assembled; those with `first_` were known when it
    came, and crops follow them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    z: int
    yy: float
    yx: float
    xy: float
    xx: float
    shift_y_px: float
    shift_x_px: float
    first_yy: float
    first_yx: float
    first_xy: float
    first_xx: float
    first_shift_y_px: float
    first_shift_x_px: float
    linked: bool
    ncc: float


class TransformBook:
    """What was said of where slices lie, whatever the order in which it came."""

    def __init__(self) -> None:
        self._told: dict[int, SliceRegistered] = {}

    def take(self, message: Message) -> None:
        """Take in a message if it says where a slice lies."""
        if isinstance(message, SliceRegistered):
            self._told[message.z] = message

    def __bool__(self) -> bool:
        return bool(self._told)

    def rows(self) -> Iterator[TransformRow]:
        """Yield a row for every slice, by z."""
        for z, told in sorted(self._told.items()):
            first = {f"first_{name}": value for name, value in _numbers(told.first).items()}
            yield TransformRow(z=z, **_numbers(told.transform), **first, linked=told.linked, ncc=told.ncc)


def _numbers(transform: Transform) -> dict[str, float]:
    return dict(transform.model_dump())
