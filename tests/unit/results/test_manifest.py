"""The manifest: equal for equal content, different for any other."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from zarr.codecs import ZstdCodec

from services.results.assembly import Results
from services.results.content import ContentError, array_hash, file_hash
from services.results.manifest import ManifestError, read_manifest, verify, write_manifest
from services.runtime.store.directory import DirectoryStore
from tests.support.result_messages import measured, object_row, opened, planes, prefix_of, put_volume, volume_closed


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    ledger: list[dict[str, str | int | None]] = [
        {"z": 10, "state": "done", "reason": "", "file": "a.tif", "sha256": "ab" * 32},
        {"z": 11, "state": "done", "reason": "", "file": "b.tif", "sha256": "cd" * 32},
    ]
    with closing(DirectoryStore(folder / "store")) as store:
        put_volume(store, prefix_of("n1"), planes(10, seed=4))
        rows = (object_row("n1", 1), object_row("n1", 2))
        messages = [opened("n1"), volume_closed("n1"), measured(store, "n1", rows)]
        Results(folder / "out", store).finish(messages, ledger, {"version": "0.1.0"})
    return folder / "out"


@pytest.fixture
def out(finished_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished_run, tmp_path / "out")
    return tmp_path / "out"


def in_memory(array: np.ndarray[Any, Any], chunks: tuple[int, int, int], level: int = 1) -> zarr.Array[Any]:
    compressor = ZstdCodec(level=level)
    return zarr.create_array(store={}, data=array, chunks=chunks, compressors=[compressor])


def volume(out: Path) -> Path:
    return out / "nuclei" / "n1" / "volume.ome.zarr"


def test_every_result_is_listed_in_order_and_nothing_else(out: Path) -> None:
    (out / "report").mkdir()
    (out / "report" / "index.html").write_text("<html>12:30</html>")
    write_manifest(out)
    lines = (out / "MANIFEST.sha256").read_text().splitlines()
    assert [line[64:66] for line in lines] == ["  "] * len(lines)
    assert [line[66:] for line in lines] == [
        "checks.csv",
        "checks.parquet",
        "chromosomes.csv",
        "chromosomes.parquet",
        "contacts.csv",
        "contacts.parquet",
        "events.jsonl",
        "ledger.csv",
        "nuclei.csv",
        "nuclei.parquet",
        "nuclei/n1/volume.ome.zarr",
        "nuclei/n1/volume.ome.zarr/0",
        "nuclei/n1/volume.ome.zarr/labels/classes/0",
        "nuclei/n1/volume.ome.zarr/labels/objects/0",
        "objects.csv",
        "objects.parquet",
        "provenance.json",
        "slices.csv",
        "slices.parquet",
        "suspects.csv",
        "suspects.parquet",
        "tracks.csv",
        "tracks.parquet",
    ]


def test_untouched_results_agree_with_their_manifest(out: Path) -> None:
    assert verify(out) == []


@pytest.mark.parametrize("name", ["0", "labels/classes/0", "labels/objects/0"])
def test_one_changed_voxel_is_a_difference(out: Path, name: str) -> None:
    array = zarr.open_group(volume(out), mode="r+")[name]
    assert isinstance(array, zarr.Array)
    array[9, 5, 8] = np.asarray(array[9, 5, 8]) ^ 1
    assert [str(difference) for difference in verify(out)] == [f"nuclei/n1/volume.ome.zarr/{name}: changed"]


def test_another_place_in_the_acquisition_is_a_difference(out: Path) -> None:
    document = volume(out) / "zarr.json"
    document.write_text(document.read_text().replace("-8.0", "-4.0"))
    assert [difference.path for difference in verify(out)] == ["nuclei/n1/volume.ome.zarr"]


def test_other_chunks_and_compression_are_no_difference(out: Path) -> None:
    group = zarr.open_group(volume(out), mode="r+")
    array = group["labels/objects/0"]
    assert isinstance(array, zarr.Array)
    voxels = np.asarray(array[...])
    shutil.rmtree(volume(out) / "labels" / "objects" / "0")
    group.create_array("labels/objects/0", data=voxels, chunks=(1, 6, 2), compressors=None)
    assert verify(out) == []


def test_other_row_groups_and_compression_are_no_difference(out: Path) -> None:
    table = pq.read_table(out / "objects.parquet")
    before = (out / "objects.parquet").read_bytes()
    pq.write_table(table, out / "objects.parquet", row_group_size=1, compression="none")
    assert (out / "objects.parquet").read_bytes() != before
    assert verify(out) == []


def test_a_changed_cell_is_a_difference_in_every_kind_of_table(out: Path) -> None:
    table = pq.read_table(out / "objects.parquet")
    changed = table.set_column(4, table.schema.field(4), [[10, 11]])
    pq.write_table(changed, out / "objects.parquet")
    with (out / "ledger.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    rows[1][1] = "missing"
    with (out / "ledger.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    (out / "provenance.json").write_text(json.dumps({"version": "0.2.0"}))
    lines = (out / "events.jsonl").read_text().splitlines()
    (out / "events.jsonl").write_text("\n".join(lines[1:]))
    assert [str(difference) for difference in verify(out)] == [
        "events.jsonl: changed",
        "ledger.csv: changed",
        "objects.parquet: changed",
        "provenance.json: changed",
    ]


def test_swapped_rows_are_a_difference(out: Path) -> None:
    header, first, second = (out / "objects.csv").read_text().splitlines()
    (out / "objects.csv").write_text("\n".join([header, second, first]) + "\n")
    assert [str(difference) for difference in verify(out)] == ["objects.csv: changed"]


def test_a_missing_result_and_one_too_many_are_told_apart(out: Path) -> None:
    (out / "nuclei.csv").unlink()
    shutil.copytree(volume(out), out / "nuclei" / "n2" / "volume.ome.zarr")
    assert [(difference.path, difference.fact) for difference in verify(out)] == [
        ("nuclei.csv", "missing"),
        ("nuclei/n2/volume.ome.zarr", "unlisted"),
        ("nuclei/n2/volume.ome.zarr/0", "unlisted"),
        ("nuclei/n2/volume.ome.zarr/labels/classes/0", "unlisted"),
        ("nuclei/n2/volume.ome.zarr/labels/objects/0", "unlisted"),
    ]


def test_damaged_results_are_reported_and_the_others_still_checked(out: Path) -> None:
    chunk = next(path for path in sorted((volume(out) / "0" / "c").rglob("*")) if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:5])
    (out / "objects.parquet").write_bytes(b"PAR1")
    (out / "provenance.json").write_text("{}")
    assert [(difference.path, difference.fact) for difference in verify(out)] == [
        ("nuclei/n1/volume.ome.zarr", "unreadable"),
        ("objects.parquet", "unreadable"),
        ("provenance.json", "changed"),
    ]


@pytest.mark.parametrize("text", ["abc  nuclei.csv\n", f"{'a' * 64} nuclei.csv\n", f"{'a' * 64}  \n"])
def test_a_damaged_manifest_is_refused(out: Path, text: str) -> None:
    (out / "MANIFEST.sha256").write_text(text)
    with pytest.raises(ManifestError):
        verify(out)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no manifest"):
        read_manifest(tmp_path / "MANIFEST.sha256")


def test_a_file_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("not json\n")
    with pytest.raises(ContentError, match=r"rows\.jsonl"):
        file_hash(tmp_path / "rows.jsonl")


def test_the_hash_of_an_array_is_the_one_that_is_documented() -> None:
    array = np.zeros((33, 2, 3), np.uint32)
    array[32, 1, 2] = 258
    tile = array[32:33].astype("<u4").tobytes()
    expected = hashlib.sha256(b'{"dtype":"uint32","shape":[33,2,3]}\n' + b"[32,0,0]\n" + tile)
    assert array_hash(in_memory(array, (32, 2, 3))) == expected.hexdigest()


@settings(max_examples=15, deadline=None)
@given(
    array=arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4)), elements=st.integers(0, 2)
    ),
    data=st.data(),
)
def test_the_hash_depends_on_every_voxel_and_on_no_chunk(array: np.ndarray[Any, Any], data: st.DataObject) -> None:
    chunks = data.draw(st.tuples(st.integers(5, 40), st.integers(2, 4), st.integers(2, 4)))
    digest = array_hash(in_memory(array, (40, 4, 4)))
    assert array_hash(in_memory(array, chunks, level=9)) == digest
    place = tuple(data.draw(st.integers(0, size - 1)) for size in array.shape)
    changed = array.copy()
    changed[place] += 1
    assert array_hash(in_memory(changed, chunks)) != digest


def test_shape_and_dtype_are_part_of_the_content() -> None:
    hashes = {
        array_hash(in_memory(np.zeros(shape, dtype), (1, 1, 1)))
        for shape in ((1, 2, 3), (1, 3, 2))
        for dtype in (np.uint8, np.uint32)
    }
    assert len(hashes) == 4
