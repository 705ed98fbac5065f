"""The results folder, assembled from messages and artefacts."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from pydantic import ValidationError

from services.contracts.messages import Message
from services.contracts.values import ObjectChange
from services.imaging.omezarr import CLASSES, GREY, OBJECTS
from services.results.assembly import ForeignRowError, Results, SeveralAcquisitionsError
from services.results.handler import ResultsHandler
from services.results.manifest import verify
from services.results.tables import LedgerRowError
from services.runtime.errors import TransientError
from services.runtime.handler import Received
from services.runtime.store.directory import DirectoryStore
from tests.support.result_messages import (
    closed,
    dead_letter,
    extended,
    finish_decision,
    finished,
    measured,
    missing,
    object_changed,
    object_row,
    opened,
    planes,
    prefix_of,
    put_volume,
    volume_closed,
)

LEDGER: list[dict[str, str | int | None]] = [
    {"z": 12, "state": "dead-lettered", "reason": "truncated_tiff", "file": "slice_00012.tif", "sha256": "cd" * 32},
    {"z": 9, "state": "missing", "reason": "declared", "file": "", "sha256": ""},
    {"z": 10, "state": "done", "reason": "", "file": "slice_00010.tif", "sha256": "ab" * 32},
    {"z": None, "state": "dead-lettered", "reason": "no_z", "file": "notes.tif", "sha256": "ef" * 32},
]
PROVENANCE = {"version": "0.1.0", "profile": "recommended", "numeric_profile": "exact"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    with closing(DirectoryStore(tmp_path / "store")) as opened_store:
        yield opened_store


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def a_run(store: DirectoryStore) -> list[Message]:
    """Nucleus n2 is measured, n1 has closed but is not measured, n3 is still open."""
    put_volume(store, prefix_of("n2"), planes(10, seed=1))
    put_volume(store, prefix_of("n1"), planes(8, seed=2))
    return [
        opened("n2"),
        object_changed("n2", ObjectChange.BORN, 14),
        extended("n2", 14),
        opened("n1"),
        object_changed("n2", ObjectChange.CLOSED, 20, voxels=9),
        missing(9, 9),
        closed("n2"),
        extended("n2", 18),
        volume_closed("n2"),
        dead_letter(),
        extended("n1", 18),
        closed("n1"),
        opened("n3", z_first=15, continues="n1"),
        finish_decision(),
        finished(),
        measured(store, "n2", (object_row("n2", 2), object_row("n2", 1))),
    ]


def finish(out: Path, store: DirectoryStore, messages: Iterable[Message]) -> Path:
    return Results(out, store).finish(messages, LEDGER, PROVENANCE)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def array(out: Path, nucleus_id: str, name: str) -> np.ndarray[Any, Any]:
    opened_array = zarr.open_group(out / "nuclei" / nucleus_id / "volume.ome.zarr", mode="r")[name]
    assert isinstance(opened_array, zarr.Array)
    return np.asarray(opened_array[...])


def test_volumes_hold_what_the_store_holds(out: Path, store: DirectoryStore) -> None:
    finish(out, store, a_run(store))
    expected = planes(10, seed=1)
    for name in (GREY, CLASSES, OBJECTS):
        assert np.array_equal(array(out, "n2", name), expected[name])
    assert array(out, "n1", GREY).shape == (8, 6, 9)
    assert not (out / "nuclei" / "n3").exists()


def test_on_one_file_system_the_bytes_are_shared_with_the_store(out: Path, store: DirectoryStore) -> None:
    finish(out, store, a_run(store))
    chunk = out / "nuclei" / "n2" / "volume.ome.zarr" / "0" / "c" / "0" / "0" / "0"
    assert chunk.samefile(store.path_of(f"{prefix_of('n2')}/volume.ome.zarr/0/c/0/0/0"))


class OnlyPort:
    """A store that gives bytes alone, as one on another machine does."""

    def __init__(self, store: DirectoryStore) -> None:
        self.keys, self.find, self.get, self.put = store.keys, store.find, store.get, store.put
        self.put_file, self.open, self.close = store.put_file, store.open, store.close


def test_a_store_without_files_gives_the_same_results(tmp_path: Path, store: DirectoryStore) -> None:
    messages = a_run(store)
    linked = finish(tmp_path / "linked", store, messages)
    copied = Results(tmp_path / "copied", OnlyPort(store)).finish(messages, LEDGER, PROVENANCE)
    assert copied.read_bytes() == linked.read_bytes()
    assert not list((tmp_path / "copied").rglob("*.part"))


def test_a_volume_grows_as_its_messages_come(out: Path, store: DirectoryStore) -> None:
    results = Results(out, store)
    put_volume(store, prefix_of("n2"), {name: plane[:4] for name, plane in planes(10, seed=1).items()})
    results.grow([extended("n2", 14)])
    assert array(out, "n2", CLASSES).shape == (4, 6, 9)
    put_volume(store, prefix_of("n2"), planes(10, seed=1))
    results.grow([extended("n2", 18), volume_closed("n2")])
    assert np.array_equal(array(out, "n2", CLASSES), planes(10, seed=1)[CLASSES])


def test_the_handler_answers_every_message_and_publishes_nothing(out: Path, store: DirectoryStore) -> None:
    put_volume(store, prefix_of("n2"), planes(10, seed=1))
    received = [Received("volumes", extended("n2", 14)), Received("volumes", volume_closed("n2"))]
    answers = ResultsHandler(Results(out, store)).handle(received)
    assert [answer.publications for answer in answers] == [(), ()]
    assert array(out, "n2", GREY).shape == (10, 6, 9)


def test_another_version_of_a_volume_replaces_the_earlier_one_whole(out: Path, store: DirectoryStore) -> None:
    finish(out, store, a_run(store))
    sparse = planes(6, seed=7)
    for plane in sparse.values():
        plane[:, :4] = 0
    put_volume(store, prefix_of("n2", "bb"), sparse)
    again = [extended("n2", 16, "bb"), measured(store, "n2", (object_row("n2", 1),), "bb")]
    finish(out, store, [*a_run(store), *again])
    assert np.array_equal(array(out, "n2", OBJECTS), sparse[OBJECTS])


def test_a_nucleus_that_is_no_longer_there_leaves_no_volume(out: Path, store: DirectoryStore) -> None:
    messages = a_run(store)
    finish(out, store, messages)
    finish(out, store, [m for m in messages if getattr(m, "nucleus_id", "") != "n1"])
    assert not (out / "nuclei" / "n1" / "volume.ome.zarr").exists()
    assert (out / "nuclei" / "n2" / "volume.ome.zarr").exists()


def test_the_nuclei_table_has_a_row_for_each_nucleus_whatever_is_known_of_it(out: Path, store: DirectoryStore) -> None:
    finish(out, store, a_run(store))
    n1, n2, n3 = rows(out / "nuclei.csv")
    assert (n1["nucleus_id"], n1["state"], n1["clipped"], n1["z_last"]) == ("n1", "closed", "Z_FIRST,X_FIRST", "19")
    assert (n1["absent_planes"], n1["bridged_planes"], n1["volume_um3"]) == ("1", "2", "")
    assert (n2["nucleus_id"], n2["volume_um3"], n2["chromosome_count"]) == ("n2", "61.5", "2")
    assert (n2["expected_chromosomes"], n2["method"]) == ("12", "cc26")
    assert (n3["nucleus_id"], n3["state"], n3["z_last"], n3["continues"]) == ("n3", "open", "", "n1")


def test_the_objects_table_is_sorted_and_typed(out: Path, store: DirectoryStore) -> None:
    finish(out, store, a_run(store))
    table = rows(out / "objects.csv")
    assert [(row["nucleus_id"], row["object_id"], row["class"]) for row in table] == [
        ("n2", "1", "chromosome"),
        ("n2", "2", "chromosome"),
    ]
    assert (table[0]["y0"], table[0]["touches_border"]) == ("-1", "false")
    parquet = pq.read_table(out / "objects.parquet").to_pylist()
    assert parquet[1]["object_id"] == 2
    assert parquet[0]["touches_border"] is False
    assert list(parquet[0]) == list(table[0])


def test_csv_and_parquet_say_the_same(out: Path, store: DirectoryStore) -> None:
    finish(out, store, a_run(store))
    for name in ("nuclei", "objects"):
        as_text = [
            {
                key: "" if value is None else str(value).lower() if value in (True, False) else str(value)
                for key, value in row.items()
            }
            for row in pq.read_table(out / f"{name}.parquet").to_pylist()
        ]
        assert [{k: v.lower() for k, v in row.items()} for row in rows(out / f"{name}.csv")] == [
            {k: v.lower() for k, v in row.items()} for row in as_text
        ]


def test_the_ledger_is_in_order_of_z_with_nameless_files_first(out: Path, store: DirectoryStore) -> None:
    finish(out, store, a_run(store))
    assert [(row["z"], row["state"]) for row in rows(out / "ledger.csv")] == [
        ("", "dead-lettered"),
        ("9", "missing"),
        ("10", "done"),
        ("12", "dead-lettered"),
    ]


def test_events_are_ordered_by_nucleus_and_z(out: Path, store: DirectoryStore) -> None:
    finish(out, store, a_run(store))
    assert [(event["event"], event["nucleus_id"], event["z"]) for event in events(out)] == [
        ("decision", None, 9),
        ("dead_letter", None, 12),
        ("acquisition_finished", None, 30),
        ("nucleus_opened", "n1", 10),
        ("nucleus_closed", "n1", 19),
        ("nucleus_opened", "n2", 10),
        ("object_born", "n2", 14),
        ("nucleus_closed", "n2", 19),
        ("object_closed", "n2", 20),
        ("nucleus_opened", "n3", 15),
    ]


def test_an_event_says_what_happened(out: Path, store: DirectoryStore) -> None:
    merged = object_changed("n2", ObjectChange.MERGED, 16)
    finish(out, store, [opened("n2"), merged, missing(9, 11), closed("n2")])
    decision, nucleus_opened, object_merged, nucleus_closed = events(out)
    assert (decision["kind"], decision["z"], decision["z_last"]) == ("SLICES_MISSING", 9, 11)
    assert nucleus_opened == {"event": "nucleus_opened", "nucleus_id": "n2", "z": 10, "continues": None}
    assert (object_merged["class"], object_merged["merged_into"]) == ("chromosome", "10-1-1")
    assert nucleus_closed["absent"] == [{"z": 11, "reason": "MISSING"}]


def test_how_a_run_went_leaves_no_trace_in_the_events(tmp_path: Path, store: DirectoryStore) -> None:
    once = finish(tmp_path / "a", store, [dead_letter(origin="slices/3/17", attempts=3), finished()])
    again = finish(tmp_path / "b", store, [finished(), dead_letter(origin="slices/0/2", attempts=1), finish_decision()])
    assert once.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("seed", range(5))
def test_arrival_order_and_repetition_change_nothing(tmp_path: Path, store: DirectoryStore, seed: int) -> None:
    messages = a_run(store)
    expected = finish(tmp_path / "in-order", store, messages).read_bytes()
    shuffler = random.Random(seed)
    shuffled = messages + shuffler.sample(messages, 6)
    shuffler.shuffle(shuffled)
    assert finish(tmp_path / "shuffled", store, shuffled).read_bytes() == expected


def test_finishing_twice_changes_nothing(out: Path, store: DirectoryStore) -> None:
    messages = a_run(store)
    finish(out, store, messages)
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    finish(out, store, messages)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_run_that_found_nothing_has_results_all_the_same(out: Path, store: DirectoryStore) -> None:
    finish(out, store, [])
    assert rows(out / "nuclei.csv") == []
    assert pq.read_table(out / "objects.parquet").num_rows == 0
    assert verify(out) == []


def test_provenance_knows_which_slices_went_in_but_not_their_names(tmp_path: Path, store: DirectoryStore) -> None:
    def digest_of(folder: str, ledger: list[dict[str, str | int | None]]) -> object:
        Results(tmp_path / folder, store).finish([], ledger, PROVENANCE)
        return json.loads((tmp_path / folder / "provenance.json").read_text())["inputs"]

    renamed = [row | {"file": f"renamed_{row['file']}"} for row in LEDGER]
    other = [row | {"sha256": "12" * 32} if row["z"] == 10 else row for row in LEDGER]
    assert digest_of("a", LEDGER) == digest_of("b", renamed)
    assert digest_of("a", LEDGER) != digest_of("c", other)


def test_rows_of_another_nucleus_are_refused(out: Path, store: DirectoryStore) -> None:
    with pytest.raises(ForeignRowError, match="n2"):
        finish(out, store, [measured(store, "n2", (object_row("n7", 1),))])


def test_rows_that_are_no_rows_are_refused(out: Path, store: DirectoryStore) -> None:
    message = measured(store, "n2", ())
    broken = message.model_copy(update={"objects": store.put("broken", b'[{"nucleus_id": "n2"}]')})
    with pytest.raises(ValidationError):
        finish(out, store, [broken])


def test_a_ledger_row_with_other_columns_is_refused(out: Path, store: DirectoryStore) -> None:
    with pytest.raises(LedgerRowError, match="seconds"):
        Results(out, store).finish([], [{"z": 1, "state": "done", "seconds": 4}], PROVENANCE)


def test_two_acquisitions_do_not_share_a_folder(out: Path, store: DirectoryStore) -> None:
    other = opened("n1").model_copy(update={"acquisition_id": "roi2"})
    with pytest.raises(SeveralAcquisitionsError, match="roi1, roi2"):
        finish(out, store, [opened("n1"), other])


def test_a_disk_that_cannot_be_written_is_an_outage(tmp_path: Path, store: DirectoryStore) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TransientError, match="disk"):
        finish(tmp_path / "file", store, a_run(store))
