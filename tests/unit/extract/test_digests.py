"""What detection leaves of a slice for those that compare it with its neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from services.extract.digests import DigestFormatError, SliceDigest, digest_from_bytes, digest_of, digest_to_bytes


def test_a_digest_comes_back_as_it_was() -> None:
    plane = np.random.default_rng(3).integers(0, 256, (33, 47)).astype(np.uint8)
    back = digest_from_bytes(digest_to_bytes(SliceDigest(plane, 5)))
    assert back.factor == 5
    assert np.array_equal(back.plane, plane)


def test_a_large_slice_is_made_small_by_means_of_blocks() -> None:
    field = np.repeat(np.repeat(np.arange(200, dtype=np.uint8)[:, None], 600, 1), 6, 0)
    digest = digest_of(np.ascontiguousarray(field))
    assert digest.factor == 2
    assert digest.plane.shape == (600, 300)
    assert digest.plane[:, 0].tolist() == [z // 3 for z in range(600)]


@pytest.mark.parametrize(
    "damaged",
    [b"", b"FSD1", b"ABCD" + bytes(30), digest_to_bytes(SliceDigest(np.zeros((4, 5), np.uint8), 1))[:-2]],
    ids=["nothing", "short", "other", "cut"],
)
def test_damaged_bytes_are_refused(damaged: bytes) -> None:
    with pytest.raises(DigestFormatError, match="digest of a slice"):
        digest_from_bytes(damaged)


def test_a_digest_whose_size_is_a_lie_is_refused() -> None:
    whole = digest_to_bytes(SliceDigest(np.zeros((4, 5), np.uint8), 1))
    lie = whole[:4] + (3).to_bytes(4, "little") + whole[8:]
    with pytest.raises(DigestFormatError):
        digest_from_bytes(lie)
