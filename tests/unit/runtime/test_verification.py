"""A verifying stream tells by its end whether the bytes were those that were promised."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.keys import sha256
from services.contracts.values import ArtefactRef
from services.runtime.store.port import ArtefactCorruptError
from services.runtime.store.verification import VerifyingStream


def stream(stored: bytes, promised: bytes, buffer_bytes: int = 4) -> io.BufferedReader:
    ref = ArtefactRef(key="a/b", sha256=sha256(promised), size_bytes=len(promised))
    return io.BufferedReader(VerifyingStream(io.BytesIO(stored).read, ref), buffer_bytes)


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(1, 12), st.integers(1, 50))
def test_honest_bytes_pass_whatever_the_pieces(payload: bytes, buffer_bytes: int, piece_bytes: int) -> None:
    reader = stream(payload, payload, buffer_bytes)
    assert b"".join(iter(lambda: reader.read(piece_bytes), b"")) == payload


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 12))
def test_other_bytes_never_pass(stored: bytes, promised: bytes, buffer_bytes: int) -> None:
    if stored != promised:
        with pytest.raises(ArtefactCorruptError, match="a/b"):
            stream(stored, promised, buffer_bytes).read()


def test_surplus_behind_the_promised_size_is_told_to_a_reader_that_stops_there() -> None:
    reader = stream(b"12345678" + b"9", b"12345678", buffer_bytes=4)
    assert reader.read(4) == b"1234"
    with pytest.raises(ArtefactCorruptError, match="has 9 bytes, its reference says 8"):
        reader.read(4)


def test_a_size_that_differs_is_named_before_a_hash() -> None:
    with pytest.raises(ArtefactCorruptError, match="has 3 bytes, its reference says 4"):
        stream(b"123", b"1234").read()
    with pytest.raises(ArtefactCorruptError, match="SHA-256"):
        stream(b"1235", b"1234").read()
