"""Joins the mosaics of a folder into slices in another folder, from where a run takes them.

The tiles are only read. A slice appears whole, by a rename, and only when all its tiles are there: one that lacks a
tile is no slice, and is told as such. Beside the slices lie a record of each, from which a killed joining goes on, and
a table of every tile. What is written depends on the tiles alone, never on when they came.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import tifffile

from services.imaging.formats.description import GreyPlane
from services.imaging.mosaics.placing import Cell
from services.ingest.mosaics import COLUMNS, Record, joined, layout_from_json, layout_to_json
from services.ingest.names import FINISH_MARKER, TileName, is_unfinished, shown, tile_name
from services.ingest.tiles import (
    Layout,
    MosaicError,
    MosaicLook,
    Tile,
    check_of_layout,
    layout_of,
    look_at,
    read_tile,
    z_of,
)

LAYOUT_FROM = 16
"""So many mosaics, the first by name, say together what an acquisition's are like."""
TABLE = "tiles.csv"
_UNREADABLE = "unreadable"
_RECORDS, _LAYOUT = ".join", "layout.json"
Stamps = dict[str, tuple[int, int]]
Mosaics = dict[str, dict[Cell, list[str]]]


class OtherMosaicsError(ValueError):
    """The folder holds slices that were joined otherwise."""


class JoiningElsewhereError(ValueError):
    """Another process joins into the same folder."""


class NoMosaicError(ValueError):
    """A folder holds no mosaics."""


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """What is joined, and how.

    Attributes
    ----------
    tiles, out
        The folder of tiles, and that of slices.
    channel
        Which detector, where tiles have several.
    overlap_yx
        By how many pixels neighbours overlap; None: as the tiles say.
    pattern
        How tiles are named; None: as Janelia's microscopes do.
    brightness
        `level`: whole grey levels are added to each tile so that overlaps agree; `as-is`: nothing is.
    """

    tiles: Path
    out: Path
    channel: int | None = None
    overlap_yx: tuple[int, int] | None = None
    pattern: re.Pattern[str] | None = None
    brightness: Literal["level", "as-is"] = "level"

    @property
    def as_json(self) -> dict[str, Any]:
        """What must stay the same from start to start."""
        return {
            "channel": self.channel,
            "overlap_yx_px": self.overlap_yx,
            "pattern": self.pattern.pattern if self.pattern else None,
            "brightness": self.brightness,
        }


@dataclass(frozen=True, slots=True)
class JoinLook:
    """What one look found.

    Attributes
    ----------
    states
        Tiles by what became of them: `joined`; `waiting`, not yet; `incomplete`, since another of its mosaic cannot be
        had; `refused`; `changed` since it was joined; and of those that are not there `awaited` and `missing`.
    faults
        (mosaic, reason, detail) of what was not joined.
    mosaics, joined
        How many there are, and how many slices.
    ignored
        Files that are no tiles, by reason.
    is_marked
        Whether the folder of tiles says that the acquisition has ended.
    is_moving
        Whether any tile, or file under a passing name, is new since the look before, or was written to.
    """

    states: Counter[str]
    faults: tuple[tuple[str, str, str], ...]
    mosaics: int
    joined: int
    ignored: Counter[str]
    is_marked: bool
    is_moving: bool


