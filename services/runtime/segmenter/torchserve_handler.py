"""The handler that TorchServe's worker loads: settings from its environment, bodies to the serving code, counts.

TorchServe takes the one class of this module, calls `initialize` when a worker starts and `handle` with the
requests of each batch. It asks for no request at a time while a batch is in work.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from services.runtime.clock import SystemClock
from services.runtime.segmenter.networks import COMMON_SHAPE_YX, Networks
from services.runtime.segmenter.port import ModelSetError, NumericProfile
from services.runtime.segmenter.serving import Batch, BodyAnswerer, accepted_canary
from services.runtime.segmenter.serving_description import Description, planes_sha256
from services.runtime.segmenter.torchserve_archive import MODELS, read_contents
from services.runtime.segmenter.torchserve_context import WorkerContext
from services.runtime.segmenter.torchserve_settings import ServerSettings
from services.runtime.segmenter.window_runner import WindowRunner
from services.runtime.segmenter.wire import VERSION


class NucleusHandler:
    """Serves the model set of an archive."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._runner: WindowRunner | None = None
        self._answerer: BodyAnswerer | None = None
        self._out_of_memory_told = 0

    def initialize(self, context: WorkerContext) -> None:
        """Load, verify and warm up the networks.

        Raises
        ------
        ModelSetError
            If the archive does not hold what it says, or its networks answer otherwise than they did.
        """
        settings = ServerSettings()
        gpu_id = context.system_properties.get("gpu_id")
        device = "cpu" if gpu_id is None or not torch.cuda.is_available() else f"cuda:{gpu_id}"
        folder = Path(context.system_properties["model_dir"])
        contents, known = read_contents(folder)
        networks = Networks(folder / MODELS, contents.fusion, _profile(settings, device), device)
        if networks.model_set.digest != contents.model_set_digest:
            raise ModelSetError(f"the archive says {contents.model_set_digest}, it holds {networks.model_set.digest}")
        on_cpu = device == "cpu"
        self._runner = WindowRunner(networks, settings.threads or _cores(), None if on_cpu else settings.gpu_batch)
        self._runner.warm_up(COMMON_SHAPE_YX)
        now = accepted_canary(self._runner.answer_canary(), known)
        self._answerer = BodyAnswerer(
            self._runner,
            Description(
                wire_version=VERSION,
                cards=tuple(card.encoded().decode() for card in networks.model_set.cards),
                fusion=contents.fusion,
                model_set_digest=contents.model_set_digest,
                profile=networks.profile,
                canary_sha256=planes_sha256(now),
                canary_as_built=planes_sha256(now) == contents.canary_sha256,
                max_pixels=settings.max_pixels,
                torch_version=torch.__version__,
                device=device,
            ),
        )

    def handle(self, requests: Sequence[Mapping[str, Any]], context: WorkerContext) -> list[bytes]:
        """Answer the requests of a batch, each with a status of its own."""
        assert self._answerer is not None, "TorchServe initialises a handler before it hands requests over"
        started_s = self._clock.monotonic_s()
        batch = self._answerer.answer([_body(request) for request in requests])
        for position, reply in enumerate(batch.replies):
            context.set_response_status(int(reply.status), reply.phrase, position)
            context.set_response_content_type(position, reply.content_type)
        self._count(context, batch, self._clock.monotonic_s() - started_s)
        return [reply.body for reply in batch.replies]

    def _count(self, context: WorkerContext, batch: Batch, busy_s: float) -> None:
        assert self._runner is not None
        out_of_memory = self._runner.out_of_memory_count - self._out_of_memory_told
        self._out_of_memory_told += out_of_memory
        counts = {
            "fibsem_server_batches_total": 1,
            "fibsem_server_requests_total": len(batch.replies),
            "fibsem_server_refused_total": batch.refused,
            "fibsem_server_crops_total": batch.crops,
            "fibsem_server_pixels_total": batch.pixels,
            "fibsem_server_busy_seconds_total": round(busy_s, 6),
            "fibsem_server_out_of_memory_total": out_of_memory,
        }
        for name, value in counts.items():
            # The list is TorchServe's to fill; its own default is one list for all calls.
            context.metrics.add_counter(name, value, dimensions=[])


def _body(request: Mapping[str, Any]) -> bytes:
    """Return the bytes that were posted; a form, or JSON that TorchServe has parsed, is no request of ours."""
    posted = request.get("body", request.get("data"))
    return bytes(posted) if isinstance(posted, bytes | bytearray) else b""


def _profile(settings: ServerSettings, device: str) -> NumericProfile:
    if settings.profile == "auto":
        return NumericProfile.EXACT if device == "cpu" else NumericProfile.FAST
    return NumericProfile(settings.profile)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
