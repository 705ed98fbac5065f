"""The verbs that say what slice files are, before anything is done with them, and which are copied, afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.console import OUT
from services.cli.options import voxel_size
from services.cli.sites import AcquisitionName, Where, site_of

if TYPE_CHECKING:
    from services.ingest.inspection import FileLook, Finding, FolderLook, Wanted
    from services.ingest.names import NameRules

_EXAMPLES = """Examples:

fibsem-nuclei inspect /data/ROI1

fibsem-nuclei inspect slice_00121_z=1.2100um.tif --json

fibsem-nuclei inspect Merlin-6281_19-08-09_120426_0-0-0.dat --channel 1 --voxel-nm 8
"""
_LEVEL_COLOURS = {"error": "bold red", "warning": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(epilog=_EXAMPLES)(inspect)
    app.command(epilog="Examples: fibsem-nuclei copies stack; fibsem-nuclei copies roi1 --json")(copies)


def inspect(
    path: Annotated[Path, typer.Argument(help="a slice, a stack, a folder of them, or a finished volume")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    voxel_nm: Annotated[str | None, typer.Option(help="Z,Y,X to hold against what the files say")] = None,
    channel: Annotated[int | None, typer.Option(min=0, max=3, help="detector or colour to look at")] = None,
    file_pattern: Annotated[str | None, typer.Option(help="regular expression with (?P<z>...) for file names")] = None,
    include: Annotated[str | None, typer.Option(help="shell pattern; files of other names are left alone")] = None,
    files: Annotated[int, typer.Option(min=1, help="files of a folder to open, evenly spread")] = 16,
) -> None:
    """Say what slice files are: format, shape, pixel size, instrument, contrast, data bar; and what is wrong.

    Nothing is written and nothing is ingested. Exit status 1 when an error is found: what keeps a run from starting, or
    costs most of the files that were looked at. Warnings cost few files or want a decision.
    """
    from services.cli.volumes import is_volume, look_at_volume
    from services.ingest.inspection import Wanted, findings_of, look_at_file, look_at_folder

    described: dict[str, Any]
    findings: Sequence[Finding]
    size = voxel_size(voxel_nm) if voxel_nm else None
    rules = name_rules(file_pattern, include)
    wanted = Wanted(None if size is None else (size.y_nm, size.x_nm), channel)
    if is_volume(path):
        described, findings = look_at_volume(path, voxel_nm, wanted)
    elif path.is_dir():
        folder = look_at_folder(path, rules, wanted, most_files=files)
        described, findings = _folder_facts(path, folder), folder.findings
    else:
        file = look_at_file(path, rules, wanted)
        described, findings = _file_facts(file), findings_of(file, wanted)
    described["findings"] = [{"level": f.level, "reason": f.reason, "detail": f.detail} for f in findings]
    if as_json:
        OUT.print_json(json.dumps(described))
    else:
        _show(described)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def name_rules(file_pattern: str | None, include: str | None) -> NameRules:
    """Return how names are read, and which of them count, as the options say."""
    from services.ingest.names import DEFAULT_PATTERN, NameRules, compile_pattern

    return NameRules(compile_pattern(file_pattern or DEFAULT_PATTERN), (include,) if include else ("*",))


def copies(
    where: Where,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, a line for every file")] = False,
    acquisition: AcquisitionName = None,
) -> None:
    """Prove which of the microscope's files lie in the store, byte for byte; nothing is ever deleted.

    Every file is read again and compared with its copy. `copied` is proven; `referenced` means that the store only
    knows where the file lies, as in a local run, so that the file is the only copy; `unread` that the file was not
    taken in; `ignored` that by its name it is no slice. Exit status 1 unless every slice is proven to be copied.
    """
    from collections import Counter

    from services.contracts.values import ArtefactRef
    from services.ingest.copies import Copy, CopyState
    from services.ingest.copies import copies as compared
    from services.ingest.folders import LocalFolders
    from services.runtime.store.directory import DirectoryStore

    with site_of(where, acquisition) as site:
        store = site.store

        def is_reference(ref: ArtefactRef) -> bool:
            return isinstance(store, DirectoryStore) and store.is_reference(ref.key)

        settings = site.settings
        rules = name_rules(settings.file_pattern, settings.include)
        folders = LocalFolders(settings.slices)
        found: list[Copy] = list(compared(folders, store, settings.acquisition, rules, is_reference))
    counts, harmless = Counter(copy.state for copy in found), {CopyState.COPIED, CopyState.IGNORED}
    if as_json:
        for copy in found:
            line = {"folder": copy.folder, "file": copy.name, "state": copy.state.value, "size_bytes": copy.size_bytes}
            OUT.print(json.dumps(line), markup=False, highlight=False, soft_wrap=True)
    else:
        for state in CopyState:
            OUT.print(f"{state.value:<12} {counts[state]:>8}", highlight=False)
        # Those that are referenced are all of a local run.
        for copy in [copy for copy in found if copy.state not in {*harmless, CopyState.REFERENCED}]:
            OUT.print(f"{copy.state.value}: {copy.name}", markup=False, highlight=False, soft_wrap=True)
    if set(counts) - harmless or not counts[CopyState.COPIED]:
        raise typer.Exit(1)


class SlicesRefusedError(ValueError):
    """The slices cannot be segmented as the settings say; nothing was ingested."""


def check_before_run(path: Path, wanted: Wanted, file_pattern: str | None, include: str | None) -> None:
    """Look at slices that a run is about to take; print warnings.

    Raises
    ------
    SlicesRefusedError
        If something stands against all of them; the message says what, with both values where they disagree.
    """
    from services.ingest.inspection import look_at_folder

    found = look_at_folder(path, name_rules(file_pattern, include), wanted)
    for finding in found.findings:
        if finding.level == "warning":
            OUT.print(f"[yellow]warning[/] {finding.reason}: ", end="")
            OUT.print(finding.detail, markup=False, highlight=False, soft_wrap=True)
    _refuse([finding for finding in found.findings if finding.level == "error"])


def refuse_slices_below(path: Path, include: str | None) -> None:
    """Refuse a folder without slices whose folders below hold some: which of them is meant nobody can guess.

    Raises
    ------
    SlicesRefusedError
        The message names them with their counts.
    """
    from services.ingest.inspection import slices_below, told_below
    from services.ingest.names import Candidate, classify

    rules = name_rules(None, include)
    if any(isinstance(classify(other.name, rules), Candidate) and other.is_file() for other in path.iterdir()):
        return
    if below := slices_below(path, rules):
        raise SlicesRefusedError(f"{path} itself holds no slices; {told_below(path, below)}. Nothing was ingested")


def stated_voxel_nm(path: Path, rules: NameRules) -> tuple[float | None, float | None, float | None]:
    """Return z, y and x of a voxel as far as the first slice of a folder and the names in it state them, in nm."""
    from services.ingest.inspection import Wanted, look_at_folder

    found = look_at_folder(path, rules, Wanted(), most_files=1, most_pixels=0)
    first = found.looked_at[0].metadata if found.looked_at else None
    z_nm = None if found.depth_step_um is None else round(found.depth_step_um * 1000, 6)
    return z_nm, None if first is None else first.voxel_y_nm, None if first is None else first.pixel_x_nm


# What single files may have without standing against the whole run: ingest keeps them with the reason.
_OF_THE_SETTINGS = frozenset(
    {
        "voxel_size_mismatch",
        "channel_not_named",
        "unequal_channels",
        "no_such_channel",
        "mosaic_tiles",
        "z_out_of_range",
    }
)


def _refuse(errors: Sequence[Finding]) -> None:
    of_settings = [finding for finding in errors if finding.reason in _OF_THE_SETTINGS]
    if of_settings:
        told = "; ".join(f"{finding.reason}: {finding.detail}" for finding in of_settings)
        sized = any(finding.reason == "voxel_size_mismatch" for finding in of_settings)
        way_out = "; --metadata ignore where the files are known to be wrong" if sized else ""
        raise SlicesRefusedError(f"{told}{way_out}. Nothing was ingested; `inspect` says more about the files")


def _file_facts(look: FileLook) -> dict[str, Any]:
    """Return what one file is, for JSON."""
    metadata, page = look.metadata, look.page
    facts: dict[str, Any] = {"file": look.name, "size_bytes": look.size_bytes, "z": look.z, "format": look.kind or None}
    if page is not None:
        facts |= {
            "pages": look.pages,
            "height_px": page.height_px,
            "width_px": page.width_px,
            "bits": page.bits,
            "channels": page.choices,
            "compression": page.compression,
            "dialect": metadata.dialect,
            "machine": metadata.machine or None,
            "detectors": list(metadata.detectors),
            "pixel_yx_nm": _pair(metadata.pixel_y_nm, metadata.pixel_x_nm),
            "voxel_yx_nm": _pair(metadata.voxel_y_nm, metadata.pixel_x_nm),
            "tilt_deg": metadata.tilt_deg,
            "tilt_corrected": metadata.tilt_corrected,
            "foreshortening": round(metadata.foreshortening, 4),
            "data_bar_px": metadata.data_bar_px,
            "data_bar_seen_px": look.data_bar_px,
            "contrast": look.contrast.value if look.contrast else None,
            "grey_percentiles": dict(zip(("0.1", "50", "99.9"), look.grey, strict=False)),
            "telemetry": dict(metadata.telemetry),
        }
    return facts | {"refused": [{"reason": reason, "detail": detail} for reason, detail in look.faults]}


def _pair(y: float | None, x: float | None) -> list[float] | None:
    return None if y is None or x is None else [round(y, 4), round(x, 4)]


def _folder_facts(path: Path, look: FolderLook) -> dict[str, Any]:
    """Return what a folder holds, for JSON."""
    # Where names say no z, headers of the files that were opened do.
    numbers = look.z or tuple(sorted(file.z for file in look.looked_at if file.z is not None))
    return {
        "folder": str(path),
        "files": look.names,
        "ignored": dict(sorted(look.ignored.items())),
        "z_first": numbers[0] if numbers else None,
        "z_last": numbers[-1] if numbers else None,
        "z_missing": list(look.missing),
        "z_twice": list(look.twice),
        "mosaic_tiles": look.tiles,
        "slices_below": dict(look.below),
        "depth_step_um": look.depth_step_um,
        "depth_jumps": [
            {"z_before": before, "z_behind": behind, "step_um": step, "usual_um": usual}
            for before, behind, step, usual in look.depth_jumps
        ],
        "looked_at": [_file_facts(file) for file in look.looked_at],
    }


def _show(described: dict[str, Any]) -> None:
    for name, value in _lines(described):
        OUT.print(f"[bold]{name:<18}[/] ", end="")
        OUT.print(value, markup=False, highlight=False, soft_wrap=True)
    for finding in described["findings"]:
        OUT.print(f"[{_LEVEL_COLOURS[finding['level']]}]{finding['level']}[/] ", end="")
        OUT.print(f"{finding['reason']}: {finding['detail']}", markup=False, highlight=False, soft_wrap=True)


def _lines(described: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is worth a line, in words."""
    for name, value in described.items():
        if name in {"findings", "refused"} or value in (None, [], {}, ""):
            continue
        if name == "looked_at":
            yield "opened", f"{len(value)} files, evenly spread"
            for file in value:
                yield "", _in_short(file)
        elif name == "z_missing":
            yield name, f"{len(value)} between the first and the last"
        elif isinstance(value, dict):
            yield name, ", ".join(f"{key} {_short(each)}" for key, each in value.items())
        else:
            yield name, ", ".join(map(_short, value)) if isinstance(value, list | tuple) else _short(value)


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _in_short(file: dict[str, Any]) -> str:
    """Return one line about a file of a folder."""
    if file["format"] is None:
        return f"{file['file']}: {file['refused'][0]['reason']}"
    pixel = file["voxel_yx_nm"]
    parts = [
        f"{file['dialect']}, {file['height_px']} x {file['width_px']}, {file['bits']} bit",
        f"{file['pages']} pages" if file["pages"] > 1 else "",
        f"{' and '.join(file['detectors'])}" if file["detectors"] else "",
        f"{pixel[0]:g} x {pixel[1]:g} nm" if pixel else "no pixel size",
        str(file["contrast"] or "").replace("_", " "),
    ]
    return f"{file['file']}: {', '.join(part for part in parts if part)}"
