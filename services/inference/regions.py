"""Which part of a crop needs to be segmented: the nucleus, and as much round it as the networks look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Region = tuple[slice, slice]


def region_of_interest(mask: npt.NDArray[np.uint8], context_px: int, multiple_px: int) -> Region | None:
    """Return the part of a crop that decides the pixels inside its mask.

    Parameters
    ----------
    mask
        uint8 (y, x): 0 where pixels belong to nobody.
    context_px
        How far away a pixel may lie and still change an output.
    multiple_px
        Regions begin at multiples of this, so that pooling sees the cells that it sees in the whole crop.

    Returns
    -------
    pair of slices, or None
        Rows and columns; None where the mask is empty.

    Examples
    --------
    >>> mask = np.zeros((100, 100), np.uint8)
    >>> mask[40:50, 70:90] = 1
    >>> region_of_interest(mask, 10, 8)
    (slice(24, 64, None), slice(56, 100, None))
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    y, x = (
        slice(
            max(0, (int(found[0]) - context_px) // multiple_px * multiple_px),
            min(size, -(-(int(found[-1]) + 1 + context_px) // multiple_px) * multiple_px),
        )
        for found, size in zip((rows, columns), mask.shape, strict=True)
    )
    return y, x
