"""Put and get of artefacts on a real MinIO: our store against the bare client, interleaved.

    python -m tests.benchmarks.bench_store [--turns 30] [--json FILE]

The bare client neither hashes for its caller nor verifies what it got; the first ratio is what our promises cost.
The second compares with a bare client whose caller hashes what it sends and gets, as ours has to. Both are medians
over the turns of that turn's ratio.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
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
SIDES = ("ours", "bare", "bare and hashed")


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def compared(sides: Mapping[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Measure every side once a turn, in an order that moves on; return the ratios and the times."""
    times_s: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(turns + 1):
        first = turn % len(SIDES)
        for side in SIDES[first:] + SIDES[:first]:
            times_s[side].append(_seconds(sides[side]))
    # The first turn opens connections.
    ours_s, bare_s, hashed_s = (times_s[side][1:] for side in SIDES)
    return {
        "ours_ms": 1e3 * statistics.median(ours_s),
        "bare_ms": 1e3 * statistics.median(bare_s),
        "hashed_ms": 1e3 * statistics.median(hashed_s),
        "ratio_to_bare": statistics.median(a / b for a, b in zip(ours_s, bare_s, strict=True)),
        "ratio_to_hashed": statistics.median(a / b for a, b in zip(ours_s, hashed_s, strict=True)),
    }


def _bare_get(client: Minio) -> bytes:
    response = client.get_object(BUCKET, "bare")
    try:
        return bytes(response.read())
    finally:
        response.close()
        response.release_conn()


def measured(store: S3Store, client: Minio, size_bytes: int, turns: int) -> dict[str, dict[str, float]]:
    """Measure put and get of one size."""
    payload = random.Random(0).randbytes(size_bytes)
    ref = ArtefactRef(key="ours", sha256=sha256(payload), size_bytes=size_bytes)

    def put_bare() -> None:
        client.put_object(BUCKET, "bare", io.BytesIO(payload), len(payload), part_size=PART_BYTES)

    def put_hashed() -> None:
        sha256(payload)
        put_bare()

    puts: dict[str, Callable[[], object]] = {
        "ours": lambda: store.put("ours", payload),
        "bare": put_bare,
        "bare and hashed": put_hashed,
    }
    gets: dict[str, Callable[[], object]] = {
        "ours": lambda: store.get(ref),
        "bare": lambda: _bare_get(client),
        "bare and hashed": lambda: sha256(_bare_get(client)),
    }
    return {"put": compared(puts, turns), "get": compared(gets, turns)}


def main() -> None:
    """Measure, and print the medians and their ratios."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--turns", type=int, default=30)
    arguments.add_argument("--json", type=Path, default=None, help="file for the figures")
    asked = arguments.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, running_minio(Path(folder)) as server:
        settings = settings_for(server)
        make_bucket(settings)
        store, client = S3Store(settings, RecordingMetrics()), back_door(server)
        for name, size_bytes in SIZES_BYTES.items():
            for op, found in measured(store, client, size_bytes, asked.turns).items():
                figures[f"{op} {name}"] = found
                print(
                    f"{op} {name:8} ours {found['ours_ms']:7.2f} ms  bare {found['bare_ms']:7.2f} ms  bare and hashed "
                    f"{found['hashed_ms']:7.2f} ms  ratio to bare {found['ratio_to_bare']:.2f}, to bare and hashed "
                    f"{found['ratio_to_hashed']:.2f}",
                    flush=True,
                )
        store.close()
    figures["load"] = os.getloadavg()[0]
    print(f"{asked.turns} turns, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if asked.json is not None:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
