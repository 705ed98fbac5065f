"""Reading a results folder: what is optional may be absent and is said to be; what is there must be well formed."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pyarrow.parquet as pq
from pyarrow import ArrowException

from services.report.content import (
    ClassScore,
    LedgerRow,
    Link,
    NucleusRow,
    NucleusScore,
    Outline,
    OverviewSlice,
    ReportData,
    ResultsFormatError,
    Scores,
    Stage,
    Timing,
    Zyx,
)
from services.report.tables import (
    Row,
    check_row,
    chromosome_row,
    ledger_row,
    nucleus_row,
    object_row,
    slice_row,
    suspect_row,
)
from services.report.volumes import read_voxel_nm

T = TypeVar("T")

MAX_OVERVIEW_SLICES = 6
_LINKS = (
    ("nuclei.parquet", "table of nuclei"),
    ("nuclei.csv", "table of nuclei"),
    ("objects.parquet", "table of objects"),
    ("objects.csv", "table of objects"),
    ("chromosomes.parquet", "what was measured on chromosomes"),
    ("chromosomes.csv", "what was measured on chromosomes"),
    ("tracks.parquet", "what was measured on synaptonemal complexes"),
    ("tracks.csv", "what was measured on synaptonemal complexes"),
    ("contacts.parquet", "what touches what"),
    ("contacts.csv", "what touches what"),
    ("checks.parquet", "biology checks of every nucleus"),
    ("checks.csv", "biology checks of every nucleus"),
    ("suspects.parquet", "where the separation of chromosomes may be wrong"),
    ("suspects.csv", "where the separation of chromosomes may be wrong"),
    ("slices.parquet", "quality of every slice"),
    ("slices.csv", "quality of every slice"),
    ("ledger.csv", "what became of every slice"),
    ("events.jsonl", "everything that happened, in order of z"),
    ("provenance.json", "what decided these results"),
    ("MANIFEST.sha256", "hash of every result: two runs agree when it agrees"),
)


def read_results(out: Path) -> ReportData:
    """Return what a report shows of a results folder, but the arrays.

    Parameters
    ----------
    out
        Folder that a run left behind. The table of nuclei must be there; everything else may be absent.

    Raises
    ------
    ResultsFormatError
        When the table of nuclei is absent, or anything that is there is malformed.
    """
    missing: list[str] = []
    nuclei = _table(out, "nuclei", nucleus_row)
    if nuclei is None:
        raise ResultsFormatError(f"{out}: there is neither nuclei.parquet nor nuclei.csv: not a results folder")
    clipped = frozenset(nucleus.nucleus_id for nucleus in nuclei if nucleus.clipped)
    provenance = _optional(_json(out / "provenance.json"), missing, "provenance") or {}
    return ReportData(
        acquisition=_acquisition(provenance, out),
        voxel_nm=_voxel_nm(provenance, out, nuclei),
        nuclei=nuclei,
        objects=_optional(_table(out, "objects", object_row), missing, "objects and chromosomes") or (),
        ledger=_optional(_ledger(out / "ledger.csv"), missing, "ledger") or (),
        events=_optional(_events(out / "events.jsonl"), missing, "events") or (),
        provenance=tuple(_flattened(provenance)),
        timing=_optional(_timing(out / ".state" / "report.json"), missing, "timing"),
        scores=_scores(out / ".state" / "evaluation.json"),
        overview=_optional(_overview(out / ".state" / "overview", clipped), missing, "slices with outlines") or (),
        links=_links(out, nuclei),
        missing=tuple(missing),
        chromosomes=_table(out, "chromosomes", chromosome_row) or (),
        checks=_table(out, "checks", check_row) or (),
        suspects=_table(out, "suspects", suspect_row) or (),
        slices=_table(out, "slices", slice_row) or (),
    )


def volume_path(out: Path, nucleus_id: str) -> Path:
    """Return where the volume of a nucleus lies in a results folder."""
    return out / "nuclei" / nucleus_id / "volume.ome.zarr"


def _optional(value: T | None, missing: list[str], what: str) -> T | None:
    if value is None:
        missing.append(what)
    return value


def _table(out: Path, name: str, parse: Callable[[Row, str], T]) -> tuple[T, ...] | None:
    """Rows of a table, from Parquet where there is one, else from CSV."""
    parquet, comma = out / f"{name}.parquet", out / f"{name}.csv"
    if parquet.exists():
        try:
            rows = pq.read_table(parquet).to_pylist()
        except (ArrowException, OSError) as error:
            raise ResultsFormatError(f"{parquet.name}: {error}") from error
        return tuple(parse(row, f"{parquet.name}, row {i}") for i, row in enumerate(rows, start=1))
    return _csv(comma, parse)


def _csv(path: Path, parse: Callable[[Row, str], T]) -> tuple[T, ...] | None:
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as lines:
        return tuple(parse(row, f"{path.name}, line {i}") for i, row in enumerate(csv.DictReader(lines), start=2))


def _ledger(path: Path) -> tuple[LedgerRow, ...] | None:
    return _csv(path, ledger_row)


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsFormatError(f"{path.name}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ResultsFormatError(f"{path.name}: expected an object at the top")
    return value


def _acquisition(provenance: Mapping[str, Any], out: Path) -> str:
    for key in ("acquisition", "acquisition_id"):
        named = provenance.get(key)
        if isinstance(named, dict):
            named = named.get("name") or named.get("acquisition_id")
        if isinstance(named, str) and named:
            return named
    return out.resolve().name


def _voxel_nm(provenance: Mapping[str, Any], out: Path, nuclei: Sequence[NucleusRow]) -> Zyx | None:
    if "voxel_nm" in provenance:
        try:
            z, y, x = (float(edge) for edge in provenance["voxel_nm"])
        except (TypeError, ValueError) as error:
            raise ResultsFormatError(f"provenance.json: voxel_nm: {error}") from error
        return z, y, x
    for nucleus in nuclei:
        path = volume_path(out, nucleus.nucleus_id)
        if path.exists():
            return read_voxel_nm(path)
    return None


def _flattened(value: object, name: str = "") -> list[tuple[str, str]]:
    """Nested names joined by dots, with their values as text."""
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _flattened(inner, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list):
        if all(isinstance(item, str | int | float | bool | None) for item in value):
            return [(name, ", ".join(str(item) for item in value))]
        return [row for i, inner in enumerate(value) for row in _flattened(inner, f"{name}.{i}")]
    return [(name, str(value))]


def _events(path: Path) -> tuple[tuple[str, int], ...] | None:
    if not path.exists():
        return None
    kinds: Counter[str] = Counter()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                event = json.loads(line)
                kinds[str(next(event[key] for key in ("event", "type", "kind") if key in event))] += 1
            except (ValueError, TypeError, StopIteration) as error:
                raise ResultsFormatError(f"{path.name}, line {number}: not an event: {error!r}") from error
    return tuple(sorted(kinds.items()))


def _timing(path: Path) -> Timing | None:
    """Read timing: `{"stages": {name: {"seconds", "count"}}, "wall_s", "progress": [[s, seen, final], ...]}`."""
    value = _json(path)
    if value is None or "stages" not in value:
        return None
    try:
        stages = tuple(_stage(name, stage) for name, stage in value["stages"].items())
        wall_s = float(value["wall_s"]) if value.get("wall_s") is not None else None
        progress = tuple((float(s), int(seen), int(final)) for s, seen, final in value.get("progress", []))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultsFormatError(f"{path.name}: not timings: {error!r}") from error
    return Timing(stages, wall_s, progress)


def _stage(name: str, value: float | Mapping[str, float]) -> Stage:
    if isinstance(value, int | float):
        return Stage(name, float(value))
    count = value.get("count")
    return Stage(name, float(value["seconds"]), None if count is None else int(count))


def _scores(path: Path) -> Scores | None:
    value = _json(path)
    if value is None:
        return None
    try:
        return Scores(
            classes=tuple(_class_score(name, score) for name, score in value["classes"].items()),
            averages=_numbers({key: number for key, number in value.items() if key.startswith("f1_")}),
            nuclei=_numbers(value.get("nuclei") or {}),
            chromosomes=_numbers(value.get("chromosomes") or {}),
            per_nucleus=tuple(_nucleus_score(score) for score in value.get("per_nucleus") or ()),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultsFormatError(f"{path.name}: not the scores that evaluate writes: {error!r}") from error


def _class_score(name: str, score: Mapping[str, float | None]) -> ClassScore:
    precision, recall, f1, iou = (_number(score[key]) for key in ("precision", "recall", "f1", "iou"))
    return ClassScore(name, precision, recall, f1, iou)


def _nucleus_score(score: Mapping[str, Any]) -> NucleusScore:
    return NucleusScore(
        truth_id=str(score["truth_id"]),
        nucleus_id=score["nucleus_id"],
        is_clipped=bool(score["clipped"]),
        f1=tuple((name, _number(f1)) for name, f1 in score["f1"].items()),
        chromosomes_true=score["chromosomes_true"],
        chromosomes_found=score["chromosomes_found"],
    )


def _numbers(values: Mapping[str, object]) -> tuple[tuple[str, float], ...]:
    """Names and values of what is a number; what has no value is left out."""
    return tuple((name, float(value)) for name, value in values.items() if isinstance(value, int | float))


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _overview(folder: Path, clipped: frozenset[str]) -> tuple[OverviewSlice, ...] | None:
    """Read a few slices, evenly chosen, from `*.png` with `*.json` of the same name beside them."""
    found = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not found:
        return None
    most = min(MAX_OVERVIEW_SLICES, len(found))
    chosen = [found[int((i + 0.5) * len(found) / most)] for i in range(most)]
    return tuple(_overview_slice(path, clipped) for path in chosen)


def _overview_slice(path: Path, clipped: frozenset[str]) -> OverviewSlice:
    value = _json(path) or {}
    picture = path.with_suffix(".png")
    encoded = np.frombuffer(picture.read_bytes() if picture.exists() else b"", np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if encoded.size else None
    if image is None:
        raise ResultsFormatError(f"{path.stem}.png: not an image")
    try:
        outlines = tuple(
            Outline(
                nucleus_id=str(outline["nucleus_id"]),
                contour_yx=tuple((float(y), float(x)) for y, x in outline["contour"]),
                is_clipped=str(outline["nucleus_id"]) in clipped,
            )
            for outline in value["outlines"]
        )
        return OverviewSlice(int(value["z"]), np.asarray(image, np.uint8), outlines, float(value["pixel_nm"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsFormatError(f"{path.name}: not the outlines of a slice: {error!r}") from error


def _links(out: Path, nuclei: Sequence[NucleusRow]) -> tuple[Link, ...]:
    """Files beside the report that are there, relative to the page."""
    links = [Link(f"../{name}", name, note) for name, note in _LINKS if (out / name).exists()]
    for nucleus in nuclei:
        if volume_path(out, nucleus.nucleus_id).exists():
            where = f"nuclei/{nucleus.nucleus_id}/volume.ome.zarr"
            links.append(Link(f"../{where}", where, "image, classes and objects as OME-Zarr"))
    return tuple(links)
