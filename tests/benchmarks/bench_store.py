"""Put and get of artefacts on a real MinIO: our store against the bare client, interleaved.

The bare client neither hashes for its caller nor verifies what it got; the ratio is what our promises cost.

    python -m tests.benchmarks.bench_store [--turns N]
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from minio import Minio

from services.contracts.keys import sha256
from services.contracts.values import ArtefactRef
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_setup import make_bucket
from tests.system.contract.s3_store_settings import BUCKET, back_door, settings_for
from tests.system.servers.minio import running_minio

SIZES_BYTES = {"37.5 MB": 37_500_000, "200 kB": 200_000}
PART_BYTES = 64 << 20


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _compare(name: str, ours: Callable[[], object], bare: Callable[[], object], size_bytes: int, turns: int) -> None:
    times_s: list[tuple[float, float]] = []
    for turn in range(turns + 1):
        if turn % 2:
            times_s.append((_seconds(ours), _seconds(bare)))
        else:
            second, first = _seconds(bare), _seconds(ours)
            times_s.append((first, second))
    # The first turn opens connections.
    ours_s, bare_s = (statistics.median(column) for column in zip(*times_s[1:], strict=True))
    print(
        f"{name:12}  ours {ours_s * 1e3:8.2f} ms {size_bytes / ours_s / 1e6:7.0f} MB/s   bare {bare_s * 1e3:8.2f} ms "
        f"{size_bytes / bare_s / 1e6:7.0f} MB/s   ratio {ours_s / bare_s:.2f}"
    )


def _bare_get(client: Minio) -> bytes:
    response = client.get_object(BUCKET, "bare")
    try:
        return bytes(response.read())
    finally:
        response.close()
        response.release_conn()


def main() -> None:
    """Measure, and print the medians and their ratio."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--turns", type=int, default=30)
    turns = arguments.parse_args().turns
    with tempfile.TemporaryDirectory() as folder, running_minio(Path(folder)) as server:
        settings = settings_for(server)
        make_bucket(settings)
        store, client = S3Store(settings, RecordingMetrics()), back_door(server)
        for name, size_bytes in SIZES_BYTES.items():
            payload = random.Random(0).randbytes(size_bytes)
            ref = ArtefactRef(key="ours", sha256=sha256(payload), size_bytes=size_bytes)

            def put_bare(payload: bytes = payload) -> None:
                client.put_object(BUCKET, "bare", io.BytesIO(payload), len(payload), part_size=PART_BYTES)

            _compare(f"put {name}", partial(store.put, "ours", payload), put_bare, size_bytes, turns)
            _compare(f"get {name}", partial(store.get, ref), partial(_bare_get, client), size_bytes, turns)
        store.close()


if __name__ == "__main__":
    main()
