"""The distributed segmenter, on a real TorchServe, keeps the segmenter's promises and its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pytest
import urllib3

from services.contracts.model_card import ClassSource, FusionRules
from services.runtime.errors import TransientError
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.segmenter.in_process import InProcessSegmenter
from services.runtime.segmenter.port import CropTooLargeError, Plane, Segmenter
from services.runtime.segmenter.torchserve import OtherModelsError, TorchServeSegmenter
from services.runtime.segmenter.torchserve_settings import TorchServeSettings
from services.runtime.segmenter.windows import Window
from services.runtime.segmenter.wire import Request, decode_reply, encode_request
from tests.contract.segmenter_suite import NORMALISATION, SegmenterContract, content, nucleus_like
from tests.support.hostile_requests import HOSTILE_REQUESTS
from tests.system.servers.provision import Addresses
from tests.system.servers.torchserve import SHIPPED_MODELS, TorchServeServer, running_torchserve

pytestmark = pytest.mark.system
RECOVERY_S = 90.0
Answer = TypeVar("Answer")
MEMBRANE_ALONE = FusionRules(foreground=(ClassSource(class_id=5, network="membrane"),), background="membrane")
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeServer]:
    with running_torchserve(tmp_path_factory.mktemp("torchserve"), environment={"TS_JOB_QUEUE_SIZE": "24"}) as running:
        yield running


@pytest.fixture(scope="module")
def torchserve(server: TorchServeServer) -> Iterator[TorchServeSegmenter]:
    with TorchServeSegmenter(server.settings, RecordingMetrics()) as opened:
        yield opened


@pytest.fixture(scope="module")
def in_process() -> Iterator[InProcessSegmenter]:
    with InProcessSegmenter(SHIPPED_MODELS) as opened:
        yield opened


class Opener:
    """Opens clients of one server with other settings, and closes them."""

    def __init__(self, settings: TorchServeSettings) -> None:
        self._settings = settings
        self.metrics = RecordingMetrics()
        self.opened: list[TorchServeSegmenter] = []

    def __call__(self, **changes: object) -> TorchServeSegmenter:
        settings = TorchServeSettings.model_validate({**self._settings.model_dump(), **changes})
        self.opened.append(TorchServeSegmenter(settings, self.metrics))
        return self.opened[-1]

    def failures(self, reason: str) -> float:
        return self.metrics.value("fibsem_inference_failures_total", reason=reason)


@pytest.fixture
def client(server: TorchServeServer) -> Iterator[Opener]:
    opener = Opener(server.settings)
    yield opener
    for segmenter in opener.opened:
        segmenter.close()


def eventually(attempt: Callable[[], Answer]) -> Answer:
    """Repeat what meets an outage until it does not."""
    deadline_s = time.monotonic() + RECOVERY_S
    while True:
        try:
            return attempt()
        except TransientError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.5)  # noqa: TID251 (a real server, in real time)


class TestTorchServeSegmenter(SegmenterContract):
    @pytest.fixture
    def segmenter(self, torchserve: TorchServeSegmenter) -> Segmenter:
        return torchserve


if (given := Addresses().torchserve) is not None:

    class TestTheGivenServer(SegmenterContract):
        @pytest.fixture
        def segmenter(self) -> Iterator[Segmenter]:
            with TorchServeSegmenter(TorchServeSettings(url=given), RecordingMetrics()) as opened:
                yield opened


def post(server: TorchServeServer, body: bytes) -> tuple[int, bytes]:
    """Post a body past the client."""
    answer = urllib3.request(
        "POST", f"{server.url}/predictions/nucleus", body=body, headers=OCTETS, retries=False, timeout=30.0
    )
    return answer.status, answer.data


def test_the_server_gives_the_bytes_that_the_process_gives(client: Opener, in_process: InProcessSegmenter) -> None:
    crops = [nucleus_like(shape, seed) for seed, shape in enumerate([(432, 432), (97, 61), (1, 1), (8, 300)])]
    expected = content(in_process.segment(crops, NORMALISATION))
    for flags in ({}, {"compress_requests": True, "compress_replies": False}):
        segmenter = client(**flags)
        assert content(segmenter.segment(crops, NORMALISATION)) == expected
        assert segmenter.model_set() == in_process.model_set()
        assert segmenter.model_set().digest == in_process.model_set().digest
        assert segmenter.profile is in_process.profile


def test_a_large_crop_is_sent_in_tiles_and_gives_the_bytes_that_the_process_gives(client: Opener) -> None:
    field = nucleus_like((330, 420), 3)
    with InProcessSegmenter(SHIPPED_MODELS, tile_px=320) as tiled:
        expected = content(tiled.segment([field], NORMALISATION))
    assert content(client(tile_px=320).segment([field], NORMALISATION)) == expected


@pytest.mark.parametrize("edge_px", [1088, 2112], ids=["max_pixels", "max_request_size"])
def test_a_window_beyond_the_servers_limits_is_refused_with_the_setting_to_change(client: Opener, edge_px: int) -> None:
    segmenter = client(tile_px=4096)
    with pytest.raises(CropTooLargeError, match="tile_px"):
        segmenter.segment([np.zeros((edge_px, edge_px), np.uint8)], NORMALISATION)
    assert segmenter.ready()


def test_other_models_than_those_wanted_are_refused(client: Opener, torchserve: TorchServeSegmenter) -> None:
    digest = torchserve.model_set().digest
    assert client(model_set_digest=digest).ready()
    stranger = client(model_set_digest="0" * 64)
    with pytest.raises(OtherModelsError, match=digest):
        stranger.segment([nucleus_like((64, 64), 0)], NORMALISATION)
    assert not stranger.ready()


@pytest.mark.parametrize("what", HOSTILE_REQUESTS)
def test_a_malformed_request_is_refused_and_harms_none_that_come_with_it(
    server: TorchServeServer, in_process: InProcessSegmenter, what: str
) -> None:
    probe = nucleus_like((64, 72), 1)
    expected = content(in_process.segment([probe], NORMALISATION))
    good = encode_request(Request(Window(probe, NORMALISATION)))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: post(server, body), [good, HOSTILE_REQUESTS[what], good, good]))
    assert answers[1][0] in {400, 413}
    for status, body in (answers[0], answers[2], answers[3]):
        assert status == 200
        assert content([decode_reply(body, probe)]) == expected


def test_more_requests_than_the_server_queues_are_an_outage_that_passes(client: Opener) -> None:
    crowd = client(concurrency=64)
    crops = [nucleus_like((256, 256), seed) for seed in range(64)]
    for _ in range(4):
        # It begins with few requests at once, and asks for more while answers come fast.
        crowd.segment([np.full((16, 16), 170, np.uint8)], NORMALISATION)
    with pytest.raises(TransientError, match="503"):
        crowd.segment(crops, NORMALISATION)
    assert client.failures("unavailable") == 1
    assert len(eventually(lambda: crowd.segment(crops[:2], NORMALISATION))) == 2


def test_a_worker_killed_in_mid_call_is_an_outage_and_the_call_succeeds_when_it_is_back(
    server: TorchServeServer, client: Opener, in_process: InProcessSegmenter
) -> None:
    segmenter = client()
    crops: list[Plane] = [nucleus_like((256, 256), seed) for seed in range(16)]
    segmenter.segment(crops[:1], NORMALISATION)
    before = server.worker_pid()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(segmenter.segment, crops, NORMALISATION)
        server.await_busy()
        server.kill_worker()
        with pytest.raises(TransientError):
            call.result()
    answers = eventually(lambda: segmenter.segment(crops, NORMALISATION))
    assert content(answers) == content(in_process.segment(crops, NORMALISATION))
    assert server.worker_pid() != before
    assert segmenter.ready()


def test_a_frozen_server_is_an_outage_within_the_time_out(server: TorchServeServer, client: Opener) -> None:
    segmenter = client(read_timeout_s=2.0)
    crops = [nucleus_like((64, 64), seed) for seed in range(12)]
    expected = content(segmenter.segment(crops, NORMALISATION))
    server.process.freeze()
    try:
        started_s = time.monotonic()
        with pytest.raises(TransientError, match="timeout"):
            segmenter.segment(crops, NORMALISATION)
        assert not segmenter.ready()
        assert time.monotonic() - started_s < 10
    finally:
        server.process.thaw()
    assert content(eventually(lambda: segmenter.segment(crops, NORMALISATION))) == expected


def test_the_memory_of_the_worker_stays_flat(server: TorchServeServer, torchserve: TorchServeSegmenter) -> None:
    crops = [nucleus_like((64, 48 + seed), seed) for seed in range(20)]
    for _ in range(5):
        torchserve.segment(crops, NORMALISATION)
    before = server.resident_bytes()
    for _ in range(15):
        torchserve.segment(crops, NORMALISATION)
    assert server.resident_bytes() - before < 24 * 2**20


def test_a_scrape_shows_what_the_handler_counted(server: TorchServeServer, torchserve: TorchServeSegmenter) -> None:
    before = server.counters()
    torchserve.segment([np.full((40, 50), 170, np.uint8)] * 3, NORMALISATION)
    after = server.counters()
    grown = {name: after[name] - before.get(name, 0.0) for name in after if name.startswith("fibsem_server_")}
    assert grown["fibsem_server_crops_total"] == 3
    assert grown["fibsem_server_pixels_total"] == 3 * 40 * 50
    assert grown["fibsem_server_requests_total"] == 3
    assert 1 <= grown["fibsem_server_batches_total"] <= 3
    assert grown["fibsem_server_busy_seconds_total"] > 0
    assert grown["fibsem_server_refused_total"] == grown["fibsem_server_out_of_memory_total"] == 0
    assert after["ts_queue_latency_microseconds"] > 0


def test_a_server_that_goes_and_returns_is_waited_for_unless_it_returns_with_other_models(
    server: TorchServeServer, client: Opener
) -> None:
    crop = nucleus_like((96, 96), 2)
    early = client()
    expected = content(early.segment([crop], NORMALISATION))
    server.stop()
    late = client()
    for segmenter in (early, late):
        with pytest.raises(TransientError):
            segmenter.segment([crop], NORMALISATION)
        assert not segmenter.ready()
    assert client.failures("refused") == 2
    server.put_archive(MEMBRANE_ALONE)
    server.start(wait=False)
    with pytest.raises(OtherModelsError, match="began with"):
        eventually(lambda: early.segment([crop], NORMALISATION))
    assert eventually(late.model_set).fusion == MEMBRANE_ALONE
    server.stop()
    server.put_archive()
    server.start()
    assert content(early.segment([crop], NORMALISATION)) == expected
