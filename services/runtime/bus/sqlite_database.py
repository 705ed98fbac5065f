"""Connections to the SQLite log: its schema, its transactions, and which of its errors are outages."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.runtime.errors import TransientError

MEMORY = ":memory:"
FORMAT = 1
SCHEMA = """
CREATE TABLE topics (
    topic_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL
);
CREATE TABLE ends (
    topic_id INTEGER NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic_id, partition)
) WITHOUT ROWID;
CREATE TABLE records (
    topic_id INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    key TEXT NOT NULL, message_type TEXT NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (topic_id, partition, offset)
) WITHOUT ROWID;
CREATE TABLE groups (
    name TEXT PRIMARY KEY, epoch TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE members (
    group_name TEXT NOT NULL, member TEXT NOT NULL, session TEXT NOT NULL, topics TEXT NOT NULL, beat_s REAL NOT NULL,
    PRIMARY KEY (group_name, member)
) WITHOUT ROWID;
CREATE TABLE owners (
    group_name TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    member TEXT NOT NULL, session TEXT NOT NULL,
    PRIMARY KEY (group_name, topic, partition)
) WITHOUT ROWID;
CREATE TABLE commits (
    group_name TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (group_name, topic, partition)
) WITHOUT ROWID;
"""
# Out of reach or full for now; everything else (a damaged file, a wrong statement) is not cured by waiting.
OUTAGES = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
})  # fmt: skip

Row = tuple[Any, ...]


class BusFormatError(RuntimeError):
    """The file was written by another version of this adapter, or is no bus at all."""


@contextmanager
def outages_reported() -> Iterator[None]:
    """Turn the errors of SQLite that may pass into `TransientError`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        # The low byte is the primary code; the rest says which system call failed.
        if error.sqlite_errorcode & 0xFF not in OUTAGES:
            raise
        raise TransientError("bus", f"{error} ({error.sqlite_errorname})") from error


class Connection:
    """One SQLite connection; a transaction excludes every other user of the bus in this process.

    Parameters
    ----------
    raw
        The connection, in autocommit mode.
    writing
        Taken by whoever writes: waiting for it is fair and fast, unlike SQLite's own retries.
    """

    def __init__(self, raw: sqlite3.Connection, writing: threading.RLock) -> None:
        self._raw = raw
        self._writing = writing
        self._using = threading.RLock()

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of one reading statement."""
        with self._using, outages_reported():
            return self._raw.execute(statement, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write durably: all of the block, or nothing.

        Raises
        ------
        TransientError
            If the file is locked for longer than the time-out, full or out of reach.
        """
        with self._writing, self._using, outages_reported():
            self._raw.execute("BEGIN IMMEDIATE")
            try:
                yield self._raw
                self._raw.execute("COMMIT")
            except BaseException:
                if self._raw.in_transaction:
                    self._raw.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close it; closing twice does nothing."""
        with self._using:
            self._raw.close()


class Database:
    """A bus file, or a bus in memory that lives as long as this object.

    Parameters
    ----------
    path
        The file, created with its folder if it is not there, or ":memory:".
    busy_timeout_s
        How long to wait for another process that writes.
    """

    def __init__(self, path: Path | str, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._writing = threading.RLock()
        self._connections: list[Connection] = []
        if path != MEMORY:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with outages_reported():
            self._first = self._open()
            self._prepare(self._first)

    def connect(self) -> Connection:
        """Return a connection of its own, so that reading goes on while others write; in memory, the only one."""
        if self._path == MEMORY:
            return self._first
        with outages_reported():
            return self._open()

    def release(self, connection: Connection) -> None:
        """Close a connection that `connect` returned."""
        if connection is not self._first:
            connection.close()
            self._connections.remove(connection)

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()

    def _open(self) -> Connection:
        raw = sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False)
        raw.execute("PRAGMA journal_mode = WAL")
        # FULL syncs the log at every commit: an acknowledged record survives a power cut.
        raw.execute("PRAGMA synchronous = FULL")
        connection = Connection(raw, self._writing)
        self._connections.append(connection)
        return connection

    def _prepare(self, connection: Connection) -> None:
        found = connection.rows("PRAGMA user_version")[0][0]
        if found == 0:
            found = self._create(connection)
        if found != FORMAT:
            raise BusFormatError(f"{self._path} has format {found}, this version reads {FORMAT}")

    def _create(self, connection: Connection) -> object:
        with connection.transaction() as writing:
            # Another process may have created it between our look and our lock.
            found: object = writing.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                for statement in SCHEMA.split(";"):
                    writing.execute(statement)
                found = FORMAT
                writing.execute(f"PRAGMA user_version = {FORMAT}")
            return found
