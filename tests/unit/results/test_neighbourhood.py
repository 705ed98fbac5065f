"""Neighbours of nuclei, and the tables whose rows come with those of nuclei."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from services.contracts.messages import ComponentsMeasured, Message
from services.contracts.rows import OBJECT_ROWS, CheckRow, ContactRow, MeasuredNucleus, NucleusRow
from services.contracts.values import Side
from services.results.assembly import ForeignRowError, Results
from services.results.manifest import read_manifest, verify
from services.results.neighbourhood import with_neighbours
from services.runtime.store.directory import DirectoryStore
from tests.support.result_messages import ACQUISITION, nucleus_row, prefix_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    made = DirectoryStore(tmp_path / "store", reference_files=False)
    yield made
    made.close()


def at(name: str, z_um: float, x_um: float, clipped: tuple[Side, ...] = ()) -> NucleusRow:
    """A nucleus that is a ball of 2 um."""
    return NucleusRow(
        nucleus_id=name, z_first=0, z_last=9, state="closed", clipped=clipped, volume_um3=4 / 3 * np.pi * 8,
        centroid_z_nm=z_um * 1000, centroid_y_nm=0.0, centroid_x_nm=x_um * 1000,
    )  # fmt: skip


def test_nuclei_within_a_micrometre_of_each_other_are_neighbours() -> None:
    rows = with_neighbours([at("a", 0, 0), at("b", 3, 3.9), at("c", 0, 20)])
    assert [row.neighbours for row in rows] == [1, 1, 0]
    assert [row.nearest_neighbour_um for row in rows] == pytest.approx([4.92036, 4.92036, 16.37712], rel=1e-5)


def test_a_clipped_nucleus_is_a_neighbour_but_is_told_none() -> None:
    one, cut = with_neighbours([at("a", 0, 0), at("b", 0, 4.9, (Side.Z_LAST,))])
    assert (one.neighbours, cut.neighbours, cut.nearest_neighbour_um) == (1, None, None)


def test_a_nucleus_alone_has_no_nearest_one() -> None:
    (one,) = with_neighbours([at("a", 0, 0)])
    assert (one.neighbours, one.nearest_neighbour_um) == (0, None)


def test_a_nucleus_without_a_place_takes_no_part() -> None:
    unknown = NucleusRow(nucleus_id="b", z_first=0, state="open")
    assert with_neighbours([at("a", 0, 0), unknown])[1] is unknown


def check(nucleus_id: str, **change: object) -> CheckRow:
    fields = {
        "nucleus_id": nucleus_id, "stage": "pachytene", "check": "sc_length", "state": "failed", "detail": "length",
        "value": 12.5, "low": 25.0, "high": 55.0, "z_nm": 1.0, "y_nm": 2.0, "x_nm": 3.0,
    }  # fmt: skip
    return CheckRow.model_validate(fields | change)


def measured(store: DirectoryStore, nucleus_id: str, checks: tuple[CheckRow, ...]) -> Message:
    contact = ContactRow(
        nucleus_id=nucleus_id, first=1, second="nucleolus", area_um2=0.25, patches=2, z_nm=4.0, y_nm=5.0, x_nm=6.0
    )
    row = MeasuredNucleus(**dict(nucleus_row(nucleus_id)), checks=checks, contacts=(contact,))
    prefix = prefix_of(nucleus_id, "aa")
    return ComponentsMeasured(
        acquisition_id=ACQUISITION,
        nucleus_id=nucleus_id,
        method="cc26",
        expected_count=12,
        chromosome_count=2,
        volume_prefix=prefix,
        objects=store.put(f"{prefix}/objects.json", OBJECT_ROWS.dump_json(())),
        measurements=store.put(f"{prefix}/nucleus.json", row.model_dump_json().encode()),
    )


def test_rows_that_hang_on_nuclei_stand_in_tables_of_their_own_and_in_the_manifest(
    tmp_path: Path, store: DirectoryStore
) -> None:
    messages = [measured(store, name, (check(name),)) for name in ("n2", "n1")]
    out = tmp_path / "out"
    manifest = Results(out, store).finish(messages, [], {})
    with (out / "checks.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["nucleus_id"], row["state"], row["value"], row["object_id"]) for row in rows] == [
        ("n1", "failed", "12.5", ""),
        ("n2", "failed", "12.5", ""),
    ]
    assert pq.read_table(out / "contacts.parquet").to_pylist()[0] == {
        "nucleus_id": "n1", "first": 1, "second": "nucleolus", "area_um2": 0.25, "patches": 2,
        "z_nm": 4.0, "y_nm": 5.0, "x_nm": 6.0,
    }  # fmt: skip
    for name in ("checks", "contacts", "chromosomes", "tracks"):
        assert {f"{name}.csv", f"{name}.parquet"} <= set(read_manifest(manifest))
    assert verify(out) == []
    assert "checks" not in (out / "nuclei.csv").read_text().splitlines()[0].split(",")


def test_a_check_of_another_nucleus_is_refused(tmp_path: Path, store: DirectoryStore) -> None:
    with pytest.raises(ForeignRowError):
        Results(tmp_path / "out", store).finish([measured(store, "n1", (check("n2"),))], [], {})


def test_a_failed_check_must_say_where() -> None:
    with pytest.raises(ValidationError, match="where to look"):
        check("n1", y_nm=None)
    assert check("n1", state="passed", y_nm=None).state == "passed"
