"""What a file's name says: that it is a slice and of which z, that it is one without a z, or that it is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

FINISH_MARKER = "ACQUISITION_FINISHED"
# The last run of digits before the extension.
DEFAULT_PATTERN = r"(?P<z>\d+)\D*\.[^.\d]*$"
# Names that instruments give, in which the last number is no z: Zeiss Atlas writes the depth behind the count,
# Janelia's microscopes date, time and tile (section-row-column); those have the count of slices in the header.
# The depth may be negative, with a comma, and with any sign for micro, garbled ones too.
_ATLAS = re.compile(
    r"slice_(?P<z>\d+)_z=(?P<um>[-\u2212]?\d+(?:[.,]\d+)?)(?:u|\?|[^\x00-\x7f]{1,2})m\.tiff?$", re.IGNORECASE
)
_JANELIA = re.compile(r"_\d\d-\d\d-\d\d_\d{6}_\d+-(?P<row>\d+)-(?P<column>\d+)\.dat$", re.IGNORECASE)
_JANELIA_TIME = re.compile(r"_\d\d-\d\d-\d\d_\d{6}\.dat$", re.IGNORECASE)
# Behind a letter, a digit, a space or a closing bracket a hyphen stands between two words; elsewhere it is a sign.
_MINUS = frozenset("-\u2212")
_SIGN = re.compile(r"(?:^|[^\w\s)\]}]|_)[-\u2212]$")
_TILE_GROUPS = ("z", "row", "column")
_FORMULA_STARTS = ("=", "+", "-", "@")
_UNFINISHED_ENDINGS = (".tmp", ".part", ".partial", ".crdownload", "~")


class PatternError(ValueError):
    """The pattern for file names is no regular expression with a group named z."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The file is not a slice, and nobody meant it to be; `reason` is one of a few words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """The file may be a slice; `z` is that of its first page, None if the name does not say.

    `impossible_z` is a number that stands where z should and is too large for one, or negative.
    """

    z: int | None
    impossible_z: int | None = None


@dataclass(frozen=True, slots=True)
class TileName:
    """The file is a tile of a mosaic: which mosaic, which row and column of it, and which z if the name says."""

    mosaic: str
    row: int
    column: int
    z: int | None = None


@dataclass(frozen=True, slots=True)
class NameRules:
    """How names are read.

    Attributes
    ----------
    pattern
        Regular expression, searched in the whole name; its group `z` is the z of the first page.
    include
        Shell patterns; a name that matches none of them is ignored.
    extensions
        Endings of slices, in lower case with the dot.
    largest_z
        A number beyond it is no z.
    """

    pattern: re.Pattern[str]
    include: Sequence[str] = ("*",)
    extensions: Sequence[str] = (".tif", ".tiff", ".dat")
    largest_z: int = 99_999


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return the compiled pattern.

    Raises
    ------
    PatternError
        If it is not a regular expression, or has no group named z.

    Examples
    --------
    >>> compile_pattern("slice_([0-9]+)")
    Traceback (most recent call last):
    ...
    services.ingest.names.PatternError: 'slice_([0-9]+)' lacks the group (?P<z>...), which says where z stands
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise PatternError(f"{text!r} is not a regular expression: {error}") from error
    if "z" not in pattern.groupindex:
        raise PatternError(f"{text!r} lacks the group (?P<z>...), which says where z stands")
    return pattern


def shown(name: str) -> str:
    r"""Return a name that can be written anywhere, different for every name.

    Bytes that are not UTF-8, whatever moves a cursor or turns writing round, and a first character by which a
    spreadsheet takes a name for a formula are spelled out; so a backslash is doubled.

    >>> print(shown("slice_" + b"\xb5m".decode("utf-8", "surrogateescape") + ".tif"))
    slice_\xb5m.tif
    >>> print(shown("two\nlines.tif"), shown("=now()_1.tif"), shown("a\\b.tif"))
    two\nlines.tif \x3dnow()_1.tif a\\b.tif
    """
    if name.isascii() and name.isprintable() and "\\" not in name and not name.startswith(_FORMULA_STARTS):
        return name
    readable = name.replace("\\", "\\\\").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    spelled = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in readable
    )
    return f"\\x{ord(spelled[0]):02x}{spelled[1:]}" if spelled.startswith(_FORMULA_STARTS) else spelled


def classify(name: str, rules: NameRules) -> Ignored | Candidate:
    """Say what a file's name says.

    Examples
    --------
    >>> rules = NameRules(compile_pattern(DEFAULT_PATTERN))
    >>> classify("roi_3_slice_0042.tif", rules)
    Candidate(z=42, impossible_z=None)
    >>> classify("overview.tif", rules)
    Candidate(z=None, impossible_z=None)
    >>> classify("notes.txt", rules), classify(".slice_0042.tif.part", rules)
    (Ignored(reason='extension'), Ignored(reason='unfinished'))
    >>> atlas = NameRules(compile_pattern("slice_(?P<z>[0-9]+)_z="))
    >>> classify("slice_00121_z=1.2100um.tif", atlas)
    Candidate(z=121, impossible_z=None)
    >>> classify("slice_00121_z=1.2100um.tif", rules).z, classify("Merlin_19-08-09_120426_0-0-0.dat", rules).z
    (121, None)
    >>> classify("image_20190809.tif", rules)
    Candidate(z=None, impossible_z=20190809)
    >>> classify("slice_-002.tif", rules), classify("roi-002.tif", rules)
    (Candidate(z=None, impossible_z=-2), Candidate(z=2, impossible_z=None))
    """
    reason = _not_a_slice(name, rules)
    if reason is not None:
        return Ignored(reason)
    found = None
    if rules.pattern.pattern == DEFAULT_PATTERN:
        if tile_of(name) is not None or _ends_with_a_time(name):
            return Candidate(None)
        found = _ATLAS.search(name) if "_z=" in name else None
    found = found or rules.pattern.search(name)
    digits = found.group("z") if found else None
    # A group may take part in no match, or match something that is no number.
    if digits is None or not digits.isdecimal():
        return Candidate(None)
    # Python refuses to read numbers of thousands of digits.
    z = int(digits[-1000:])
    if found is not None and _is_negative(name, found):
        z = -z
    return Candidate(z) if 0 <= z <= rules.largest_z else Candidate(None, z)


def told_out_of_range(z: int, largest_z: int) -> str:
    """Say why a number is no z, and what to do.

    >>> told_out_of_range(-2, 99_999)
    'z -2 is below 0: name the number that counts slices with --file-pattern'
    """
    beyond = "below 0" if z < 0 else f"beyond {largest_z}"
    return f"z {z} is {beyond}: name the number that counts slices with --file-pattern"


def _is_negative(name: str, found: re.Match[str]) -> bool:
    """Whether a minus stands before the number; a pattern that takes it in says itself what it means."""
    start = found.start("z")
    return found.start() == start and name[start - 1 : start] in _MINUS and _SIGN.search(name, 0, start) is not None


def _ends_with_a_time(name: str) -> bool:
    """Whether the last number is the time of day, as in names of Janelia's microscopes without a tile."""
    return name.endswith((".dat", ".DAT")) and _JANELIA_TIME.search(name) is not None


