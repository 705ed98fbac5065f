"""What a test sees of a real S3 server, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3

from tests.system.servers.process import ServerProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """Where an S3 server is.

    Attributes
    ----------
    endpoint
        `host:port`, without a scheme.
    access_key, secret_key
        Credentials that may do everything.
    ca_file
        Authority of its certificate, where it speaks TLS.
    """

    endpoint: str
    access_key: str
    secret_key: str
    ca_file: Path | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.endpoint.rpartition(":")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server(S3Address):
    """An S3 server that the tests started themselves.

    Attributes
    ----------
    process
        To stop, start, freeze and thaw it.
    has_admin_api
        Whether users and policies can be made on it as on MinIO.
    """

    process: ServerProcess
    has_admin_api: bool


def given_s3(url: str) -> S3Address:
    """Return the server that the environment names.

    Examples
    --------
    >>> given_s3("http://me:secret@storage:9000").endpoint
    'storage:9000'
    """
    parts = urlsplit(url)
    return S3Address(
        endpoint=f"{parts.hostname}:{parts.port or 80}",
        access_key=unquote(parts.username or ""),
        secret_key=unquote(parts.password or ""),
    )


def answers_ok(url: str, ca_file: Path | None = None) -> bool:
    """Whether a page answers 200: a server listens before what is behind it can be asked."""
    with urllib3.PoolManager(timeout=2.0, retries=False, ca_certs=None if ca_file is None else str(ca_file)) as pool:
        try:
            return pool.request("GET", url).status == HTTPStatus.OK
        except urllib3.exceptions.HTTPError:
            return False
