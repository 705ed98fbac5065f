"""Requests to an S3 server through the minio client: own pool and time-outs, few tries, every one measured."""

from __future__ import annotations

import base64
import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import urllib3
from minio import Minio
from minio import time as signing_time
from minio.credentials.providers import StaticProvider
from minio.error import InvalidResponseError, S3Error
from minio.helpers import BaseURL
from minio.signer import sign_v4_s3

from services.runtime.errors import TransientError
from services.runtime.metrics.port import Metrics
from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError
from services.runtime.store.s3_faults import WIRE_FAULTS, StoreSetupError, fault_of, is_worth_another_try
from services.runtime.store.s3_settings import S3Settings

CHUNK_BYTES = 1 << 20
FIRST_PAUSE_S = 0.1
HASH_HEADER = "x-amz-meta-sha256"
LARGEST_PUT_BYTES = 5 << 30

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """What a server says of an object without its bytes; no hash where somebody else put it."""

    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class _Coming:
    """An object on its way: how large the server says that it is, and what returns up to so many next bytes."""

    size_bytes: int
    read: Callable[[int], bytes]


class _Hashed(io.RawIOBase):
    """Hashes bytes while they are in the processor's cache and the next are on their way."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        super().__init__()
        self.digest = hashlib.sha256()
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the stub asks for any buffer
        piece = self._read(min(len(buffer), CHUNK_BYTES))
        self.digest.update(piece)
        buffer[: len(piece)] = piece
        return len(piece)


def pool_of(settings: S3Settings) -> urllib3.PoolManager:
    """Return the connections to a server.

    Raises
    ------
    StoreSetupError
        If the file of authorities is not there.
    """
    if settings.ca_file is not None and not settings.ca_file.is_file():
        raise StoreSetupError(f"ca_file {settings.ca_file} is not a file")
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s),
        maxsize=settings.connections,
        # Tries are counted here, where the time they took is known.
        retries=False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=None if settings.ca_file is None else str(settings.ca_file),
    )


class S3Wire:
    """Asks one bucket of one server.

    Parameters
    ----------
    settings
        Where it is.
    metrics
        Takes the time of each request and the bytes.
    """

    def __init__(self, settings: S3Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._pool = pool_of(settings)
        self._credentials = StaticProvider(settings.access_key, settings.secret_key.get_secret_value())
        self._urls = BaseURL(settings.endpoint, settings.region)
        self._client = Minio(
            settings.address,
            credentials=self._credentials,
            secure=settings.is_secure,
            region=settings.region,
            http_client=self._pool,
        )
        self._bucket_is_there = False

    def head(self, name: str) -> Head | None:
        """Return what is known of an object, or None if there is none."""

        def ask() -> Head:
            found = self._client.stat_object(self._settings.bucket, name)
            return Head(found.size or 0, found.metadata.get(HASH_HEADER) if found.metadata else None)

        try:
            return self._asked("head", name, ask)
        except ArtefactMissingError:
            # A HEAD has no body: that nothing has this name and that there is no bucket look the same.
            self._require_bucket()
            return None

    def fetch(self, name: str, size_bytes: int) -> tuple[bytes, str]:
        """Return an object's bytes, never more than one beyond its promised size, and their SHA-256.

        Raises
        ------
        ArtefactMissingError
            If there is none.
        TransientError
            If it cannot be had now.
        """

        def ask() -> tuple[bytes, str]:
            with self._receiving(name, size_bytes) as answer:
                hashed = _Hashed(answer.read)
                # The reader asks for room once, and has every piece laid where it belongs.
                payload = io.BufferedReader(hashed).read(min(size_bytes, answer.size_bytes) + 1)
            return payload, hashed.digest.hexdigest()

        return self._asked("get", name, ask)

    @contextmanager
    def reading(self, name: str, size_bytes: int | None = None) -> Iterator[Callable[[int], bytes]]:
        """Yield a function that returns up to so many next bytes of an object, none at its end.

        Parameters
        ----------
        name
            The object.
        size_bytes
            How large it should be, from which follows how long it may take.

        Raises
        ------
        ArtefactMissingError
            If there is none.
        TransientError
            While reading, if the connection breaks, or is too slow.
        """
        with ExitStack() as held:
            answer = self._asked("open", name, lambda: held.enter_context(self._receiving(name, size_bytes)))

            def read(wanted_bytes: int) -> bytes:
                with self._translated("read", name):
                    return answer.read(wanted_bytes)

            yield read

    def put(self, name: str, size_bytes: int, digest: str, pieces: Callable[[], Iterable[bytes | memoryview]]) -> None:
        """Store an object in one request, streamed and signed with its hash.

        The client's own `put_object` reads a part into memory, hashes it once more, and splits what is larger
        than a part; here the server refuses bytes that are not those, and what is broken off half-way was
        never there.

        Parameters
        ----------
        name
            Of the object.
        size_bytes, digest
            What the bytes will be.
        pieces
            Gives them, anew for each try.

        Raises
        ------
        StoreSetupError
            If it is larger than one request may be.
        TransientError
            If it cannot be stored now.
        """
        if size_bytes > LARGEST_PUT_BYTES:
            raise StoreSetupError(f"{name} has {size_bytes} bytes: S3 takes at most {LARGEST_PUT_BYTES} in one request")
        self._asked("put", name, lambda: self._send(name, size_bytes, digest, pieces()))
        self._metrics.increment("fibsem_s3_bytes_total", size_bytes, direction="out")

    def level(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of the objects and of the folders right below a folder; the empty one is the bucket."""

        def ask() -> tuple[list[str], list[str]]:
            found = list(self._client.list_objects(self._settings.bucket, prefix=folder or None))
            names = [(str(entry.object_name), bool(entry.is_dir)) for entry in found]
            return [n for n, is_folder in names if not is_folder], [n for n, is_folder in names if is_folder]

        return self._asked("list", folder or self._settings.bucket, ask)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    @contextmanager
    def _receiving(self, name: str, size_bytes: int | None) -> Iterator[_Coming]:
        response = self._client.get_object(self._settings.bucket, name)
        announced_bytes = int(response.headers.get("content-length", size_bytes or 0))
        allowed_s = self._settings.transfer_s(announced_bytes if size_bytes is None else size_bytes)
        deadline_s = time.monotonic() + allowed_s

        def read(wanted_bytes: int) -> bytes:
            self._require_time(deadline_s, allowed_s, f"get {name}")
            # Whatever has come: waiting for a full buffer would hide a trickle from the deadline.
            piece: bytes = response.read1(wanted_bytes)
            self._metrics.increment("fibsem_s3_bytes_total", len(piece), direction="in")
            return piece

        try:
            yield _Coming(announced_bytes, read)
        finally:
            # Closed where it was not read to its end; else the connection is in the pool again already.
            response.close()
            response.release_conn()

    def _require_bucket(self) -> None:
        if self._bucket_is_there:
            return
        bucket = self._settings.bucket
        self._bucket_is_there = self._asked("head", bucket, lambda: bool(self._client.bucket_exists(bucket)))
        if not self._bucket_is_there:
            raise StoreSetupError(f"{self._settings.endpoint} has no bucket {bucket}: run the set-up job")

    def _send(self, name: str, size_bytes: int, digest: str, pieces: Iterable[bytes | memoryview]) -> None:
        url = self._urls.build(
            method="PUT", region=self._settings.region, bucket_name=self._settings.bucket, object_name=name
        )
        now = signing_time.utcnow()
        headers: dict[str, str | list[str] | tuple[str]] = {
            "Host": url.netloc,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size_bytes),
            "x-amz-content-sha256": digest,
            # The same hash once more: some servers check the signed one against the bytes, others only this one.
            "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(digest)).decode(),
            "x-amz-date": signing_time.to_amz_date(now),
            HASH_HEADER: digest,
        }
        signed = sign_v4_s3(
            method="PUT",
            url=url,
            region=self._settings.region,
            headers=headers,
            credentials=self._credentials.retrieve(),
            content_sha256=digest,
            date=now,
        )
        response = self._pool.urlopen(
            "PUT", url.geturl(), body=self._in_time(name, size_bytes, pieces), headers=signed, redirect=False
        )
        if response.status != HTTPStatus.OK:
            raise _refusal(response)

    def _in_time(
        self, name: str, size_bytes: int, pieces: Iterable[bytes | memoryview]
    ) -> Iterator[bytes | memoryview]:
        allowed_s = self._settings.transfer_s(size_bytes)
        deadline_s = time.monotonic() + allowed_s
        for piece in pieces:
            self._require_time(deadline_s, allowed_s, f"put {name}")
            yield piece

    def _require_time(self, deadline_s: float, allowed_s: float, tried: str) -> None:
        if time.monotonic() > deadline_s:
            raise TransientError("store", f"{tried} at {self._settings.endpoint} took longer than {allowed_s:.0f} s")

    def _asked(self, op: str, name: str, ask: Callable[[], T]) -> T:
        """Ask, and ask again where the server failed at once."""
        pause_s = FIRST_PAUSE_S
        for attempt in range(self._settings.attempts):
            try:
                with self._measured(op), self._translated(op, name):
                    return ask()
            except TransientError as fault:
                is_last = attempt == self._settings.attempts - 1
                if is_last or not isinstance(fault.__cause__, Exception) or not is_worth_another_try(fault.__cause__):
                    raise
            time.sleep(pause_s)  # noqa: TID251 (a pause of a real server; nothing is decided by it)
            pause_s *= 2
        raise AssertionError("settings promise at least one attempt")

    @contextmanager
    def _translated(self, op: str, name: str) -> Iterator[None]:
        try:
            yield
        except WIRE_FAULTS as error:
            raise fault_of(error, f"{op} {name} at {self._settings.endpoint}") from error

    @contextmanager
    def _measured(self, op: str) -> Iterator[None]:
        began_s = time.monotonic()
        outcome = "error"
        try:
            yield
            outcome = "ok"
        except ArtefactMissingError:
            outcome = "missing"
            raise
        except TransientError:
            outcome = "outage"
            raise
        except ArtefactCorruptError:
            outcome = "corrupt"
            raise
        except StoreSetupError:
            outcome = "refused"
            raise
        finally:
            self._metrics.observe(
                "fibsem_s3_request_duration_seconds", time.monotonic() - began_s, op=op, outcome=outcome
            )


def _refusal(response: urllib3.BaseHTTPResponse) -> Exception:
    """Return what the client would raise for an answer that is no success."""
    content_type = response.headers.get("content-type", "")
    if "xml" in content_type and response.data:
        refusal: Exception = S3Error.fromxml(response)
        return refusal
    return InvalidResponseError(response.status, content_type, response.data.decode(errors="replace"))
