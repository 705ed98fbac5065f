"""One sample of interleaved pixels, whatever the size of the image and of the pieces it is read in."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.imaging import interleaved
from services.imaging.interleaved import read_sample
from services.imaging.tiff_faults import TruncatedStripError


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 50), st.integers(1, 5), st.integers(0, 9), st.integers(0, 4), st.integers(0, 99)
)
def test_a_sample_is_what_numpy_takes(
    rows: int, columns: int, samples: int, offset: int, which: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns, samples), np.uint8)
    file = io.BytesIO(bytes(offset) + pixels.tobytes() + b"what follows")
    found = read_sample(file, offset, (rows, columns), samples, which % samples)
    assert (found == pixels[..., which % samples]).all()
    found[0, 0] = 1  # the plane is the caller's own


def test_an_image_of_many_pieces_is_put_together() -> None:
    side = 1000
    assert side * side * 3 > 3 * interleaved._PIECE_BYTES
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    assert (read_sample(io.BytesIO(pixels.tobytes()), 0, (side, side), 3, 2) == pixels[..., 2]).all()


@pytest.mark.parametrize("missing", [1, 299, 300])
def test_a_file_that_ends_too_soon_is_refused(missing: int) -> None:
    with pytest.raises(TruncatedStripError, match="before pixel"):
        read_sample(io.BytesIO(bytes(300 - missing)), 0, (10, 10), 3, 0)
