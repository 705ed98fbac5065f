"""What travels between client and model server arrives as it was sent, or is refused with a reason."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from services.runtime.segmenter.port import Normalisation, Plane, Segmented
from services.runtime.segmenter.windows import Window
from services.runtime.segmenter.wire import (
    Request,
    WindowTooLargeError,
    WireError,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from tests.support.hostile_requests import HOSTILE_REQUESTS

PIXELS = 1024 * 1024
GREY = np.arange(15, dtype=np.uint8).reshape(3, 5)
ANSWER = Segmented(GREY % 6, 255 - GREY)
planes = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))
finite = st.floats(-1e6, 1e6)


def asked(grey: Plane = GREY, *, compress_reply: bool = False) -> Request:
    return Request(Window(grey, Normalisation(170.0, 20.0)), compress_reply)


@given(planes, finite, st.floats(1e-6, 1e6), st.booleans(), st.booleans())
def test_a_request_arrives_as_it_was_sent(
    grey: Plane, offset: float, scale: float, compress: bool, compress_reply: bool
) -> None:
    sent = Request(Window(grey, Normalisation(offset, scale)), compress_reply)
    arrived = decode_request(encode_request(sent, compress=compress), PIXELS)
    np.testing.assert_array_equal(arrived.window.grey_yx, grey)
    assert arrived.window.normalisation == sent.window.normalisation
    assert arrived.compress_reply is compress_reply


@given(planes, st.booleans())
def test_a_reply_arrives_as_it_was_sent(grey: Plane, compress_reply: bool) -> None:
    sent = Segmented(grey // 50, 255 - grey)
    arrived = decode_reply(encode_reply(asked(grey, compress_reply=compress_reply), sent), grey)
    np.testing.assert_array_equal(arrived.classes_yx, sent.classes_yx)
    np.testing.assert_array_equal(arrived.confidence_yx, sent.confidence_yx)


def test_a_view_is_sent_as_its_copy() -> None:
    view = GREY[::-1, ::2]
    assert encode_request(asked(view)) == encode_request(asked(np.ascontiguousarray(view)))
    assert encode_reply(asked(view), Segmented(view, view)) == encode_reply(
        asked(np.ascontiguousarray(view)), Segmented(view, view)
    )


def test_the_header_has_the_bytes_that_are_documented() -> None:
    body = encode_request(asked(np.array([[7, 8, 9]], np.uint8), compress_reply=True))
    assert body[:16] == b"FSEQ" + struct.pack("<HHII", 1, 2, 1, 3)
    assert struct.unpack("<dd", body[20:36]) == (170.0, 20.0)
    assert body[36:] == b"\7\10\11"


@pytest.mark.parametrize("what", HOSTILE_REQUESTS)
def test_a_malformed_request_is_refused(what: str) -> None:
    with pytest.raises(WireError):
        decode_request(HOSTILE_REQUESTS[what], PIXELS)


def test_a_window_beyond_the_limit_is_told_from_a_malformed_one() -> None:
    body = encode_request(asked())
    assert decode_request(body, 15).window.grey_yx.shape == (3, 5)
    with pytest.raises(WindowTooLargeError, match="3 x 5 px exceeds max_pixels = 14"):
        decode_request(body, 14)


def test_a_reply_to_another_window_is_refused() -> None:
    reply = encode_reply(asked(), ANSWER)
    with pytest.raises(WireError, match="another window"):
        decode_reply(reply, GREY + np.uint8(1))
    with pytest.raises(WireError, match="another window"):
        decode_reply(reply, GREY.reshape(5, 3))


@pytest.mark.parametrize("compress_reply", [False, True])
def test_a_damaged_reply_is_refused(compress_reply: bool) -> None:
    reply = encode_reply(asked(compress_reply=compress_reply), ANSWER)
    flipped = bytearray(reply)
    flipped[-1] ^= 1
    for damaged in (reply[:-1], reply + b"\0", bytes(flipped), reply[:10], b"", b"<html>" + reply):
        with pytest.raises(WireError):
            decode_reply(damaged, GREY)


def test_a_reply_with_an_unknown_flag_is_refused() -> None:
    reply = bytearray(encode_reply(asked(), ANSWER))
    reply[6] = 4
    with pytest.raises(WireError, match="flags 0x4"):
        decode_reply(bytes(reply), GREY)
