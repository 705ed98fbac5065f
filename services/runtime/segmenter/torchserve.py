"""The distributed segmenter: a TorchServe that serves the model archive, asked by several requests at a time.

The server computes what `InProcessSegmenter` computes, with the same code, and crops are cut here as they are cut
there: both give the same bytes. Nothing the server does is a crop's fault. When a request fails the whole call is
an outage, and before anything else is sent the server must answer the canary as it did when it was first seen: a
worker that came back with other networks, or with a broken device, gets no work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from pydantic import ValidationError

from services.contracts.model_card import ModelSet
from services.runtime.clock import Clock, SystemClock
from services.runtime.errors import TransientError
from services.runtime.metrics.port import Metrics
from services.runtime.segmenter.port import (
    CANARY_NORMALISATION,
    ModelSetError,
    Normalisation,
    NumericProfile,
    Plane,
    Segmented,
    canary_crop,
    refuse_unfit,
)
from services.runtime.segmenter.serving_description import Description, planes_sha256
from services.runtime.segmenter.torchserve_requests import ServerOutageError, TorchServeRequests
from services.runtime.segmenter.torchserve_settings import TorchServeSettings
from services.runtime.segmenter.windows import Cutter, Window
from services.runtime.segmenter.wire import DESCRIBE, Request, WireError, decode_reply, encode_request

# An answer takes as long as all that wait before it. Twice as many at once may double what took a quarter of
# the time-out; what takes half of it is asked for less at once.
FIRST_IN_FLIGHT = 4
FAST_SHARE = 0.25
SLOW_SHARE = 0.5


class OtherModelsError(ModelSetError):
    """The server serves other networks, or under another profile, than this client works with."""


@dataclass(frozen=True, slots=True)
class _Timed:
    """An answer, and how long it took."""

    planes: Segmented
    took_s: float


class TorchServeSegmenter:
    """Segments by way of a TorchServe. It may be made before the server is up.

    Parameters
    ----------
    settings
        Where the server is, how long it is waited for, and which model set must answer.
    metrics
        Where failures are counted.
    clock
        Tells how long answers take.
    """

    def __init__(self, settings: TorchServeSettings, metrics: Metrics, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._metrics = metrics
        self._requests = TorchServeRequests(settings)
        self._pool = ThreadPoolExecutor(settings.concurrency, "torchserve")
        self._in_flight = min(FIRST_IN_FLIGHT, settings.concurrency)
        self._lock = threading.Lock()
        self._server: _KnownServer | None = None
        self._trusted = False
        self._closed = False

    @property
    def profile(self) -> NumericProfile:
        """The numeric profile of every answer.

        Raises
        ------
        TransientError
            If the server was never reached, and is not now.
        """
        return self._known().profile

    def model_set(self) -> ModelSet:
        """Return the networks that answer; see `Segmenter.model_set`.

        Raises
        ------
        OtherModelsError
            If they are not those of the settings.
        """
        return self._known().model_set

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        """Segment crops; see `Segmenter.segment`.

        Raises
        ------
        OtherModelsError
            If the server now serves other networks than it did.
        CropTooLargeError
            If the server takes no window of `tile_px`.
        """
        refuse_unfit(crops)
        with self._counted():
            cutter = self._resumed().cutter
            windows, plan = cutter.cut(crops, normalisation)
            return cutter.join(crops, plan, self._answers(windows))

    def ready(self) -> bool:
        """Tell whether the server is healthy and answers the canary as it did when it was first seen."""
        if self._closed or not self._requests.is_healthy():
            return False
        try:
            with self._counted():
                self._trusted = False
                self._resumed()
        except (TransientError, ModelSetError, WireError):
            return False
        return True

    def close(self) -> None:
        """Give back threads and connections; closing twice does nothing."""
        self._closed = True
        self._pool.shutdown(cancel_futures=True)
        self._requests.close()

    def __enter__(self) -> Self:
        """Return the segmenter itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _known(self) -> _KnownServer:
        """Return what the server said when it was first reached; ask it if that was never."""
        if self._server is None:
            with self._counted():
                self._resumed()
        assert self._server is not None, "what resumes knows its server"
        return self._server

    def _resumed(self) -> _KnownServer:
        """Return the server, after it has answered the canary since it was last in trouble."""
        if self._closed:
            raise ServerOutageError("closed", "this segmenter has been closed")
        known = self._server
        if known is not None and self._trusted:
            return known
        # Nobody waits here for another's question to a server that may hang: each caller asks for itself.
        found = self._inspected()
        with self._lock:
            if self._server is None:
                self._server = found
            if found.identity != self._server.identity:
                raise OtherModelsError(
                    f"{self._settings.url} serves {found.identity}, this client began with {self._server.identity}"
                )
            self._trusted = True
            self._metrics.set("fibsem_inference_canary_ok", 1)
            return self._server

    def _inspected(self) -> _KnownServer:
        """Ask the server what it serves, and have it answer the canary."""
        found = _KnownServer(_description(self._requests.predict(DESCRIBE)), self._settings)
        answer = self._ask(Window(canary_crop(), CANARY_NORMALISATION))
        if planes_sha256(answer) != found.canary_sha256:
            raise ServerOutageError("canary", f"{self._settings.url} no longer answers the canary as it did")
        return found

    def _answers(self, windows: Sequence[Window]) -> list[Segmented]:
        """Ask for all windows, some at a time; a failure ends the call."""
        asked: deque[Future[_Timed]] = deque()
        answers: list[_Timed] = []
        try:
            for window in windows:
                if len(asked) >= self._in_flight:
                    answers.append(asked.popleft().result())
                asked.append(self._pool.submit(self._timed, window))
            answers += [future.result() for future in asked]
        finally:
            for future in asked:
                future.cancel()
        self._pace(max((answer.took_s for answer in answers), default=0.0))
        return [answer.planes for answer in answers]

    def _timed(self, window: Window) -> _Timed:
        started_s = self._clock.monotonic_s()
        planes = self._ask(window)
        return _Timed(planes, self._clock.monotonic_s() - started_s)

    def _pace(self, slowest_s: float) -> None:
        """Ask for more at once while answers come fast, for less before they come too late."""
        share = slowest_s / self._settings.read_timeout_s
        if share < FAST_SHARE:
            self._in_flight = min(self._settings.concurrency, 2 * self._in_flight)
        elif share > SLOW_SHARE:
            self._in_flight = max(1, self._in_flight // 2)

    def _ask(self, window: Window) -> Segmented:
        request = Request(window, compress_reply=self._settings.compress_replies)
        reply = self._requests.predict(encode_request(request, compress=self._settings.compress_requests))
        try:
            return decode_reply(reply, window.grey_yx)
        except WireError as error:
            raise ServerOutageError("damaged_reply", str(error)) from error

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count what goes wrong, distrust the server from then on, and turn its outages into ours."""
        try:
            yield
        except ServerOutageError as outage:
            self._failed(outage.reason)
            raise TransientError("segmenter", str(outage)) from outage
        except ModelSetError:
            self._failed("other_models")
            raise
        except WireError:
            self._failed("other_release")
            raise

    def _failed(self, reason: str) -> None:
        self._trusted = False
        self._metrics.set("fibsem_inference_canary_ok", 0)
        if reason == "timeout":
            # A server that is merely slow would be timed out for ever by as many requests at once.
            self._in_flight = max(1, self._in_flight // 2)
        self._metrics.increment("fibsem_inference_failures_total", reason=reason)


class _KnownServer:
    """A server's description, checked against the settings."""

    def __init__(self, description: Description, settings: TorchServeSettings) -> None:
        self.model_set = description.model_set()
        self.profile = description.profile
        self.canary_sha256 = description.canary_sha256
        self.cutter = Cutter(self.model_set, settings.tile_px)
        wanted = settings.model_set_digest
        if wanted is not None and wanted != self.model_set.digest:
            raise OtherModelsError(f"{settings.url} serves the models {self.model_set.digest}, not {wanted}")

    @property
    def identity(self) -> tuple[str, str, str]:
        """What must not change while this client lives: bytes would."""
        return self.model_set.digest, self.profile.value, self.canary_sha256


def _description(answer: bytes) -> Description:
    try:
        return Description.model_validate_json(answer)
    except ValidationError as error:
        raise WireError(f"the model server describes itself in another way: {error}") from error
