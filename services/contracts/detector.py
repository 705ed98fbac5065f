"""What must be known of a network by which detection finds nuclei."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.contracts.values import Sha256, Value


class DetectorCard(Value):
    """A detector's card; `NAME.json` beside `NAME.onnx`.

    Attributes
    ----------
    made_from
        Address of the published network.
    voxel_size_nm
        Edge of the pixels it learned from.
    mean, sd
        Grey is shown to it less the first, by the second.
    nucleus_channel
        Which of its outputs is the nucleus.
    shape_multiple_px
        Images must be so many pixels, or a multiple, along both axes.
    onnx_sha256
        Of the file.
    """

    made_from: str
    voxel_size_nm: Annotated[float, Field(gt=0)]
    mean: float
    sd: Annotated[float, Field(gt=0)]
    nucleus_channel: Annotated[int, Field(ge=0)]
    shape_multiple_px: Annotated[int, Field(ge=1)]
    onnx_sha256: Sha256
