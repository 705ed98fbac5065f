"""The result tables, as Parquet and as CSV, written row by row from sorted rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from services.results.files import replacing

Cell = str | int | float | bool | None

_ROW_GROUP = 10_000

NUCLEI_COLUMNS = pa.schema(
    [
        ("nucleus_id", pa.string()),
        ("z_first", pa.int32()),
        ("z_last", pa.int32()),
        ("clipped", pa.string()),
        ("state", pa.string()),
        ("volume_um3", pa.float64()),
        ("chromosome_count", pa.int32()),
        ("expected_chromosomes", pa.int32()),
        ("nucleolus_volume_um3", pa.float64()),
        ("chromosome_volume_um3", pa.float64()),
        ("sc_volume_um3", pa.float64()),
        ("membrane_volume_um3", pa.float64()),
        ("centroid_z_nm", pa.float64()),
        ("centroid_y_nm", pa.float64()),
        ("centroid_x_nm", pa.float64()),
        ("absent_planes", pa.int32()),
        ("bridged_planes", pa.int32()),
        ("mean_confidence", pa.float64()),
        ("continues", pa.string()),
        ("method", pa.string()),
        ("volume_low_um3", pa.float64()),
        ("volume_high_um3", pa.float64()),
        ("area_um2", pa.float64()),
        ("sphericity", pa.float64()),
        ("nucleolus_fraction", pa.float64()),
        ("chromatin_fraction", pa.float64()),
        ("nucleolus_eccentricity", pa.float64()),
        ("nucleolus_sphericity", pa.float64()),
        ("envelope_thickness_um", pa.float64()),
        ("sc_length_um", pa.float64()),
        ("sc_tracks", pa.int32()),
        ("sc_swellings", pa.int32()),
        ("stage", pa.string()),
        ("checks_failed", pa.int32()),
        ("neighbours", pa.int32()),
        ("nearest_neighbour_um", pa.float64()),
        ("unreliable_slices", pa.int32()),
    ]
)
OBJECTS_COLUMNS = pa.schema(
    [
        ("nucleus_id", pa.string()),
        ("object_id", pa.int64()),
        ("class", pa.string()),
        ("chromosome", pa.int32()),
        ("voxels", pa.int64()),
        ("volume_um3", pa.float64()),
        *((name, pa.int32()) for name in ("z0", "y0", "x0", "z1", "y1", "x1")),
        ("centroid_z_nm", pa.float64()),
        ("centroid_y_nm", pa.float64()),
        ("centroid_x_nm", pa.float64()),
        ("touches_border", pa.bool_()),
        ("open", pa.bool_()),
        ("bridged", pa.bool_()),
        ("unreliable_slices", pa.int32()),
    ]
)
SLICES_COLUMNS = pa.schema(
    [
        ("z", pa.int32()),
        ("reliable", pa.bool_()),
        ("troubles", pa.string()),
        ("severity", pa.float64()),
        ("absent", pa.string()),
        ("thickness_nm", pa.float64()),
        *(
            (name, pa.float64())
            for name in (
                "mean_grey",
                "contrast",
                "clipped_pct",
                "structure",
                "noise",
                "sharpness",
                "anisotropy",
                "stripe",
                "tear",
                "curtain_pct",
                "curtain_change_pct",
                "tail_pct",
                "tail_change_pct",
                "slow_change_grey",
                "shift_nm",
                "decorrelation",
                "sameness",
                "new_um2",
            )
        ),
    ]
)
REPAIRED_SLICES_COLUMNS = SLICES_COLUMNS.insert(
    SLICES_COLUMNS.get_field_index("absent") + 1, pa.field("repairs", pa.string())
)
"""Of a run in which slices were repaired."""
CHROMOSOMES_COLUMNS = pa.schema(
    [
        ("nucleus_id", pa.string()),
        ("chromosome", pa.int32()),
        ("complete", pa.bool_()),
        ("volume_um3", pa.float64()),
        ("volume_low_um3", pa.float64()),
        ("volume_high_um3", pa.float64()),
        ("area_um2", pa.float64()),
        ("sphericity", pa.float64()),
        ("sc_length_um", pa.float64()),
        ("sc_tracks", pa.int32()),
        ("sc_um_per_um3", pa.float64()),
        ("radial_position", pa.float64()),
        ("contacts", pa.int32()),
        ("contact_area_um2", pa.float64()),
        ("nucleolus_contact_um2", pa.float64()),
        ("envelope_contact_um2", pa.float64()),
        ("centroid_z_nm", pa.float64()),
        ("centroid_y_nm", pa.float64()),
        ("centroid_x_nm", pa.float64()),
        ("bivalent", pa.int32()),
        ("confidence", pa.float64()),
        ("sc_path_um", pa.float64()),
        ("sc_found", pa.float64()),
        ("unreliable_slices", pa.int32()),
    ]
)
TRACKS_COLUMNS = pa.schema(
    [
        ("nucleus_id", pa.string()),
        ("track", pa.int32()),
        ("chromosome", pa.int32()),
        ("object_id", pa.int64()),
        ("complete", pa.bool_()),
        ("branches", pa.bool_()),
        ("length_um", pa.float64()),
        ("length_low_um", pa.float64()),
        ("length_high_um", pa.float64()),
        ("width_um", pa.float64()),
        ("thickness_um", pa.float64()),
        ("axis_distance_um", pa.float64()),
        ("homolog_distance_um", pa.float64()),
        ("curvature_mean_per_um", pa.float64()),
        ("curvature_greatest_per_um", pa.float64()),
        ("twist_pitch_um", pa.float64()),
        ("twist_turns", pa.float64()),
        ("swellings", pa.int32()),
        ("near_end_envelope_um", pa.float64()),
        ("far_end_envelope_um", pa.float64()),
        ("middle_z_nm", pa.float64()),
        ("middle_y_nm", pa.float64()),
        ("middle_x_nm", pa.float64()),
    ]
)
CONTACTS_COLUMNS = pa.schema(
    [
        ("nucleus_id", pa.string()),
        ("first", pa.int32()),
        ("second", pa.string()),
        ("area_um2", pa.float64()),
        ("patches", pa.int32()),
        ("z_nm", pa.float64()),
        ("y_nm", pa.float64()),
        ("x_nm", pa.float64()),
    ]
)
CHECKS_COLUMNS = pa.schema(
    [
        ("nucleus_id", pa.string()),
        ("stage", pa.string()),
        ("check", pa.string()),
        ("state", pa.string()),
        ("detail", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("object_id", pa.int64()),
        ("chromosome", pa.int32()),
        ("z_nm", pa.float64()),
        ("y_nm", pa.float64()),
        ("x_nm", pa.float64()),
    ]
)
SUSPECTS_COLUMNS = pa.schema(
    [
        ("nucleus_id", pa.string()),
        ("rank", pa.int32()),
        ("doubt", pa.string()),
        ("chromosomes", pa.string()),
        ("score", pa.float64()),
        ("reason", pa.string()),
        ("z_nm", pa.float64()),
        ("y_nm", pa.float64()),
        ("x_nm", pa.float64()),
    ]
)
LEDGER_COLUMNS = ("z", "state", "reason", "file", "sha256")


class LedgerRowError(ValueError):
    """A ledger row lacks a column or has one too many."""


def cells(row: BaseModel) -> dict[str, Cell]:
    """Return a row's cells by column; several values in one cell are joined by commas."""
    fields = row.model_dump(mode="json", by_alias=True)
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in fields.items()}


