"""A real MinIO, built once from its published Go module: its images were withdrawn, its releases are refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.system.servers.golang import go_install
from tests.system.servers.process import ServerProcess, free_port
from tests.system.servers.provision import built
from tests.system.servers.s3_server import S3Server, answers_ok

# The last commit before the project was archived, so with every published fix.
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
ROOT_USER = "root-of-tests"


def minio_program() -> Path:
    """Return the server's program, built (three minutes) where it is not there yet."""
    module = f"github.com/minio/minio@{VERSION}"
    return built(f"minio-{VERSION}", partial(go_install, module)) / "minio"


@contextmanager
def running_minio(folder: Path, certificates: Path | None = None) -> Iterator[S3Server]:
    """Run a MinIO with its data below `folder`; it is stopped at the end of the block.

    Parameters
    ----------
    folder
        For data and log.
    certificates
        Folder with `public.crt` and `private.key` of the server and `authority.crt`; none means no TLS.
    """
    port = free_port()
    secret_key = secrets.token_hex(16)
    argv = [str(minio_program()), "server", str(folder / "data"), "--address", f"127.0.0.1:{port}"]
    argv += ["--console-address", f"127.0.0.1:{free_port()}", "--quiet"]
    # Without a folder of its own it would use certificates of whoever runs the tests.
    own = folder / "certificates"
    own.mkdir(parents=True, exist_ok=True)
    argv += ["--certs-dir", str(certificates or own)]
    scheme, ca_file = ("https", certificates / "authority.crt") if certificates else ("http", None)
    process = ServerProcess(
        argv,
        folder / "minio.log",
        lambda: answers_ok(f"{scheme}://127.0.0.1:{port}/minio/health/cluster", ca_file),
        environment={"MINIO_ROOT_USER": ROOT_USER, "MINIO_ROOT_PASSWORD": secret_key, "MINIO_BROWSER": "off"},
    )
    process.start()
    try:
        yield S3Server(
            endpoint=f"127.0.0.1:{port}",
            access_key=ROOT_USER,
            secret_key=secret_key,
            process=process,
            has_admin_api=True,
            ca_file=ca_file,
        )
    finally:
        process.stop()
