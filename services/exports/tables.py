"""The tables of a run as CSV and Parquet, with the unit of every column said beside them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from services.exports.columns import unit_of


def write_csv(path: Path, table: pa.Table) -> None:
    """Write a table as CSV, UTF-8, its first line the names of the columns."""
    arrow_csv.write_csv(table, path, write_options=arrow_csv.WriteOptions(quoting_style="needed"))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet; each field's metadata say its `unit`."""
    fields = []
    for field in table.schema:
        unit = unit_of(field.name)
        fields.append(field.with_metadata({"unit": unit}) if unit else field)
    pq.write_table(table.cast(pa.schema(fields)), path, compression="zstd")


def write_columns(path: Path, tables: Sequence[tuple[str, pa.Table]]) -> None:
    """Write which tables there are, and the type and unit of each of their columns."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("table", "column", "type", "unit"))
        for name, table in tables:
            writer.writerows((name, field.name, str(field.type), unit_of(field.name)) for field in table.schema)
