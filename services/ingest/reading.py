"""Reads one file as far as needed to know what it is: whole and readable, or why not.

A file that fits into memory is read once; its hash, its structure and its pixels are those of the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from services.contracts.keys import sha256 as sha256_of
from services.imaging.formats.description import GreyPlane, SliceFile
from services.imaging.formats.faults import FormatError
from services.imaging.formats.metadata import SliceMetadata, check_voxel_size, read_metadata
from services.imaging.formats.opening import open_slice
from services.imaging.grey import histogram, is_blank
from services.imaging.tiff_layout import TiffLimits
from services.ingest.attempts import ReadingAttempts
from services.ingest.events import Fault, PageSeen
from services.ingest.folders import FileStamp, SliceFolders, digest_of
from services.ingest.histograms import pack
from services.ingest.names import shown, tile_of, told_out_of_range
from services.ingest.sightings import Listed


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """How files are read.

    Attributes
    ----------
    limits
        What is too large.
    channel
        Channel of pages whose channels differ; None: such pages are refused.
    stack_z_zero
        z of page 0 of a file of many pages whose name says no z.
    z_first, z_last
        Pages outside are left alone.
    largest_z
        Beyond this the number in a name cannot be a z.
    blank_spread_levels, blank_outlier_share
        When a page counts as blank.
    in_memory_bytes
        Files up to this size are read at once.
    pages_per_turn
        Pages of a stack that are read before others get their turn.
    attempts
        After so many tries that killed the process a file is refused.
    max_file_bytes
        Larger files are refused by their size alone.
    voxel_yx_nm
        Edges of a voxel that the metadata of files are compared with; None: they are not compared.
    data_bar_px
        Rows at the bottom that are no image; None: as many as the metadata of a file say.
    """

    limits: TiffLimits = field(default_factory=TiffLimits)
    channel: int | None = None
    stack_z_zero: int = 0
    z_first: int = 0
    z_last: int | None = None
    largest_z: int = 99_999
    blank_spread_levels: int = 2
    blank_outlier_share: float = 0.002
    in_memory_bytes: int = 2**28
    pages_per_turn: int = 8
    attempts: int = 3
    max_file_bytes: int = 2**40
    voxel_yx_nm: tuple[float, float] | None = None
    data_bar_px: int | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """The file is complete; page p, from `first_page` on, is at z_zero + p."""

    sha256: str
    z_zero: int
    first_page: int
    pages: tuple[PageSeen, ...]
    channel: int | None
    telemetry: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unusable:
    """The file cannot be used, or not yet if `may_grow`."""

    fault: Fault
    may_grow: bool
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Outside:
    """No page of the file is within the range of z that is wanted."""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The file changed or went away while it was read, or is a stack that may still be growing."""

    is_stack: bool = False


