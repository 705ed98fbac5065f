"""Histograms as text, for the journal."""

from __future__ import annotations

import base64
import zlib

import numpy as np

from services.imaging.grey import Histogram


def pack(counts: Histogram) -> str:
    """Return a histogram as text.

    >>> unpack(pack(np.array([0, 3, 5]))).tolist()
    [0, 3, 5]
    """
    return base64.b64encode(zlib.compress(counts.astype("<u4").tobytes())).decode()


def unpack(text: str) -> Histogram:
    """Return the histogram that `pack` was given."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u4").astype(np.int64)
