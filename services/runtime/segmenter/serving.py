"""What answers in a model server: bodies in, replies out, a reason for each refusal; knows no server of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np

from services.runtime.segmenter.port import ModelSetError, Segmented
from services.runtime.segmenter.serving_description import Description
from services.runtime.segmenter.window_runner import WindowRunner
from services.runtime.segmenter.wire import (
    DESCRIBE,
    Request,
    WindowTooLargeError,
    WireError,
    decode_request,
    encode_reply,
)

OCTETS = "application/octet-stream"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
# Between kinds of machine classes agree but for a pixel where two nearly tie; bytes agree on one kind only.
LEAST_AGREEMENT = 0.98


class CanaryError(ModelSetError):
    """Networks do not answer the canary as they did when their archive was built."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one body."""

    status: HTTPStatus
    phrase: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """The answers to the bodies that came together, and what they took.

    Attributes
    ----------
    crops, pixels
        Windows segmented, and their pixels.
    refused
        Bodies refused.
    """

    replies: tuple[Reply, ...]
    crops: int
    pixels: int
    refused: int


def accepted_canary(answer: Segmented | None, known: Segmented) -> Segmented:
    """Return the answer of networks that were just loaded, if it is the known one in all but rounding.

    Raises
    ------
    CanaryError
        If there is none, or its classes differ in more than 2 % of the pixels.
    """
    if answer is None:
        raise CanaryError("the device has no memory for the canary")
    agreement = float(np.mean(answer.classes_yx == known.classes_yx))
    if agreement < LEAST_AGREEMENT:
        raise CanaryError(f"only {agreement:.1%} of the canary's classes are as when the archive was built")
    return answer


def refusal(status: HTTPStatus, why: str) -> Reply:
    """Return the reply to a body that is not segmented."""
    return Reply(status, status.phrase, TEXT, why.encode())


class BodyAnswerer:
    """Answers bodies, each for itself: a malformed one harms none of those that came with it.

    Parameters
    ----------
    runner
        Runs the networks.
    description
        What serves; its `max_pixels` is the largest window taken.
    """

    def __init__(self, runner: WindowRunner, description: Description) -> None:
        self._runner = runner
        self._description = description

    def answer(self, bodies: Sequence[bytes]) -> Batch:
        """Return one reply per body, in order."""
        opened = [self._opened(body) for body in bodies]
        requests = [entry for entry in opened if isinstance(entry, Request)]
        planes = self._runner.run([request.window for request in requests])
        answered = iter(self._replies(requests, planes))
        done = [r.window.grey_yx.size for r, answer in zip(requests, planes, strict=True) if answer is not None]
        replies = tuple(next(answered) if isinstance(entry, Request) else entry for entry in opened)
        refused = sum(reply.status is not HTTPStatus.OK for reply in replies)
        return Batch(replies, len(done), sum(done), refused)

    def _opened(self, body: bytes) -> Request | Reply:
        if body == DESCRIBE:
            return Reply(HTTPStatus.OK, "OK", JSON, self._description.model_dump_json().encode())
        try:
            return decode_request(body, self._description.max_pixels)
        except WindowTooLargeError as error:
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error))
        except WireError as error:
            return refusal(HTTPStatus.BAD_REQUEST, str(error))

    def _replies(self, requests: Sequence[Request], planes: Sequence[Segmented | None]) -> list[Reply]:
        no_room = self._no_room() if None in planes else None
        return [
            no_room or refusal(HTTPStatus.INSUFFICIENT_STORAGE, "out of device memory")
            if answer is None
            else Reply(HTTPStatus.OK, "OK", OCTETS, encode_reply(request, answer))
            for request, answer in zip(requests, planes, strict=True)
        ]

    def _no_room(self) -> Reply:
        """Tell a window that is too large from a device in trouble: the latter cannot answer the canary either."""
        if self._runner.answer_canary() is None:
            return refusal(HTTPStatus.INSUFFICIENT_STORAGE, "out of device memory: not even the canary fits")
        return refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the window alone exceeds the device's memory: lower tile_px"
        )