def tile_of(name: str) -> tuple[int, int] | None:
    """Return row and column of a tile of a mosaic, as Janelia's microscopes name them; None for any other name.

    >>> tile_of("Merlin-6281_19-08-09_120426_0-1-2.dat"), tile_of("slice_0001.tif")
    ((1, 2), None)
    """
    # Names are read by the hundred thousand, and hardly any is of this kind.
    found = _JANELIA.search(name) if name.endswith((".dat", ".DAT")) else None
    return (int(found["row"]), int(found["column"])) if found else None


def tile_name(name: str, pattern: re.Pattern[str] | None = None) -> TileName | None:
    """Return which tile of which mosaic a file is; None if its name says nothing of the kind.

    Parameters
    ----------
    name
        Of the file.
    pattern
        Regular expression with groups `z`, `row` and `column`, searched in the name; None: as Janelia's microscopes
        name tiles, where date and time say which mosaic it is, and z is in the header.

    Examples
    --------
    >>> tile_name("Merlin-6281_19-08-09_120426_0-1-2.dat")
    TileName(mosaic='Merlin-6281_19-08-09_120426_0', row=1, column=2, z=None)
    >>> tile_name("s0042_r1_c0.tif", compile_tile_pattern("s(?P<z>[0-9]+)_r(?P<row>[0-9]+)_c(?P<column>[0-9]+)"))
    TileName(mosaic='slice', row=1, column=0, z=42)
    """
    if pattern is None:
        found = _JANELIA.search(name) if name.endswith((".dat", ".DAT")) else None
        return TileName(name[: found.start("row") - 1], int(found["row"]), int(found["column"])) if found else None
    found = pattern.search(name)
    numbers = [found[group] for group in _TILE_GROUPS] if found else []
    if not numbers or not all(number is not None and number.isdecimal() and len(number) < 10 for number in numbers):
        return None
    z, row, column = map(int, numbers)
    return TileName("slice", row, column, z)


