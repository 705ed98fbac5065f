"""What a model server says of itself; needs no torch, so that a client can read it."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field

from services.contracts.values import Count, Sha256, Text
from services.runtime.segmenter.port import NumericProfile, Segmented
from services.runtime.segmenter.shelf import StatedSet


class Description(StatedSet):
    """What serves, as a client must know it.

    Attributes
    ----------
    canary_sha256
        Of the planes with which this server answers the canary.
    canary_as_built
        Whether the machine that built the archive gave the same bytes.
    max_pixels
        Largest window that is taken.
    """

    wire_version: Count
    profile: NumericProfile
    canary_sha256: Sha256
    canary_as_built: bool
    max_pixels: Annotated[int, Field(ge=1)]
    torch_version: Text
    device: Text


def planes_sha256(answer: Segmented) -> str:
    """Return the hash of both planes, by which answers to the canary are compared.

    Examples
    --------
    >>> import numpy as np
    >>> plane = np.zeros((1, 1), np.uint8)
    >>> planes_sha256(Segmented(plane, plane))[:8]
    '96a296d2'
    """
    return hashlib.sha256(answer.classes_yx.tobytes() + answer.confidence_yx.tobytes()).hexdigest()
