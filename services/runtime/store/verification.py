"""A stream that proves, by its end, that it carried the bytes a reference promises."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

from services.contracts.values import ArtefactRef
from services.runtime.store.port import ArtefactCorruptError


def require_equal(ref: ArtefactRef, sha256: str, size_bytes: int) -> None:
    """Refuse bytes that are not those of the reference.

    Raises
    ------
    ArtefactCorruptError
        If size or hash differ.
    """
    if size_bytes != ref.size_bytes:
        raise ArtefactCorruptError(f"{ref.key} has {size_bytes} bytes, its reference says {ref.size_bytes}")
    if sha256 != ref.sha256:
        raise ArtefactCorruptError(f"{ref.key} has SHA-256 {sha256}, its reference says {ref.sha256}")


class VerifyingStream(io.RawIOBase):
    """Passes bytes on and hashes them; wrap it in `io.BufferedReader`.

    The check comes before the last bytes are given out, so a reader that stops at the promised size has
    been told too. A reader that stops earlier learns nothing.

    Parameters
    ----------
    read
        Returns up to that many next bytes, none at the end.
    ref
        What they should be.

    Raises
    ------
    ArtefactCorruptError
        While reading, if the stream is shorter, longer or other than promised.
    """

    def __init__(self, read: Callable[[int], bytes], ref: ArtefactRef) -> None:
        super().__init__()
        self._read = read
        self._ref = ref
        self._hash = hashlib.sha256()
        self._count = 0
        self._verified = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the stub asks for any buffer
        """Read the next bytes into `buffer`."""
        if self._verified:
            return 0
        chunk = self._read(len(buffer))
        self._hash.update(chunk)
        self._count += len(chunk)
        if not chunk or self._count >= self._ref.size_bytes:
            self._verify()
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def _verify(self) -> None:
        surplus = len(self._read(1))
        require_equal(self._ref, self._hash.hexdigest(), self._count + surplus)
        self._verified = True