def compile_tile_pattern(text: str) -> re.Pattern[str]:
    """Return the compiled pattern for names of tiles.

    Raises
    ------
    PatternError
        If it is not a regular expression, or lacks a group.

    Examples
    --------
    >>> compile_tile_pattern("z(?P<z>[0-9]+)_(?P<row>[0-9]+)")
    Traceback (most recent call last):
    ...
    services.ingest.names.PatternError: 'z(?P<z>[0-9]+)_(?P<row>[0-9]+)' lacks the group (?P<column>...)
    """
    pattern = compile_pattern(text)
    for group in _TILE_GROUPS:
        if group not in pattern.groupindex:
            raise PatternError(f"{text!r} lacks the group (?P<{group}>...)")
    return pattern


def is_unfinished(name: str) -> bool:
    """Say whether some program is still writing the file under a passing name.

    >>> is_unfinished("a_0-0-1.dat.part"), is_unfinished("a_0-0-1.dat")
    (True, False)
    """
    return name.startswith(".") or name.lower().endswith(_UNFINISHED_ENDINGS)


def marked_file(name: str) -> str | None:
    """Return the name of the file that a marker says to be finished; None if the name is no marker's.

    The copying program of Janelia's microscopes leaves `SET^E^^FOLDER^...^NAME.dat^keep`, an empty file: the path of
    the finished file with carets between its parts.

    >>> marked_file("Z0720^E^^Images^Y2022^M07^D13^Merlin_22-07-13_120426_0-0-0.dat^keep")
    'Merlin_22-07-13_120426_0-0-0.dat'
    >>> marked_file("notes^keep^txt") is None
    True
    """
    parts = name.split("^")
    return parts[-2] if len(parts) > 2 and parts[-1] == "keep" and parts[-2] else None


def depth_um(name: str) -> tuple[int, float] | None:
    """Return the count and the depth that Zeiss Atlas writes into a name; None for any other name.

    >>> depth_um("slice_00121_z=1.2100um.tif")
    (121, 1.21)
    >>> depth_um("slice_00121_z=-0,1200um.tif")
    (121, -0.12)
    """
    found = _ATLAS.search(name)
    return (int(found["z"]), float(found["um"].replace(",", ".").replace("\u2212", "-"))) if found else None


def _not_a_slice(name: str, rules: NameRules) -> str | None:
    lower = name.lower()
    if name == FINISH_MARKER:
        return "marker"
    if is_unfinished(name):
        return "unfinished"
    if not lower.endswith(tuple(rules.extensions)):
        return "extension"
    if not any(fnmatchcase(name, pattern) for pattern in rules.include):
        return "not_included"
    return None
