"""Looks at slice files before anything is ingested: what they are, what they say, and what will become of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from services.imaging.formats.description import GreyPlane, PageDescription, SliceFile
from services.imaging.formats.faults import FormatError
from services.imaging.formats.metadata import (
    SliceMetadata,
    VoxelSizeMismatchError,
    check_voxel_size,
    read_metadata,
)
from services.imaging.formats.opening import open_slice
from services.imaging.formats.pixels import Contrast, contrast_of, data_bar_rows
from services.imaging.grey import histogram
from services.ingest.names import Candidate, NameRules, classify, depth_um, shown, tile_of, told_out_of_range

_PERCENTILES = (0.1, 50.0, 99.9)
# A step in depth counts as a jump from half of the usual step too much or too little.
_JUMP_SHARE = 0.5
_NAMED_AT_MOST = 20
# Absent slices in a row that a nucleus is followed across (design decision 7).
_CONNECTED_ACROSS = 3
_DEEPEST, _MOST_FOLDERS = 5, 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know; an error keeps a run from starting, or costs most of the files."""

    level: Literal["error", "warning"]
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class FileLook:
    """What one file is.

    Attributes
    ----------
    name
        As it can be written anywhere.
    size_bytes
        Length of the file.
    z
        From its name, or else from its header; None if neither says.
    kind
        `tiff` or `dat`; empty if it cannot be read.
    pages
        How many there are; `page` describes the first.
    metadata
        What the file says about itself.
    contrast, data_bar_px, grey
        What the pixels of the first page show, where they were looked at; `grey`: its 0.1, 50 and 99.9 percentiles.
    faults
        Why ingest would refuse it, by (reason, detail).
    """

    name: str
    size_bytes: int
    z: int | None
    kind: str = ""
    pages: int = 0
    page: PageDescription | None = None
    metadata: SliceMetadata = field(default_factory=SliceMetadata)
    contrast: Contrast | None = None
    data_bar_px: int | None = None
    grey: tuple[int, ...] = ()
    faults: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user said: the edges of a voxel that metadata are held against, the channel, contrast, and data bar."""

    voxel_yx_nm: tuple[float, float] | None = None
    channel: int | None = None
    inverted: bool = False
    data_bar_px: int | None = None


@dataclass(frozen=True, slots=True)
class FolderLook:
    """What a folder holds.

    Attributes
    ----------
    names
        Candidates for slices; `ignored` counts the others by reason.
    looked_at
        The files that were opened.
    z
        Those that names say, in order.
    twice
        z that several names say.
    missing
        z between the first and the last that no name says.
    tiles
        Rows and columns of a mosaic, if names say any but the first.
    depth_step_um
        Usual step from slice to slice, where names of Zeiss Atlas say depths.
    depth_jumps
        (z before, z behind, step, usual step) in micrometres, where names of Zeiss Atlas show that more was milled.
    below
        Folders below it that hold slices, and how many each.
    findings
        What a person should know.
    """

    names: int
    ignored: Counter[str]
    looked_at: tuple[FileLook, ...]
    z: tuple[int, ...]
    twice: tuple[int, ...]
    missing: tuple[int, ...]
    tiles: tuple[int, int] | None
    depth_step_um: float | None
    depth_jumps: tuple[tuple[int, int, float, float], ...]
    below: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...]


def look_at_file(path: Path, rules: NameRules, wanted: Wanted, *, pixels: bool = True) -> FileLook:
    """Look at one file.

    Parameters
    ----------
    path
        The file.
    rules
        How names are read.
    wanted
        What the user said.
    pixels
        Whether to look at the pixels of the first page.

    Raises
    ------
    OSError
        If the system cannot read it.
    """
    name, size = shown(path.name), path.stat().st_size
    found = classify(path.name, rules)
    z, impossible_z = (found.z, found.impossible_z) if isinstance(found, Candidate) else (None, None)
    with path.open("rb") as file:
        try:
            opened = open_slice(file)
            metadata = read_metadata(opened)
        except FormatError as fault:
            return FileLook(name, size, z, faults=((fault.reason, str(fault)),))
        page = opened.description.pages[0]
        faults = list(_refusals(path.name, metadata, wanted))
        if impossible_z is not None:
            faults.append(("z_out_of_range", told_out_of_range(impossible_z, rules.largest_z)))
        seen = _first_page(opened, wanted, faults) if pixels else None
        bar_px = metadata.data_bar_px if wanted.data_bar_px is None else wanted.data_bar_px
        shown_px = None if seen is None else seen[: max(1, page.height_px - bar_px)]
        return FileLook(
            name=name,
            size_bytes=size,
            z=metadata.z_index if z is None and impossible_z is None else z,
            kind=opened.description.kind,
            pages=len(opened.description.pages),
            page=page,
            metadata=metadata,
            contrast=None if shown_px is None else contrast_of(shown_px),
            data_bar_px=None if seen is None else data_bar_rows(seen),
            grey=() if shown_px is None else _percentiles(shown_px),
            faults=tuple(faults),
        )


def look_at_folder(
    folder: Path, rules: NameRules, wanted: Wanted, *, most_files: int = 16, most_pixels: int = 4
) -> FolderLook:
    """Look at a folder: every name, and some of its files, evenly spread.

    Parameters
    ----------
    folder
        Where slices are.
    rules
        How names are read.
    wanted
        What the user said.
    most_files, most_pixels
        How many files are opened, and of how many of them pixels are looked at.
    """
    slices, ignored = list[tuple[int | None, str]](), Counter[str]()
    for path in folder.iterdir():
        what = classify(path.name, rules) if path.is_file() else None
        if isinstance(what, Candidate):
            slices.append((what.z, path.name))
        else:
            ignored["not_a_file" if what is None else what.reason] += 1
    slices.sort(key=lambda found: (found[0] is not None, found[0] or 0, found[1]))
    names = [name for _, name in slices]
    chosen, seen = _spread(names, most_files), set(_spread(_spread(names, most_files), most_pixels))
    looked = (_look_if_there(folder / name, rules, wanted, pixels=name in seen) for name in chosen)
    looks = tuple(look for look in looked if look is not None)
    counts = Counter(z for z, _ in slices if z is not None)
    z = tuple(sorted(counts))
    tiles = [tile for name in names if (tile := tile_of(name)) is not None]
    extent = (max(row for row, _ in tiles) + 1, max(column for _, column in tiles) + 1) if tiles else (1, 1)
    step_um, jumps = _depths(names)
    look = FolderLook(
        names=len(names),
        ignored=ignored,
        looked_at=looks,
        z=z,
        twice=tuple(number for number in z if counts[number] > 1),
        missing=tuple(
            number for before, after in pairwise(z) for number in range(before + 1, min(after, before + 1000))
        ),
        tiles=None if extent == (1, 1) else extent,
        depth_step_um=step_um,
        depth_jumps=jumps,
        below=slices_below(folder, rules),
        findings=(),
    )
    return replace(look, findings=tuple(_findings(folder, look, wanted)))


def slices_below(folder: Path, rules: NameRules) -> tuple[tuple[str, int], ...]:
    """Count the slices in the folders below one: instruments write one for each channel, or for each day.

    Parameters
    ----------
    folder
        Whose own slices do not count.
    rules
        How names are read.

    Returns
    -------
    tuple
        Path from the folder, and how many slices lie right there, in order of paths; links are not followed, and
        nothing is looked for more than 5 folders down, or in more than 1,000 folders.
    """
    found = dict[str, int]()
    open_ones = [folder]
    for _ in range(_MOST_FOLDERS):
        if not open_ones:
            break
        here = open_ones.pop(0)
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith(".") and len(here.relative_to(folder).parts) < _DEEPEST:
                            open_ones.append(here / entry.name)
                    elif here != folder and isinstance(classify(entry.name, rules), Candidate):
                        name = shown(here.relative_to(folder).as_posix())
                        found[name] = found.get(name, 0) + 1
        except OSError:
            # A folder that is locked, or went away, says nothing.
            continue
    return tuple(sorted(found.items()))


def told_below(folder: Path, below: Sequence[tuple[str, int]]) -> str:
    """Say which folders below one hold slices, and how to name one of them."""
    named = ", ".join(f"{name} ({count})" for name, count in below[:_NAMED_AT_MOST])
    rest = f" and {len(below) - _NAMED_AT_MOST} more" if len(below) > _NAMED_AT_MOST else ""
    return f"slices lie in folders below: {named}{rest}; name one of them, as {folder / below[0][0]}"


def _look_if_there(path: Path, rules: NameRules, wanted: Wanted, *, pixels: bool) -> FileLook | None:
    """Look at a file of a folder that others write into: it may be gone by now, or be locked while it is written."""
    try:
        return look_at_file(path, rules, wanted, pixels=pixels)
    except FileNotFoundError:
        return None
    except OSError as error:
        return FileLook(shown(path.name), 0, None, faults=(("unreadable", error.strerror or type(error).__name__),))


def findings_of(look: FileLook, wanted: Wanted) -> tuple[Finding, ...]:
    """Return what a person should know about one file."""
    return (
        *(Finding("error", reason, detail) for reason, detail in look.faults),
        *contrast_findings([look.contrast], wanted),
        *_hidden_bars([look], wanted),
        *_doubtful_tilts([look]),
    )


def _refusals(name: str, metadata: SliceMetadata, wanted: Wanted) -> Iterable[tuple[str, str]]:
    if wanted.voxel_yx_nm is not None:
        try:
            check_voxel_size(metadata, *wanted.voxel_yx_nm)
        except VoxelSizeMismatchError as fault:
            yield fault.reason, str(fault)
    if tile_of(name) not in {None, (0, 0)}:
        yield "mosaic_tile", f"it is tile {tile_of(name)} of a mosaic"


def _first_page(opened: SliceFile, wanted: Wanted, faults: list[tuple[str, str]]) -> GreyPlane | None:
    """Return the first page; the first channel where none was named that must be, with a fault noted."""
    try:
        return opened.read(0, wanted.channel)
    except FormatError as fault:
        faults.append((fault.reason, str(fault)))
    if wanted.channel is not None:
        return None
    try:
        return opened.read(0, 0)
    except FormatError:
        # It was said already why it cannot be read.
        return None


def _percentiles(plane: GreyPlane) -> tuple[int, ...]:
    cumulative = np.cumsum(histogram(plane))
    return tuple(int(np.searchsorted(cumulative, share / 100 * cumulative[-1])) for share in _PERCENTILES)


def _spread(names: Sequence[str], most: int) -> list[str]:
    """Return at most so many names, evenly spread, the first and the last among them.

    >>> _spread("abcdefg", 3)
    ['a', 'd', 'g']
    """
    if len(names) <= most:
        return list(names)
    return [names[round(number * (len(names) - 1) / max(1, most - 1))] for number in range(most)]


def _depths(names: Sequence[str]) -> tuple[float | None, tuple[tuple[int, int, float, float], ...]]:
    """Return the usual step in depth, and where names grow by another: slices were milled and not imaged."""
    places = sorted(place for name in names if (place := depth_um(name)) is not None)
    steps = [
        (before[0], after[0], (after[1] - before[1]) / (after[0] - before[0]))
        for before, after in pairwise(places)
        if after[0] > before[0]
    ]
    if not steps:
        return None, ()
    # Some sites count depth downwards.
    sign = -1 if median(step for _, _, step in steps) < 0 else 1
    steps = [(before, after, sign * step) for before, after, step in steps]
    usual = median(step for _, _, step in steps)
    return round(usual, 6), tuple(
        (before, after, round(step, 6), round(usual, 6))
        for before, after, step in steps
        if abs(step - usual) > _JUMP_SHARE * usual
    )


def _findings(folder: Path, look: FolderLook, wanted: Wanted) -> Iterable[Finding]:
    if look.tiles is not None:
        detail = f"names say tiles of {look.tiles[0]} rows and {look.tiles[1]} columns"
        joining = f"fibsem-nuclei join {folder} --out {folder.resolve().name}-slices"
        channel = "" if wanted.channel is None else f" --channel {wanted.channel}"
        choice = "or choose one tile with --include '*_0-0-0.dat'"
        yield Finding("error", "mosaic_tiles", f"{detail}: {joining}{channel}, then run on the slices; {choice}")
    if look.below and sum(count for _, count in look.below) > look.names:
        level: Literal["error", "warning"] = "warning" if look.names else "error"
        yield Finding(level, "slices_below", told_below(folder, look.below))
    yield from _shared_faults(look.looked_at)
    yield from _differences(look.looked_at)
    yield from contrast_findings([file.contrast for file in look.looked_at], wanted)
    yield from _hidden_bars(look.looked_at, wanted)
    yield from _doubtful_tilts(look.looked_at)
    yield from _stride(look)
    if look.twice:
        yield Finding("warning", "z_twice", f"several files are named for z {_listed(look.twice)}")
    for before, after, step, usual in look.depth_jumps[:_NAMED_AT_MOST]:
        detail = f"from z {before} to {after} names go {step * 1000:g} nm deeper, usually {usual * 1000:g} nm"
        yield Finding("warning", "depth_jump", detail)


def _shared_faults(looks: Sequence[FileLook]) -> Iterable[Finding]:
    """Yield what is wrong with files: with most of them, it is the settings; with some, it costs only them."""
    reasons = Counter(reason for look in looks for reason in {reason for reason, _ in look.faults})
    for reason, count in reasons.items():
        if reason == "mosaic_tile":
            continue
        look, detail = next((look, told) for look in looks for name, told in look.faults if name == reason)
        # Files whose pixels were not looked at cannot show that a channel must be named, or is not there.
        blind = sum(1 for other in looks if other.contrast is None and reason not in dict(other.faults))
        among = len(looks) - (blind if "channel" in reason else 0)
        level: Literal["error", "warning"] = "error" if 2 * count > among else "warning"
        yield Finding(level, reason, f"{count} of {among} files looked at, {look.name} among them: {detail}")


def _differences(looks: Sequence[FileLook]) -> Iterable[Finding]:
    machines = Counter(look.metadata.machine for look in looks if look.metadata.machine)
    if len(machines) > 1:
        said = ", ".join(f"{name} ({count})" for name, count in machines.most_common())
        yield Finding("warning", "several_machines", f"files name several instruments: {said}; only one is taken")
    shapes = Counter((look.page.height_px, look.page.width_px, look.page.bits) for look in looks if look.page)
    if len(shapes) > 1:
        said = ", ".join(f"{height} x {width}, {bits} bit ({n})" for (height, width, bits), n in shapes.most_common())
        yield Finding("warning", "several_shapes", f"files differ in shape or depth: {said}; only one is taken")


def contrast_findings(contrasts: Iterable[Contrast | None], wanted: Wanted) -> Iterable[Finding]:
    """Yield what a person should know of the contrast of some slices; None: it was not looked at."""
    seen = Counter[Contrast](contrast for contrast in contrasts if contrast is not None)
    del seen[Contrast.UNDECIDED]
    unwanted = Contrast.METAL_DARK if wanted.inverted else Contrast.METAL_BRIGHT
    if seen[unwanted] > sum(seen.values()) / 2:
        option = "as-is" if wanted.inverted else "inverted"
        shade = "dark" if wanted.inverted else "bright"
        detail = f"stained material looks {shade} in the files: run with --contrast {option}, unless it was not stained"
        yield Finding("warning", "inverted_contrast", detail)


def _hidden_bars(looks: Sequence[FileLook], wanted: Wanted) -> Iterable[Finding]:
    if wanted.data_bar_px is not None:
        return
    for look in looks:
        if look.data_bar_px and not look.metadata.data_bar_px:
            detail = (
                f"{look.name}: the lowest {look.data_bar_px} rows look like a bar of writing that no metadata mention"
            )
            yield Finding("warning", "data_bar", f"{detail}: cut it off with --data-bar-px {look.data_bar_px}")
            return


def _doubtful_tilts(looks: Sequence[FileLook]) -> Iterable[Finding]:
    for look in looks:
        metadata, short = look.metadata, look.metadata.doubtful_foreshortening
        if short is not None and metadata.pixel_y_nm is not None:
            detail = (
                f"{look.name}: the stage is at {metadata.tilt_deg:g} degrees, and nothing says whether the scan was "
                f"corrected for it; y is taken as stated, {metadata.pixel_y_nm:g} nm. If it was not corrected, y is "
                f"{metadata.pixel_y_nm / short:.4g} nm: give that in --voxel-nm, with --metadata ignore"
            )
            yield Finding("warning", "tilt_unknown", detail)
            return


def _stride(look: FolderLook) -> Iterable[Finding]:
    """Yield that numbers of slices grow by more than one, as they do where they count something else."""
    steps = Counter(after - before for before, after in pairwise(look.z))
    step, count = steps.most_common(1)[0] if steps else (1, 0)
    # A file of several pages holds as many z.
    pages = max((file.pages for file in look.looked_at), default=1)
    if count < 2 or 2 * count <= steps.total() or step <= max(1, pages):
        return
    end = "and so many in a row end every nucleus" if step - pages > _CONNECTED_ACROSS else "each time"
    detail = (
        f"numbers go up by {step} ({_listed(look.z[:3])}, ...): the z between count as missing, {end}. If another "
        "number in the names counts slices one by one, name it with --file-pattern; else slices are missing"
    )
    yield Finding("warning", "stride", detail)


def _listed(numbers: Sequence[int]) -> str:
    named = ", ".join(str(number) for number in numbers[:_NAMED_AT_MOST])
    rest = len(numbers) - _NAMED_AT_MOST
    return f"{named} and {rest} more" if rest > 0 else named