def write_table(stem: Path, columns: pa.Schema, rows: Iterable[BaseModel]) -> None:
    """Write `<stem>.parquet` and `<stem>.csv`.

    Parameters
    ----------
    stem
        Path without extension.
    columns
        Names and types; every row has these fields, in this order.
    rows
        In their final order; read once, a group at a time.
    """
    with (
        replacing(stem.with_suffix(".parquet")) as parquet_part,
        replacing(stem.with_suffix(".csv")) as csv_part,
        pq.ParquetWriter(parquet_part, columns, compression="zstd") as parquet,
        csv_part.open("w", newline="", encoding="utf-8") as csv_stream,
    ):
        writer = csv.writer(csv_stream, lineterminator="\n")
        writer.writerow(columns.names)
        for group in _groups(map(cells, rows)):
            parquet.write_table(pa.Table.from_pylist(group, schema=columns))
            writer.writerows([_text(row[name]) for name in columns.names] for row in group)


def _groups(rows: Iterator[dict[str, Cell]]) -> Iterator[list[dict[str, Cell]]]:
    while group := list(islice(rows, _ROW_GROUP)):
        yield group


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def sorted_ledger(rows: Iterable[Mapping[str, str | int | None]]) -> list[list[str]]:
    """Return the ledger's rows as text, by z, file, state and the rest; rows without a z come first.

    Raises
    ------
    LedgerRowError
        If a row's columns are not those of the ledger.

    Examples
    --------
    >>> sorted_ledger([{"z": 10, "state": "done", "reason": None, "file": "b.tif", "sha256": "ef"},
    ...                {"z": 9, "state": "missing", "reason": "declared", "file": "", "sha256": ""}])
    [['9', 'missing', 'declared', '', ''], ['10', 'done', '', 'b.tif', 'ef']]
    """

    def place(row: Sequence[str]) -> tuple[int, str, Sequence[str]]:
        return (int(row[0]) if row[0] else -1, row[3], row)

    texts = []
    for row in rows:
        if set(row) != set(LEDGER_COLUMNS):
            raise LedgerRowError(f"a ledger row has the columns {', '.join(LEDGER_COLUMNS)}, not {', '.join(row)}")
        texts.append([_text(row[name]) for name in LEDGER_COLUMNS])
    return sorted(texts, key=place)


def write_ledger(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write the ledger as CSV, from rows that `sorted_ledger` returned."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(LEDGER_COLUMNS)
        writer.writerows(rows)