Outcome = Whole | Unusable | Outside | Unsettled


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open file and what it says about itself."""

    reader: SliceFile
    metadata: SliceMetadata


@dataclass(frozen=True, slots=True)
class Reading:
    """One file to be read.

    Attributes
    ----------
    listed
        The version of the file that is meant.
    is_final
        Whether nothing more will be written to it.
    stacks_wait
        Whether a file of many pages is to be left for later, since pages may still be added to it.
    next_ones
        Files that are going to be read after it.
    """

    listed: Listed
    is_final: bool
    stacks_wait: bool
    next_ones: tuple[Listed, ...] = ()


class FileReader:
    """Reads files, page by page.

    Parameters
    ----------
    folders
        Where the files are.
    rules
        How they are read.
    attempts
        Counts the tries of each file, durably, before its pixels are touched.
    wants_histogram
        Says for which z a histogram is wanted.
    """

    def __init__(
        self,
        folders: SliceFolders,
        rules: ReadingRules,
        attempts: ReadingAttempts,
        wants_histogram: Callable[[int], bool],
    ) -> None:
        self._folders = folders
        self._rules = rules
        self._attempts = attempts
        self._wants_histogram = wants_histogram

    def read(self, reading: Reading) -> Generator[None, None, Outcome]:
        """Read a file; pauses after every few pages, returns what was found.

        Raises
        ------
        OSError
            If the system cannot read the file.
        TransientError
            If the attempt cannot be recorded now.
        """
        listed = reading.listed
        if listed.size_bytes > self._rules.max_file_bytes:
            detail = f"the file has {listed.size_bytes} bytes, more than {self._rules.max_file_bytes}"
            return Unusable(Fault(reason="too_large", detail=detail), may_grow=False)
        try:
            file = self._folders.open(listed.key)
        except FileNotFoundError:
            return Unsettled()
        except PermissionError as error:
            return Unusable(Fault(reason="unreadable", detail=f"permission denied: {error.strerror}"), may_grow=True)
        with file:
            if self._is_before_first(file, listed.z):
                return Outside()
            content, digest = self._load(file, listed)
            if content is None:
                return Unsettled()
            outcome = yield from self._examine(content, digest, reading)
        return outcome if self._is_unchanged(listed) else Unsettled()

    def _is_unchanged(self, listed: Listed) -> bool:
        return self._folders.stamp(listed.key) == FileStamp(listed.size_bytes, listed.mtime_ns)

    def _is_before_first(self, file: BinaryIO, z: int | None) -> bool:
        if z is None or z >= self._rules.z_first:
            return False
        try:
            return z + len(open_slice(file, self._rules.limits).description.pages) <= self._rules.z_first
        except FormatError:
            # Whatever is wrong with it, it is not ours.
            return True

    def _load(self, file: BinaryIO, listed: Listed) -> tuple[BinaryIO | None, str]:
        """Return the file's content and hash; None if it has another size than it was listed with."""
        file.seek(0)
        if listed.size_bytes > self._rules.in_memory_bytes:
            return file, digest_of(file, listed.size_bytes)
        payload = file.read(listed.size_bytes + 1)
        if len(payload) != listed.size_bytes:
            return None, ""
        return BytesIO(payload), sha256_of(payload)

    def _examine(self, content: BinaryIO, digest: str, reading: Reading) -> Generator[None, None, Outcome]:
        rules, listed = self._rules, reading.listed
        try:
            reader = open_slice(content, rules.limits)
            metadata = read_metadata(reader)
            if rules.voxel_yx_nm is not None:
                check_voxel_size(metadata, *rules.voxel_yx_nm)
        except FormatError as error:
            return _unusable(error)
        count = len(reader.description.pages)
        z_zero = self._placed(listed, count, metadata.z_index)
        if isinstance(z_zero, Unusable):
            return z_zero
        if count > 1 and reading.stacks_wait:
            return Unsettled(is_stack=True)
        z_end = z_zero + count if rules.z_last is None else min(z_zero + count, rules.z_last + 1)
        wanted = range(max(0, rules.z_first - z_zero), z_end - z_zero)
        if not wanted:
            return Outside()
        found = yield from self._read_pages(_Opened(reader, metadata), z_zero, wanted, reading)
        if isinstance(found, Unusable):
            return found
        pages = tuple(seen for seen, _ in found)
        whole = Whole(digest, z_zero, wanted.start, pages, self._channel(reader), metadata.telemetry)
        return _judged(whole, found, is_final=reading.is_final)

    def _placed(self, listed: Listed, count: int, counted_z: int | None) -> int | Unusable:
        """Return the z of page 0: that of the name, else that which the instrument counted."""
        tile = tile_of(listed.key.name)
        if tile not in {None, (0, 0)}:
            detail = f"{shown(listed.key.name)} is tile {tile} of a mosaic"
            detail = f"{detail}: `fibsem-nuclei join TILES --out SLICES`, then run on the slices"
            return Unusable(Fault(reason="mosaic_tile", detail=detail), may_grow=False)
        z_zero = listed.z
        if z_zero is None and listed.impossible_z is None:
            z_zero = self._rules.stack_z_zero if count > 1 else counted_z
        z_last = listed.impossible_z if z_zero is None else z_zero + count - 1
        if z_last is not None and not 0 <= z_last <= self._rules.largest_z:
            detail = told_out_of_range(z_last, self._rules.largest_z)
            return Unusable(Fault(reason="z_out_of_range", detail=detail), may_grow=False)
        if z_zero is None:
            detail = "no z is in the name: say with --file-pattern where it stands"
            return Unusable(Fault(reason="name_without_z", detail=detail), may_grow=False)
        return z_zero

    def _channel(self, reader: SliceFile) -> int | None:
        """Return the channel that was named, where there is a choice."""
        return self._rules.channel if any(page.choices > 1 for page in reader.description.pages) else None

    def _read_pages(
        self, opened: _Opened, z_zero: int, wanted: range, reading: Reading
    ) -> Generator[None, None, list[tuple[PageSeen, bool]] | Unusable]:
        found: list[tuple[PageSeen, bool]] = []
        for start in range(wanted.start, wanted.stop, self._rules.pages_per_turn):
            attempt = _attempt_name(reading.listed, start)
            count = self._attempts.begin(attempt, (_attempt_name(other, 0) for other in reading.next_ones))
            if count > self._rules.attempts:
                self._attempts.settle(attempt)
                detail = f"the process died {count - 1} times while it read page {start} or one of the next"
                return Unusable(Fault(reason="crashed_reader", detail=detail), may_grow=False, attempts=count - 1)
            try:
                pages = range(start, min(start + self._rules.pages_per_turn, wanted.stop))
                found.extend(self._see(opened, page, z_zero + page) for page in pages)
            except OSError:
                self._attempts.undo(attempt)
                raise
            self._attempts.settle(attempt)
            if start + self._rules.pages_per_turn < wanted.stop:
                self._attempts.rest()
                yield
        return found

    def _see(self, opened: _Opened, page: int, z: int) -> tuple[PageSeen, bool]:
        """Return what a page is, and whether its fault may pass when the file grows."""
        described = opened.reader.description.pages[page]
        bar_px = opened.metadata.data_bar_px if self._rules.data_bar_px is None else self._rules.data_bar_px
        seen = PageSeen.model_validate(
            {
                "height_px": max(1, described.height_px - bar_px),
                "width_px": described.width_px,
                "bits": described.bits,
                "machine": shown(opened.metadata.machine)[:200] or None,
            }
        )
        try:
            plane: GreyPlane = opened.reader.read(page, self._rules.channel)[: seen.height_px]
        except FormatError as error:
            return seen.model_copy(update={"fault": _unusable(error).fault}), error.may_grow
        counts = histogram(plane)
        if is_blank(
            counts, spread_levels=self._rules.blank_spread_levels, outlier_share=self._rules.blank_outlier_share
        ):
            return seen.model_copy(update={"blank": True}), False
        return seen.model_copy(update={"histogram": pack(counts) if self._wants_histogram(z) else None}), False


def _judged(whole: Whole, found: list[tuple[PageSeen, bool]], *, is_final: bool) -> Whole | Unusable:
    """Return the fault of the file if its only page has one; among many pages the others remain usable."""
    faults = [(seen.fault, may_grow) for seen, may_grow in found if seen.fault is not None]
    if len(found) == 1 and faults:
        return Unusable(*faults[0])
    growing = next((fault for fault, may_grow in faults if may_grow), None)
    if growing is not None and not is_final:
        return Unusable(growing, may_grow=True)
    return whole


def _unusable(error: FormatError) -> Unusable:
    return Unusable(Fault(reason=error.reason, detail=str(error)), error.may_grow)


def _attempt_name(listed: Listed, page: int) -> str:
    return f"{listed.key.folder}/{listed.key.name}/{listed.size_bytes}/{listed.mtime_ns}/{page}"