class Joiner:
    """Joins mosaics, look by look.

    Parameters
    ----------
    settings
        What, and how.

    Raises
    ------
    OtherMosaicsError
        If the folder of slices holds some that were joined otherwise.
    """

    def __init__(self, settings: JoinSettings) -> None:
        if settings.out.resolve() == settings.tiles.resolve():
            raise OtherMosaicsError(f"{settings.out} holds the tiles: choose another --out")
        self._settings = settings
        self._records = settings.out / _RECORDS
        self._records.mkdir(parents=True, exist_ok=True)
        self._layout = self._known_layout()
        self._known: dict[str, Record] = {}
        self._stamps: Stamps = {}
        self._tried: dict[str, tuple[Stamps, MosaicError]] = {}
        self._tried_layout: list[str] = []

    def look(self, *, is_final: bool, told: Callable[[int, int], None] = lambda _done, _of: None) -> JoinLook:
        """List the tiles, join what can be joined, and write the table.

        Parameters
        ----------
        is_final
            Whether nothing more will come: every tile is as it will be, and what lacks one stays incomplete. Otherwise
            a tile is read when two looks saw the same size and time.
        told
            Is told how many mosaics were done with, of how many.

        Raises
        ------
        OSError
            If the folders cannot be listed or written.
        ValueError
            If nothing says where tiles lie, or the tiles leave a hole.
        """
        mosaics, unfinished, others, marked = self._listed()
        ignored = Counter(unfinished=len(unfinished), no_tile=others)
        before, self._stamps = self._stamps, self._stamps_of(mosaics, unfinished, is_final=is_final)
        moving = any(before.get(name) != stamp for name, stamp in self._stamps.items())
        rested = {name for name, stamp in self._stamps.items() if is_final or before.get(name) == stamp}
        if self._layout is None and not self._settle(mosaics, rested, is_final=is_final):
            waiting = sum(len(_names(cells)) for cells in mosaics.values())
            return JoinLook(Counter(waiting=waiting), (), len(mosaics), 0, ignored, marked, moving)
        faults: dict[str, MosaicError] = {}
        for number, mosaic in enumerate(mosaics, 1):
            if mosaic not in self._known and (fault := self._join(mosaic, mosaics[mosaic], rested, is_final)):
                faults[mosaic] = fault
            told(number, len(mosaics))
        changed = self._changed() if is_final else {}
        rows = list(self._rows(mosaics, faults, set(changed), is_final=is_final))
        self._write_table(rows)
        if marked and is_final:
            (self._settings.out / FINISH_MARKER).touch()
        told_of = [*faults.items(), *changed.values()]
        return JoinLook(
            Counter(row["state"] for row in rows),
            tuple(sorted((shown(mosaic), fault.reason, str(fault)) for mosaic, fault in told_of)),
            len({*mosaics, *self._known}),
            len(self._known),
            ignored,
            marked,
            moving,
        )

    def _listed(self) -> tuple[Mosaics, list[str], int, bool]:
        """Return the names of tiles by mosaic and cell, those of unfinished files, how many others, and the mark."""
        found: dict[str, dict[Cell, list[str]]] = defaultdict(lambda: defaultdict(list))
        unfinished, others, marked = list[str](), 0, False
        with os.scandir(self._settings.tiles) as entries:
            for entry in entries:
                if entry.name == FINISH_MARKER:
                    marked = True
                elif is_unfinished(entry.name):
                    unfinished.append(entry.name)
                elif (tile := tile_name(entry.name, self._settings.pattern)) is None or not _may_be_file(entry):
                    others += 1
                else:
                    found[_mosaic_of(tile)][tile.row, tile.column].append(entry.name)
        mosaics = {key: {cell: sorted(names) for cell, names in sorted(found[key].items())} for key in sorted(found)}
        return mosaics, unfinished, others, marked

    def _stamps_of(self, mosaics: Mosaics, unfinished: Iterable[str], *, is_final: bool) -> Stamps:
        """Return size and time of unfinished files and of the tiles that are not joined yet; at the end, of all."""
        open_ones = (cells for mosaic, cells in mosaics.items() if is_final or mosaic not in self._known)
        found: Stamps = {}
        for name in chain(unfinished, *map(_names, open_ones)):
            try:
                stat = (self._settings.tiles / name).stat()
            except OSError:
                # It went away, or nobody can say just now what it is: it is not at rest.
                continue
            found[name] = (stat.st_size, stat.st_mtime_ns)
        return found

    # What all have in common

    def _known_layout(self) -> Layout | None:
        path = self._records / _LAYOUT
        if not path.exists():
            return None
        kept = json.loads(path.read_text())
        if kept["settings"] != json.loads(json.dumps(self._settings.as_json)):
            said = json.dumps(kept["settings"])
            raise OtherMosaicsError(
                f"{self._settings.out} holds slices joined otherwise ({said}): choose another --out"
            )
        return layout_from_json(kept)

    def _settle(self, mosaics: Mosaics, rested: set[str], *, is_final: bool) -> bool:
        """Find the layout if enough mosaics are whole; return whether it is known now."""
        whole = self._whole(mosaics, rested)
        if is_final and not whole:
            raise NoMosaicError(f"{self._settings.tiles} holds no whole mosaic: see --tile-pattern")
        if whole == self._tried_layout or (len(whole) < LAYOUT_FROM and not is_final):
            return False
        self._tried_layout = whole
        looks = [look for mosaic in whole if (look := self._looked_at(mosaics[mosaic])) is not None]
        if not looks or (len(looks) < LAYOUT_FROM and not is_final):
            return False
        self._layout = layout_of(looks[:LAYOUT_FROM], self._settings.overlap_yx)
        kept = {"settings": self._settings.as_json, **layout_to_json(self._layout)}
        _put(self._records / _LAYOUT, (json.dumps(kept, indent=1) + "\n").encode())
        return True

    def _whole(self, mosaics: Mosaics, rested: set[str]) -> list[str]:
        """Return the first mosaics that have all cells that most have.

        Raises
        ------
        NoMosaicError
            If most have one.
        """
        cells = Counter(frozenset(mosaic) for mosaic in mosaics.values())
        # Of sets of cells that are equally frequent the larger is that of whole mosaics.
        usual = max(cells, key=lambda found: (cells[found], len(found), sorted(found)), default=frozenset())
        if len(usual) == 1 and len(mosaics) >= LAYOUT_FROM:
            raise NoMosaicError(f"mosaics of {self._settings.tiles} have one tile: `run` takes that folder as it is")
        return [
            mosaic for mosaic, found in mosaics.items()
            if len(usual) > 1 and frozenset(found) == usual and rested.issuperset(_names(found))
            and len(_names(found)) == len(found)
        ][: 2 * LAYOUT_FROM]  # fmt: skip

    def _looked_at(self, cells: Mapping[Cell, list[str]]) -> MosaicLook | None:
        """Return what a mosaic is; None if a tile of it cannot be read."""
        try:
            return look_at(self._read_all(cells))
        except MosaicError:
            return None

    # One mosaic

    def _join(
        self, mosaic: str, cells: Mapping[Cell, list[str]], rested: set[str], is_final: bool
    ) -> MosaicError | None:
        """Join one mosaic, or return what stands against it; None also while its tiles are being written."""
        if (known := self._recorded(mosaic)) is not None:
            self._known[mosaic] = known
            return None
        stamps = {name: self._stamps[name] for name in _names(cells) if name in self._stamps}
        if not rested.issuperset(stamps):
            return None
        tried = self._tried.get(mosaic)
        # What the system could not read then it may read now, without a byte of the tile being changed.
        again = tried is not None and (tried[1].reason == _UNREADABLE or (is_final and tried[1].may_grow))
        if tried is not None and tried[0] == stamps and not again:
            return tried[1]
        try:
            self._known[mosaic] = self._joined(mosaic, cells)
        except MosaicError as fault:
            self._tried[mosaic] = (stamps, fault)
            return fault
        return None

    def _recorded(self, mosaic: str) -> Record | None:
        """Return what is kept of a mosaic whose slice is there."""
        path = self._records / f"{mosaic}.json"
        if not path.exists():
            return None
        record: Record = json.loads(path.read_text())
        return record if (self._settings.out / record["slice"]).exists() else None

    def _joined(self, mosaic: str, cells: Mapping[Cell, list[str]]) -> Record:
        """Join one mosaic and put its record and its slice in place."""
        layout = self._layout
        assert layout is not None
        tiles = self._tiles_of(cells, layout)
        named = tile_name(_names(cells)[0], self._settings.pattern)
        assert named is not None
        z = z_of(tiles, named.z)
        made = joined(tiles, layout, level=self._settings.brightness == "level")
        record = {"mosaic": shown(mosaic), "z": z, "slice": f"{shown(named.mosaic)}_z{z:06d}.tif", **made.record}
        # The slice comes last: without it the record says nothing.
        _put(self._records / f"{mosaic}.json", (json.dumps(record, indent=1) + "\n").encode())
        _put(self._settings.out / record["slice"], _tiff(made.plane, layout.pixel_yx_nm))
        return record

    def _tiles_of(self, cells: Mapping[Cell, list[str]], layout: Layout) -> dict[Cell, Tile]:
        """Read the tiles of a mosaic that is one of the acquisition's, and whole."""
        expected = layout.grid.places_yx
        for cell, names in cells.items():
            if len(names) > 1:
                raise MosaicError("tile_twice", f"{' and '.join(map(shown, names))} are the same tile", names[-1])
            if cell not in expected:
                raise MosaicError("other_grid", f"the acquisition has no tile {cell}", names[0])
        if missing := sorted(set(expected) - set(cells)):
            raise MosaicError("missing_tile", f"tile {missing[0]} is not there", may_grow=True)
        tiles = self._read_all(cells)
        check_of_layout(tiles, layout)
        return tiles

    def _read_all(self, cells: Mapping[Cell, list[str]]) -> dict[Cell, Tile]:
        return {cell: self._read(names[0]) for cell, names in cells.items()}

    def _read(self, name: str) -> Tile:
        try:
            return read_tile(self._settings.tiles / name, self._settings.channel)
        except FileNotFoundError as error:
            raise MosaicError("gone", f"{shown(name)} went away", name, may_grow=True) from error
        except OSError as error:
            # A disk or a share may be troubled at one file only. If it is gone altogether, the next look says so.
            with os.scandir(self._settings.tiles):
                pass
            raise MosaicError(_UNREADABLE, f"{shown(name)}: {error.strerror}", name, may_grow=True) from error

    # What became of every tile

    def _changed(self) -> dict[str, tuple[str, MosaicError]]:
        """Return the tiles that hold other bytes than those that were joined, with their mosaic."""
        found: dict[str, tuple[str, MosaicError]] = {}
        by_name = {shown(name): name for name in self._stamps}
        for mosaic, record in self._known.items():
            for tile in record["tiles"]:
                name = by_name.get(tile["file"])
                if name is None or self._stamps[name] == (tile["size_bytes"], tile["mtime_ns"]):
                    continue
                with (self._settings.tiles / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != tile["sha256"]:
                        detail = f"{tile['file']} was replaced: remove {record['slice']} to join its slice anew"
                        found[tile["file"]] = mosaic, MosaicError("changed", detail)
        return found

    def _rows(
        self, mosaics: Mosaics, faults: Mapping[str, MosaicError], changed: set[str], *, is_final: bool
    ) -> Iterator[Record]:
        """Yield a row for every tile, there or not, in order of names."""
        for mosaic in sorted({*mosaics, *self._known}):
            record = self._known.get(mosaic)
            if record is None:
                yield from self._unjoined(mosaic, mosaics[mosaic], faults.get(mosaic), is_final=is_final)
                continue
            whole = {key: record[key] for key in ("mosaic", "z", "slice", "uncovered_px")}
            for tile in record["tiles"]:
                state = "changed" if tile["file"] in changed else "joined"
                yield {**whole, **tile, "state": state, "reason": "changed" if state == "changed" else ""}

    def _unjoined(
        self, mosaic: str, cells: Mapping[Cell, list[str]], fault: MosaicError | None, *, is_final: bool
    ) -> Iterator[Record]:
        assert self._layout is not None
        waits = not is_final and (fault is None or fault.may_grow)
        reason = fault.reason if fault else ""
        # What no single tile is to blame for is the fault of all, but that one is not there.
        of_all = fault is not None and fault.name is None and reason != "missing_tile"
        for cell in sorted({*cells, *self._layout.grid.places_yx}):
            row = {"mosaic": shown(mosaic), "row": cell[0], "column": cell[1], "reason": reason}
            if cell not in cells:
                yield row | {"file": "", "state": "awaited" if waits else "missing"}
            for name in cells.get(cell, ()):
                refused = of_all or (fault is not None and fault.name == name)
                state = "waiting" if waits else "refused" if refused else "incomplete"
                yield row | {"file": shown(name), "state": state}

    def _write_table(self, rows: Iterable[Record]) -> None:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        payload, path = text.getvalue().encode(), self._settings.out / TABLE
        if not path.exists() or path.read_bytes() != payload:
            _put(path, payload)


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Hold a folder of slices, so that no other process joins into it meanwhile.

    Raises
    ------
    JoiningElsewhereError
        If another one does.
    """
    (out / _RECORDS).mkdir(parents=True, exist_ok=True)
    with (out / _RECORDS / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JoiningElsewhereError(f"another process joins into {out}: wait for it, or stop it") from None
        yield


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or nobody can say just now: it is told of when it is read."""
    try:
        return entry.is_file()
    except OSError:
        return True


def _names(cells: Mapping[Cell, list[str]]) -> list[str]:
    return [name for names in cells.values() for name in names]


def _mosaic_of(tile: TileName) -> str:
    return tile.mosaic if tile.z is None else f"{tile.mosaic}_z{tile.z:06d}"


def _tiff(whole: GreyPlane, pixel_yx_nm: tuple[float, float] | None) -> bytes:
    """Return a slice as a lossless TIFF that says its pixel size; the same bytes for the same slice."""
    resolution: dict[str, Any] = {}
    if pixel_yx_nm is not None:
        y_nm, x_nm = pixel_yx_nm
        resolution = {"resolution": (1e7 / x_nm, 1e7 / y_nm), "resolutionunit": "CENTIMETER"}
    file = io.BytesIO()
    tifffile.imwrite(file, whole, photometric="minisblack", compression="zstd", metadata=None, **resolution)
    return file.getvalue()


def _put(path: Path, payload: bytes) -> None:
    """Put a file in place whole, on the disk before it has its name."""
    # Under this name ingest leaves it alone, and so does a second start.
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
