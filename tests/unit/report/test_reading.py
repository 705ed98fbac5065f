import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.core.common import JSON

from services.report.content import ObjectRow, ResultsFormatError
from services.report.reading import read_results, volume_path
from services.report.volumes import read_arrays
from tests.support.results_builder import (
    CHROMOSOME_IDS,
    VOXEL_NM,
    FakeNucleus,
    build_results,
    nucleus_columns,
    nucleus_volumes,
    object_columns,
    write_table,
    write_volume,
)

CHROMOSOMES = tuple(
    ObjectRow("n0001", object_id, "chromosome", rank, 10, 0.1) for rank, object_id in enumerate(CHROMOSOME_IDS, start=1)
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return build_results(tmp_path / "out", scores=True)


def test_everything_that_a_run_left_is_read(out: Path) -> None:
    data = read_results(out)
    assert data.acquisition == "toy"
    assert data.voxel_nm == VOXEL_NM
    assert data.missing == ()
    assert [c.chromosome for c in data.chromosomes_of("n0001")] == list(range(1, 13))
    assert data.timing is not None
    assert [(s.name, s.seconds, s.count) for s in data.timing.stages][1:] == [
        ("inference", 41.5, 120),
        ("report", 6.0, None),
    ]
    assert data.scores is not None
    assert {score.name: score.f1 for score in data.scores.classes}["nucleolus"] == 0.991
    assert dict(data.events) == {"nucleus_closed": 1, "nucleus_opened": 1}
    assert ("models.net1", "abc") in data.provenance
    assert [(s.z, s.image.shape, len(s.outlines)) for s in data.overview] == [(12, (120, 200), 1), (30, (120, 200), 1)]
    assert "../nuclei/n0001/volume.ome.zarr" in [link.href for link in data.links]


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    nuclei = (FakeNucleus("n0001"), FakeNucleus("n0002", {"clipped": "X_LAST,Z_FIRST", "bridged_planes": 3}))
    with_parquet = read_results(build_results(tmp_path / "a", nuclei))
    with_csv = read_results(build_results(tmp_path / "b", nuclei, parquet=False))
    assert with_parquet.nuclei == with_csv.nuclei
    assert with_parquet.objects == with_csv.objects


def test_an_open_nucleus_has_no_last_slice_and_no_measurements_yet(tmp_path: Path) -> None:
    columns = dict.fromkeys(("z_last", "volume_um3", "chromosome_count", "centroid_y_nm", "absent_planes"))
    out = build_results(tmp_path / "out", [FakeNucleus("n1", columns | {"state": "open"}, has_volume=False)])
    (nucleus,) = read_results(out).nuclei
    assert (nucleus.z_last, nucleus.volume_um3, nucleus.centroid_nm, nucleus.absent_planes) == (None, None, None, 0)
    assert not nucleus.is_closed


def test_outlines_of_nuclei_that_the_table_calls_clipped_are_clipped(tmp_path: Path) -> None:
    nuclei = [FakeNucleus("n1", {"clipped": "X_LAST"}, False), FakeNucleus("n2", {}, False)]
    outlines = read_results(build_results(tmp_path / "out", nuclei)).overview[0].outlines
    assert {outline.nucleus_id: outline.is_clipped for outline in outlines} == {"n1": True, "n2": False}


def test_the_table_of_nuclei_is_enough_and_what_else_is_not_there_is_said(tmp_path: Path) -> None:
    write_table(tmp_path, "nuclei", [nucleus_columns("n0001")], parquet=False)
    data = read_results(tmp_path)
    assert len(data.nuclei) == 1
    assert data.scores is None
    assert set(data.missing) == {
        "provenance", "objects and chromosomes", "ledger", "events", "timing", "slices with outlines"
    }  # fmt: skip


def test_a_score_without_a_value_is_read_as_none(out: Path) -> None:
    path = out / ".state" / "evaluation.json"
    value = json.loads(path.read_text())
    value["classes"]["exterior"] = dict.fromkeys(("precision", "recall", "f1", "iou"))
    value["nuclei"] = None
    value["per_nucleus"] = [
        {"truth_id": 3, "nucleus_id": None, "clipped": True, "f1": {"chromosome": None}, "partition": "bivalents"}
        | {"chromosomes_true": 6, "chromosomes_found": None}
    ]
    path.write_text(json.dumps(value))
    scores = read_results(out).scores
    assert scores is not None
    assert scores.classes[-1].f1 is None
    assert scores.nuclei == ()
    assert (scores.per_nucleus[0].truth_id, scores.per_nucleus[0].nucleus_id) == ("3", None)


def _table(**columns: object) -> Callable[[Path], None]:
    return lambda out: write_table(out, "nuclei", [nucleus_columns("n0001") | columns])


def _text(name: str, text: str) -> Callable[[Path], None]:
    def spoil(out: Path) -> None:
        (out / name).write_text(text, "utf-8")

    return spoil


def _gone(pattern: str) -> Callable[[Path], None]:
    def spoil(out: Path) -> None:
        for path in out.glob(pattern):
            path.unlink()

    return spoil


def _without(name: str) -> Callable[[Path], None]:
    def spoil(out: Path) -> None:
        write_table(out, "nuclei", [{k: v for k, v in nucleus_columns("n0001").items() if k != name}])

    return spoil


SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no table": (_gone("nuclei.*"), "not a results folder"),
    "parquet that is none": (_text("nuclei.parquet", "PAR"), r"nuclei\.parquet"),
    "unknown state": (_table(state="ajar"), "state is 'ajar'"),
    "an id that leaves the folder": (_table(nucleus_id="../n"), "not a folder name"),
    "missing column": (_without("z_first"), "no column 'z_first'"),
    "empty column that is needed": (_table(z_first=None), "'z_first' is empty"),
    "a number that is none": (_table(volume_um3="large"), "'volume_um3'"),
    "half a slice": (_table(z_last=7.5), "not a whole number"),
    "a ledger without states": (_text("ledger.csv", "z,reason\n1,none\n"), r"ledger\.csv, line 2"),
    "events that are no JSON": (_text("events.jsonl", '{"event": "a"}\nb\n'), r"events\.jsonl, line 2"),
    "events without a kind": (_text("events.jsonl", '{"z": 3}\n'), r"events\.jsonl, line 1"),
    "provenance that is no JSON": (_text("provenance.json", "{"), "not JSON"),
    "provenance that is a list": (_text("provenance.json", "[]"), "expected an object"),
    "a voxel without an edge": (_text("provenance.json", '{"voxel_nm": [16, 16]}'), "voxel_nm"),
    "timings without seconds": (_text(".state/report.json", '{"stages": {"a": {"count": 1}}}'), "not timings"),
    "scores without F1": (_text(".state/evaluation.json", '{"classes": {"a": {"precision": 1}}}'), "not the scores"),
    "a thumbnail that is no image": (_text(".state/overview/z000012.png", "text"), "not an image"),
    "a thumbnail that is gone": (_gone(".state/overview/z000012.png"), "not an image"),
    "outlines without a scale": (_text(".state/overview/z000012.json", '{"z": 1, "outlines": []}'), "not the outlines"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_malformed_is_refused_with_its_place(out: Path, name: str) -> None:
    spoil, message = SPOILED[name]
    spoil(out)
    with pytest.raises(ResultsFormatError, match=message):
        read_results(out)


def test_an_object_that_is_neither_open_nor_closed_is_refused(out: Path) -> None:
    write_table(out, "objects", [row | {"open": "perhaps"} for row in object_columns("n0001")])
    with pytest.raises(ResultsFormatError, match="neither true nor false"):
        read_results(out)


def test_arrays_are_cropped_to_what_is_labelled_with_chromosomes_by_rank(out: Path) -> None:
    _, classes, objects = nucleus_volumes()
    arrays = read_arrays(volume_path(out, "n0001"), CHROMOSOMES)
    assert arrays is not None
    box = tuple(slice(w.min(), w.max() + 1) for w in np.nonzero(classes))
    np.testing.assert_array_equal(arrays.classes, classes[box])
    expected = np.where(objects[box] > 0, objects[box] - CHROMOSOME_IDS[0] + 1, 0)
    np.testing.assert_array_equal(arrays.chromosomes, expected)
    assert arrays.voxel_nm == VOXEL_NM


def test_sections_lie_in_the_middle_and_show_what_is_there(out: Path) -> None:
    grey, classes, _ = nucleus_volumes()
    arrays = read_arrays(volume_path(out, "n0001"), CHROMOSOMES)
    assert arrays is not None
    xy, xz, yz = arrays.orthogonal
    assert (xy.name, xz.name, yz.name) == ("xy", "xz", "yz")
    # 320 nm of surroundings are 3 planes and 4 rows and columns.
    np.testing.assert_array_equal(xy.grey, grey[21, 1:59, 1:63])
    np.testing.assert_array_equal(xz.classes, classes[2:42, 29, 1:63])
    np.testing.assert_array_equal(yz.grey, grey[2:42, 1:59, 31])
    assert xz.pixel_nm == (100.0, 90.0)
    assert len(arrays.series) == 8


def test_a_large_volume_is_thinned_below_its_limit(out: Path) -> None:
    arrays = read_arrays(volume_path(out, "n0001"), CHROMOSOMES, limit=5000)
    whole = read_arrays(volume_path(out, "n0001"), CHROMOSOMES)
    assert arrays is not None
    assert whole is not None
    assert arrays.classes.size <= 5000
    assert arrays.chromosomes.shape == arrays.classes.shape
    steps = [round(t / w) for t, w in zip(arrays.voxel_nm, whole.voxel_nm, strict=True)]
    thinned = whole.classes[:: steps[0], :: steps[1], :: steps[2]]
    np.testing.assert_array_equal(arrays.classes, thinned)


def test_a_nucleus_whose_objects_are_not_known_yet_is_read_without_them(out: Path) -> None:
    shutil.rmtree(volume_path(out, "n0001") / "labels" / "objects")
    arrays = read_arrays(volume_path(out, "n0001"), ())
    assert arrays is not None
    assert arrays.classes.any()
    assert not arrays.chromosomes.any()


def test_a_volume_in_which_nothing_is_labelled_has_no_arrays(tmp_path: Path) -> None:
    grey, classes, objects = nucleus_volumes()
    write_volume(tmp_path / "v", grey, np.zeros_like(classes), np.zeros_like(objects))
    assert read_arrays(tmp_path / "v", ()) is None


def test_volumes_that_are_malformed_are_refused(tmp_path: Path, out: Path) -> None:
    path = volume_path(out, "n0001")
    zarr.open_group(path, mode="a").attrs.clear()
    with pytest.raises(ResultsFormatError, match="no scale"):
        read_arrays(path, ())
    shutil.rmtree(path / "labels" / "classes")
    with pytest.raises(ResultsFormatError, match="labels/classes/0"):
        read_arrays(path, ())
    with pytest.raises(ResultsFormatError, match="not a Zarr group"):
        read_arrays(tmp_path / "nothing", ())
    grey, classes, objects = nucleus_volumes()
    write_volume(tmp_path / "torn", grey[1:], classes, objects)
    with pytest.raises(ResultsFormatError, match="shapes of image and labels differ"):
        read_arrays(tmp_path / "torn", ())


def test_memory_does_not_grow_with_the_empty_canvas_round_a_nucleus(tmp_path: Path) -> None:
    shape = (260, 900, 900)  # 210 MB a byte array, 840 MB of object ids
    group = zarr.create_group(tmp_path / "v", zarr_format=3)
    datasets: list[JSON] = [{"coordinateTransformations": [{"type": "scale", "scale": [16.0, 16.0, 16.0]}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"datasets": datasets}]}
    for name, dtype in (("0", "uint8"), ("labels/classes/0", "uint8"), ("labels/objects/0", "uint32")):
        array = group.create_array(name, shape=shape, chunks=(32, 256, 256), dtype=dtype)
        array[130:180, 400:500, 420:520] = 2
    tracemalloc.start()
    arrays = read_arrays(tmp_path / "v", [ObjectRow("n", 2, "chromosome", 1, 1, 0.1)])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert arrays is not None
    assert arrays.chromosomes.shape == (50, 100, 100)
    assert peak_bytes < 150_000_000
