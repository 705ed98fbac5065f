"""Hashes of what results say, whatever bytes say it: decoded voxels, rows, parsed JSON.

Two volumes with other chunks or compression, or two tables with other row groups, have one hash when
they hold the same.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zarr
from zarr.errors import BaseZarrError

# Part of the definition of an array's hash; the shape of the chunks that `imaging.omezarr` writes by
# default, so that each of them is decoded once.
TILE_ZYX = (32, 256, 256)


class ContentError(ValueError):
    """A result cannot be read."""


def array_hash(array: zarr.Array[Any]) -> str:
    """Return the SHA-256 of an array's shape, dtype and voxels.

    Hashed are a header line, then the index and the little-endian voxels, in C order, of every tile of
    32 x 256 x 256 voxels that is not all zero, in raster order. Memory holds one tile.

    Parameters
    ----------
    array
        (z, y, x), of integers.

    Raises
    ------
    ContentError
        If a chunk is damaged.
    """
    digest = hashlib.sha256(_line({"shape": list(array.shape), "dtype": str(array.dtype)}))
    starts = itertools.product(*(range(0, size, edge) for size, edge in zip(array.shape, TILE_ZYX, strict=True)))
    for start in starts:
        window = tuple(slice(first, first + edge) for first, edge in zip(start, TILE_ZYX, strict=True))
        try:
            tile = np.asarray(array[window])
        except (RuntimeError, ValueError, OSError) as error:
            raise ContentError(f"{array.path} is damaged at z, y, x = {start}: {error}") from error
        if tile.any():
            digest.update(_line(start))
            digest.update(np.ascontiguousarray(tile.astype(tile.dtype.newbyteorder("<"), copy=False)).data)
    return digest.hexdigest()


def volume_hashes(volume: Path) -> Iterator[tuple[str, str]]:
    """Yield the path below a volume and the hash of each of its arrays, and first of its attributes.

    The attributes, under the empty path, are those of all groups: place, scale, names, colours.

    Raises
    ------
    ContentError
        If the volume cannot be read.
    """
    try:
        root = zarr.open_group(volume, mode="r")
        members = sorted(root.members(max_depth=None), key=lambda member: member[0])
    except (BaseZarrError, ValueError, OSError) as error:
        raise ContentError(f"{volume.name} is no volume: {error}") from error
    groups = [("", root), *((path, node) for path, node in members if isinstance(node, zarr.Group))]
    yield "", _hash_lines(_line([path, group.attrs.asdict()]) for path, group in groups)
    for path, node in members:
        if isinstance(node, zarr.Array):
            yield path, array_hash(node)


def file_hash(path: Path) -> str:
    """Return the hash of the rows of a `.parquet`, `.csv` or `.jsonl` file, or of a `.json` document.

    Raises
    ------
    ContentError
        If the file cannot be read as what its name says.
    """
    reader = {".parquet": _parquet_lines, ".csv": _csv_lines, ".jsonl": _jsonl_lines, ".json": _json_lines}
    try:
        return _hash_lines(reader[path.suffix](path))
    except (ValueError, OSError, csv.Error) as error:
        raise ContentError(f"{path.name} cannot be read: {error}") from error


def _parquet_lines(path: Path) -> Iterator[bytes]:
    with pq.ParquetFile(path) as table:
        yield _line([[column.name, str(column.type)] for column in table.schema_arrow])
        for batch in table.iter_batches():
            yield from map(_line, batch.to_pylist())


def _csv_lines(path: Path) -> Iterator[bytes]:
    with path.open(newline="", encoding="utf-8") as stream:
        yield from map(_line, csv.reader(stream))


def _jsonl_lines(path: Path) -> Iterator[bytes]:
    with path.open(encoding="utf-8") as stream:
        for text in stream:
            yield _line(json.loads(text))


def _json_lines(path: Path) -> Iterator[bytes]:
    yield _line(json.loads(path.read_text(encoding="utf-8")))


def _line(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _hash_lines(lines: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    return digest.hexdigest()
