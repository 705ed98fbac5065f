"""Exporting: errors that say what to do, only what is missing is written, the same bytes every time."""

import csv
import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from services.exports.columns import unit_of
from services.exports.export import FORMATS, Request, UnknownFormatError, export
from services.exports.files import replacing
from services.exports.reading import (
    NotFinishedError,
    ResultsFormatError,
    UnknownLabelError,
    UnknownNucleusError,
    open_nucleus,
    open_results,
)
from tests.support.results_builder import FakeNucleus, build_results


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"neuroglancer"}))
def test_a_second_export_writes_nothing_and_a_fresh_one_the_same_bytes(out: Path, tmp_path: Path, name: str) -> None:
    first = export(Request(out, name, folder=tmp_path / "a"))
    again = export(Request(out, name, folder=tmp_path / "a"))
    fresh = export(Request(out, name, folder=tmp_path / "b"))
    assert first.written
    assert again.written == []
    assert again.kept == first.written
    assert hashes(first.folder) == hashes(fresh.folder)


@pytest.mark.slow
def test_neuroglancer_gets_the_same_bytes_too(out: Path, tmp_path: Path) -> None:
    folders = [export(Request(out, "neuroglancer", folder=tmp_path / name)).folder for name in "ab"]
    assert hashes(folders[0]) == hashes(folders[1])


def test_what_is_missing_of_an_export_is_written_again(out: Path, tmp_path: Path) -> None:
    outcome = export(Request(out, "csv", folder=tmp_path / "a"))
    (tmp_path / "a" / "objects.csv").unlink()
    assert export(Request(out, "csv", folder=tmp_path / "a")).written == ["objects.csv"]
    assert len(outcome.written) == 4


def test_a_nucleus_exported_alone_is_not_written_again_with_the_others(tmp_path: Path) -> None:
    out = build_results(tmp_path / "out", (FakeNucleus("n0001"), FakeNucleus("n0002")))
    alone = export(Request(out, "tiff", ("n0002",)))
    assert export(Request(out, "tiff")).kept == alone.written


def test_other_results_are_exported_anew(out: Path, tmp_path: Path) -> None:
    export(Request(out, "csv", folder=tmp_path / "a"))
    (out / "MANIFEST.sha256").write_text("1" * 64 + "  nuclei.csv\n")
    assert export(Request(out, "csv", folder=tmp_path / "a")).kept == []


def test_a_file_whose_writing_fails_does_not_appear(tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "a.bin") as part:
            part.write_bytes(b"half")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused_with_the_list(out: Path) -> None:
    with pytest.raises(UnknownFormatError, match=r"ome-zarr-0\.4.*swc"):
        export(Request(out, "dicom"))


def test_results_that_are_not_finished_are_refused(out: Path) -> None:
    (out / "MANIFEST.sha256").unlink()
    with pytest.raises(NotFinishedError, match="fibsem-nuclei finish"):
        export(Request(out, "csv"))


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsFormatError, match="not the results folder"):
        export(Request(tmp_path, "csv"))


def test_an_unknown_nucleus_is_refused_with_those_there_are(out: Path) -> None:
    with pytest.raises(UnknownNucleusError, match="n0001"):
        export(Request(out, "tiff", ("n0099",)))


def test_an_unknown_label_image_is_refused_with_those_there_are(out: Path) -> None:
    with pytest.raises(UnknownLabelError, match="classes, objects, chromosomes"):
        export(Request(out, "tiff", label="organelles"))


def test_tables_have_no_label_images(out: Path) -> None:
    with pytest.raises(UnknownLabelError, match="--label"):
        export(Request(out, "csv", label="classes"))


def test_a_nucleus_that_was_never_segmented_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    out = build_results(tmp_path / "out", (FakeNucleus("n0001"), FakeNucleus("n0002", has_volume=False)))
    outcome = export(Request(out, "tiff", label="classes"))
    assert {path.split("-")[0] for path in outcome.written} == {"n0001"}
    with pytest.raises(UnknownNucleusError, match="never segmented"):
        export(Request(out, "tiff", ("n0002",)))


def test_tables_say_their_units(out: Path) -> None:
    folder = export(Request(out, "parquet")).folder
    field = pq.read_schema(folder / "nuclei.parquet").field("volume_um3")
    assert field.metadata == {b"unit": b"um^3"}
    with (folder / "columns.csv").open(newline="") as stream:
        units = {(row["table"], row["column"]): row["unit"] for row in csv.DictReader(stream)}
    assert units["nuclei", "centroid_z_nm"] == "nm"
    assert units["objects", "voxels"] == "voxel"


def test_tables_keep_their_rows_and_columns(out: Path) -> None:
    folder = export(Request(out, "csv")).folder
    for name in ("nuclei", "objects"):
        with (folder / f"{name}.csv").open(newline="") as exported, (out / f"{name}.csv").open(newline="") as source:
            found, expected = list(csv.DictReader(exported)), list(csv.DictReader(source))
        assert [row["nucleus_id"] for row in found] == [row["nucleus_id"] for row in expected]
        assert list(found[0]) == list(expected[0])


def test_tables_can_be_cut_to_a_nucleus(tmp_path: Path) -> None:
    out = build_results(tmp_path / "out", (FakeNucleus("n0001"), FakeNucleus("n0002")))
    folder = export(Request(out, "parquet", ("n0002",))).folder
    assert set(pq.read_table(folder / "objects.parquet")["nucleus_id"].to_pylist()) == {"n0002"}


def test_tables_of_other_names_and_new_columns_come_too(out: Path) -> None:
    (out / "contacts.csv").write_text("nucleus_id,a,b,area_um2\nn0001,1,2,0.5\n")
    folder = export(Request(out, "parquet")).folder
    assert pq.read_schema(folder / "contacts.parquet").field("area_um2").metadata == {b"unit": b"um^2"}


def test_results_without_parquet_are_read_from_csv(tmp_path: Path) -> None:
    out = build_results(tmp_path / "out", parquet=False)
    nucleus = open_nucleus(open_results(out), "n0001")
    assert [image.name for image in nucleus.images] == ["grey", "classes", "objects", "chromosomes"]


@pytest.mark.parametrize(
    ("column", "unit"),
    [("sc_length_um", "um"), ("z_first", "voxel index"), ("method", ""), ("nucleolus_fraction", "1"), ("bridged", "")],
)
def test_a_unit_is_read_off_the_name(column: str, unit: str) -> None:
    assert unit_of(column) == unit
