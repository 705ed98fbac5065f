"""Evaluation of fabricated results against fabricated truth, with answers worked out by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr

from services.contracts.classes import LABEL_STYLES
from services.evaluation import evaluate, format_scores
from services.evaluation.metrics import LabelRangeError, ShapeMismatchError
from services.evaluation.reading import EvaluationInputError
from services.imaging.omezarr import CHROMOSOMES, CLASSES, OBJECTS, VolumeLayout, encode_metadata, encode_slab

Labels = np.ndarray[Any, Any]

SHAPE = (10, 14, 30)
VOXEL = (8.0, 4.0, 4.0)


@dataclass
class Scene:
    """Truth with nuclei as boxes of membrane round nucleoplasm, each with two chromosome rods."""

    classes: Labels = field(default_factory=lambda: np.zeros(SHAPE, np.uint8))
    nuclei: Labels = field(default_factory=lambda: np.zeros(SHAPE, np.uint16))
    bivalents: Labels = field(default_factory=lambda: np.zeros(SHAPE, np.uint8))
    chromosomes: Labels = field(default_factory=lambda: np.zeros(SHAPE, np.uint8))

    def add_nucleus(self, ident: int, z: int, y: int, x: int) -> None:
        """Put a nucleus of 6 x 8 x 8 voxels at its first corner; parts beyond the field are cut off."""
        first = np.array((z, y, x))
        for place in np.ndindex(6, 8, 8):
            voxel = tuple(int(index) for index in first + place)
            if all(0 <= index < size for index, size in zip(voxel, SHAPE, strict=True)):
                inner = tuple(int(index) for index in place)
                self.nuclei[voxel] = ident
                edge = any(index in (0, size - 1) for index, size in zip(inner, (6, 8, 8), strict=True))
                self.classes[voxel] = 5 if edge else 1
                if not edge and inner[1] in (2, 5) and inner[2] in (2, 3, 4, 5):
                    rod = 1 if inner[1] == 2 else 2
                    self.classes[voxel] = 2
                    self.bivalents[voxel] = rod
                    self.chromosomes[voxel] = 2 * rod - (inner[2] < 4)

    def write(self, folder: Path) -> Path:
        for name in ("classes", "nuclei", "bivalents", "chromosomes"):
            write_image(folder / name, getattr(self, name))
        return folder


def write_image(group: Path, array: Labels, scale: Sequence[float] = VOXEL) -> None:
    axes: list[Any] = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    transformations = [{"type": "scale", "scale": list(scale)}]
    datasets: list[Any] = [{"path": "0", "coordinateTransformations": transformations}]
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    root = zarr.open_group(group, mode="w", attributes={"ome": ome})
    root.create_array("0", data=array, chunks=(1, 14, 30))


@dataclass
class Prediction:
    """A results folder, nucleus by nucleus."""

    out: Path
    nuclei: list[dict[str, object]] = field(default_factory=list)
    objects: list[dict[str, object]] = field(default_factory=list)

    def add(
        self,
        nucleus_id: str,
        origin: tuple[int, int, int],
        classes: Labels,
        objects: Labels | None = None,
        voxel: tuple[float, float, float] = VOXEL,
        chromosomes: Labels | None = None,
        **row: object,
    ) -> None:
        """Put a volume whose first voxel is `origin` of the truth, and its rows."""
        place = (origin[0] * VOXEL[0], origin[1] * VOXEL[1], origin[2] * VOXEL[2])
        layout = VolumeLayout((classes.shape[1], classes.shape[2]), voxel, place, slab_planes=4, chunk_yx=8)
        files = encode_metadata(layout, len(classes), LABEL_STYLES, objects is not None, chromosomes is not None)
        for first in range(0, len(classes), 4):
            files |= encode_slab(layout, CLASSES, first, classes[first : first + 4])
            if objects is not None:
                files |= encode_slab(layout, OBJECTS, first, objects[first : first + 4])
            if chromosomes is not None:
                files |= encode_slab(layout, CHROMOSOMES, first, chromosomes[first : first + 4])
        for key, payload in files.items():
            path = self.out / "nuclei" / nucleus_id / "volume.ome.zarr" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload)
        self.nuclei.append({"nucleus_id": nucleus_id, "chromosome_count": None, "expected_chromosomes": None} | row)

    def add_chromosomes(self, nucleus_id: str, rank_of: Mapping[int, int]) -> None:
        for object_id, rank in rank_of.items():
            self.objects.append(
                {"nucleus_id": nucleus_id, "object_id": object_id, "class": "chromosome", "chromosome": rank}
            )

    def write(self) -> Path:
        counts = pa.schema(
            [("nucleus_id", pa.string()), ("chromosome_count", pa.int32()), ("expected_chromosomes", pa.int32())]
        )
        pq.write_table(pa.Table.from_pylist(self.nuclei, counts), self.out / "nuclei.parquet")
        columns = pa.schema(
            [("nucleus_id", pa.string()), ("object_id", pa.int64()), ("class", pa.string()), ("chromosome", pa.int32())]
        )
        pq.write_table(pa.Table.from_pylist(self.objects, columns), self.out / "objects.parquet")
        return self.out


@pytest.fixture
def scene() -> Scene:
    """Nuclei 1 and 2 are whole and touch one another, nucleus 3 is cut by the last column."""
    scene = Scene()
    scene.add_nucleus(1, z=2, y=3, x=2)
    scene.add_nucleus(2, z=1, y=3, x=10)
    scene.add_nucleus(3, z=3, y=2, x=25)
    return scene


@pytest.fixture
def prediction(tmp_path: Path) -> Prediction:
    (tmp_path / "out").mkdir()
    return Prediction(tmp_path / "out")


def window(
    scene: Scene, ident: int, origin: tuple[int, int, int], shape: tuple[int, int, int]
) -> tuple[Labels, Labels]:
    """Return the true classes and bivalents of one nucleus in a window that may reach beyond the field."""
    classes, bivalents = np.zeros(shape, np.uint8), np.zeros(shape, np.uint32)
    for place in np.ndindex(*shape):
        voxel = tuple(int(a + b) for a, b in zip(origin, place, strict=True))
        if all(0 <= i < n for i, n in zip(voxel, SHAPE, strict=True)) and scene.nuclei[voxel] == ident:
            classes[place], bivalents[place] = scene.classes[voxel], scene.bivalents[voxel]
    return classes, bivalents


def add_true_nucleus(scene: Scene, prediction: Prediction, ident: int, origin: tuple[int, int, int]) -> None:
    classes, bivalents = window(scene, ident, origin, (8, 12, 12))
    objects = np.where((classes == 2) & (bivalents > 0), bivalents + 40, 0).astype(np.uint32)
    prediction.add(f"n{ident}", origin, classes, objects, chromosome_count=2, expected_chromosomes=2)
    prediction.add_chromosomes(f"n{ident}", {41: 2, 42: 1})


ORIGINS = {1: (1, 1, 0), 2: (0, 1, 8), 3: (2, 0, 22)}


def add_truth(scene: Scene, prediction: Prediction, idents: Sequence[int] = (1, 2, 3)) -> None:
    for ident in idents:
        add_true_nucleus(scene, prediction, ident, ORIGINS[ident])


def json_of(truth: Path, out: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(json.dumps(evaluate(truth, out).as_json(), allow_nan=False))
    return parsed


def test_the_truth_scores_one(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_truth(scene, prediction)
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    assert list(scores)[:7] == [
        "classes", "f1_macro", "f1_micro", "f1_weighted", "f1_macro_without_exterior", "nuclei", "chromosomes",
    ]  # fmt: skip
    for name in ("exterior", "nucleoplasm", "chromosome", "nuclear_membrane"):
        score = scores["classes"][name]
        assert [score[key] for key in ("precision", "recall", "f1", "iou")] == [1.0] * 4
    assert scores["classes"]["nucleolus"]["f1"] is None
    assert scores["f1_macro"] == scores["f1_micro"] == scores["f1_weighted"] == 1.0
    assert scores["f1_macro_without_exterior"] == 1.0
    assert scores["nuclei"] == {"truth": 2, "found": 2, "missed": 0, "split": 0, "merged": 0}
    assert scores["clipped_nuclei"]["nuclei"] == {"truth": 1, "found": 1, "missed": 0, "split": 0, "merged": 0}
    assert scores["clipped_nuclei"]["f1_macro"] == 1.0
    perfect = {"adapted_rand_error": 0.0, "vi_split": 0.0, "vi_merge": 0.0, "dice": 1.0, "pq": 1.0}
    chromosomes = scores["chromosomes"]
    assert {name: chromosomes[name] for name in perfect} == perfect
    assert chromosomes["count_exact_fraction"] == 1.0
    assert chromosomes["bivalents"] == perfect
    assert [nucleus["nucleus_id"] for nucleus in scores["per_nucleus"]] == ["n1", "n2", "n3"]


def test_a_missed_whole_nucleus_counts_against_recall(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_truth(scene, prediction, [1, 3])
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    assert scores["nuclei"] == {"truth": 2, "found": 1, "missed": 1, "split": 0, "merged": 0}
    chromosome = scores["classes"]["chromosome"]
    assert (chromosome["precision"], chromosome["recall"]) == (1.0, 0.5)
    assert scores["chromosomes"]["count_exact_fraction"] == 0.5
    assert scores["chromosomes"]["adapted_rand_error"] == 0.0


def test_a_missed_clipped_nucleus_is_told_apart(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_truth(scene, prediction, [1, 2])
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    assert scores["f1_macro"] == 1.0
    assert scores["clipped_nuclei"]["nuclei"]["missed"] == 1
    assert scores["clipped_nuclei"]["classes"]["chromosome"]["recall"] == 0.0


def test_an_invented_nucleus_counts_against_precision(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_truth(scene, prediction)
    prediction.add("n9", (0, 0, 0), np.full((1, 1, 4), 2, np.uint8))
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    true_voxels = 2 * 4 * 2 * 4
    assert scores["classes"]["chromosome"]["precision"] == true_voxels / (true_voxels + 4)
    assert scores["classes"]["chromosome"]["recall"] == 1.0
    assert scores["invented"] == ["n9"]


def test_a_wrong_voxel_counts_once_for_each_class(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_truth(scene, prediction, [1, 3])
    classes, _ = window(scene, 2, ORIGINS[2], (8, 12, 12))
    classes[np.unravel_index(np.flatnonzero(classes == 2)[0], classes.shape)] = 4
    prediction.add("n2", ORIGINS[2], classes)
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    assert scores["classes"]["chromosome"]["recall"] == 63 / 64
    assert scores["classes"]["chromosome"]["f1"] == 126 / 127
    assert scores["classes"]["synaptonemal_complex"]["precision"] == 0.0


def test_planes_that_a_prediction_lacks_count_as_missing(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_truth(scene, prediction, [2, 3])
    origin = (4, *ORIGINS[1][1:])
    classes, _ = window(scene, 1, origin, (6, 12, 12))
    prediction.add("n1", origin, classes)
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    assert scores["nuclei"]["found"] == 2
    # Of the four planes with chromosome, the first is in the two planes that were cut off.
    assert scores["classes"]["chromosome"]["recall"] == (32 + 24) / 64


def test_a_split_nucleus_keeps_its_larger_part(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_truth(scene, prediction, [2, 3])
    classes, _ = window(scene, 1, ORIGINS[1], (8, 12, 12))
    first, second = classes.copy(), classes.copy()
    first[3:], second[:3] = 0, 0
    prediction.add("n1a", ORIGINS[1], first)
    prediction.add("n1b", ORIGINS[1], second)
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    assert scores["nuclei"] == {"truth": 2, "found": 2, "missed": 0, "split": 1, "merged": 0}
    assert scores["per_nucleus"][0]["nucleus_id"] == "n1b"
    assert scores["invented"] == []
    membrane = scores["classes"]["nuclear_membrane"]
    assert membrane["recall"] < 1.0
    assert membrane["precision"] < 1.0


def test_two_nuclei_in_one_volume_are_merged(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_truth(scene, prediction, [3])
    origin, shape = (0, 1, 0), (10, 12, 20)
    both = window(scene, 1, origin, shape)[0] + window(scene, 2, origin, shape)[0]
    prediction.add("n12", origin, both)
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    assert scores["nuclei"] == {"truth": 2, "found": 1, "missed": 1, "split": 0, "merged": 2}
    assert scores["classes"]["chromosome"]["precision"] == 0.5


def test_the_neighbour_in_the_window_is_exterior(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_truth(scene, prediction, [1, 3])
    classes, _ = window(scene, 2, ORIGINS[2], (8, 12, 12))
    neighbour, _ = window(scene, 1, ORIGINS[2], (8, 12, 12))
    assert neighbour.any()
    prediction.add("n2", ORIGINS[2], classes + neighbour)
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    assert scores["nuclei"]["found"] == 2
    assert scores["classes"]["nuclear_membrane"]["precision"] < 1.0


def test_merged_and_split_chromosomes_are_told_apart(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    add_true_nucleus(scene, prediction, 3, ORIGINS[3])
    for ident, rank_of in ((1, {41: 1, 42: 1}), (2, {41: 1, 42: 2, 43: 3})):
        classes, bivalents = window(scene, ident, ORIGINS[ident], (8, 12, 12))
        objects = np.where(classes == 2, bivalents + 40, 0).astype(np.uint32)
        if ident == 2:
            place = np.flatnonzero(objects == 42)[:8]
            objects.ravel()[place] = 43
        prediction.add(f"n{ident}", ORIGINS[ident], classes, objects, chromosome_count=len(set(rank_of.values())))
        prediction.add_chromosomes(f"n{ident}", rank_of)
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    merged, split, _ = scores["per_nucleus"]
    assert (merged["vi_split"], merged["vi_merge"]) == (0.0, 1.0)
    assert merged["adapted_rand_error"] > 0.3
    assert split["vi_merge"] == 0.0
    assert split["vi_split"] == pytest.approx(0.5)
    assert (merged["chromosomes_found"], split["chromosomes_found"]) == (1, 3)
    assert scores["chromosomes"]["count_exact_fraction"] == 0.0


def test_an_object_that_was_cut_is_scored_voxel_by_voxel(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    classes, _ = window(scene, 1, ORIGINS[1], (8, 12, 12))
    z, y, x = ORIGINS[1]
    place = (slice(z, z + 8), slice(y, y + 12), slice(x, x + 12))
    true_homologs = np.where(classes == 2, scene.chromosomes[place], 0).astype(np.uint8)
    one_object = (classes == 2).astype(np.uint32)
    count = len(np.unique(true_homologs[true_homologs > 0]))
    prediction.add("n1", ORIGINS[1], classes, one_object, chromosomes=true_homologs, chromosome_count=count,
                   expected_chromosomes=count)  # fmt: skip
    prediction.add_chromosomes("n1", {1: 1})
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    first = scores["per_nucleus"][0]
    assert (first["homologs"]["adapted_rand_error"], first["homologs"]["dice"], first["homologs"]["pq"]) == (
        0.0,
        1.0,
        1.0,
    )
    assert first["homologs"]["vi_merge"] == 0.0


def test_chromosomes_are_compared_with_what_the_run_was_told_to_expect(
    tmp_path: Path, scene: Scene, prediction: Prediction
) -> None:
    classes, _ = window(scene, 1, ORIGINS[1], (8, 12, 12))
    homologs = np.zeros(classes.shape, np.uint32)
    z, y, x = ORIGINS[1]
    true = scene.chromosomes[z : z + 8, y : y + 12, x : x + 12]
    homologs[: true.shape[0], : true.shape[1], : true.shape[2]] = np.where(classes == 2, true, 0)
    prediction.add("n1", ORIGINS[1], classes, homologs, chromosome_count=4, expected_chromosomes=4)
    prediction.add_chromosomes("n1", {1: 4, 2: 3, 3: 2, 4: 1})
    score = json_of(scene.write(tmp_path / "truth"), prediction.write())["per_nucleus"][0]
    assert (score["partition"], score["chromosomes_true"], score["adapted_rand_error"]) == ("chromosomes", 4, 0.0)


def test_a_prediction_at_half_the_resolution_lies_where_it_should(
    tmp_path: Path, scene: Scene, prediction: Prediction
) -> None:
    classes, _ = window(scene, 1, (0, 1, 0), (10, 10, 12))
    assert np.array_equal(window(scene, 1, (0, 1, 0), (10, 12, 12))[0][:, 10:], np.zeros((10, 2, 12)))
    prediction.add("n1", (0, 1, 0), classes[:, ::2, ::2], voxel=(8.0, 8.0, 8.0))
    blurred = classes[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    score = json_of(scene.write(tmp_path / "truth"), prediction.write())["per_nucleus"][0]
    right = np.count_nonzero((blurred == 2) & (classes == 2))
    assert score["f1"]["chromosome"] == 2 * right / (np.count_nonzero(blurred == 2) + np.count_nonzero(classes == 2))


def test_a_run_that_found_nothing_misses_everything(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    scores = json_of(scene.write(tmp_path / "truth"), prediction.write())
    assert scores["nuclei"] == {"truth": 2, "found": 0, "missed": 2, "split": 0, "merged": 0}
    assert scores["classes"]["chromosome"]["recall"] == 0.0
    assert scores["chromosomes"]["adapted_rand_error"] is None
    assert scores["chromosomes"]["count_exact_fraction"] == 0.0


def test_the_table_names_every_class_and_fits_the_terminal(
    tmp_path: Path, scene: Scene, prediction: Prediction
) -> None:
    add_truth(scene, prediction, [1, 3])
    prediction.add("n9", (0, 0, 0), np.full((1, 1, 4), 2, np.uint8))
    text = format_scores(evaluate(scene.write(tmp_path / "truth"), prediction.write()))
    assert max(map(len, text.splitlines())) <= 80
    assert "synaptonemal_complex           -         -         -         -" in text
    assert "whole nuclei: 1 of 2 found, 1 missed" in text
    assert "found where nothing is: n9" in text


def test_label_images_of_the_same_names_are_compared(tmp_path: Path) -> None:
    for folder, second in (("truth", 1), ("prediction", 0)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", np.array([[0, 2], [2, 2]], np.uint8))
        tifffile.imwrite(tmp_path / folder / "b.tif", np.array([[second, 1, 0]], np.uint8))
    scores = json_of(tmp_path / "truth", tmp_path / "prediction")
    assert scores["classes"]["nucleoplasm"]["recall"] == 0.5
    assert scores["f1_micro"] == 6 / 7
    assert scores["nuclei"] is None
    assert scores["chromosomes"] is None


def test_label_images_may_have_classes_of_their_own(tmp_path: Path) -> None:
    for folder in ("truth", "prediction"):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", np.array([[0, 1]], np.uint8))
    scores = evaluate(tmp_path / "truth", tmp_path / "prediction", {0: "background", 1: "mitochondrion"})
    assert list(scores.pixels.classes) == ["background", "mitochondrion"]


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        (np.zeros((2, 3), np.uint8), ShapeMismatchError),
        (np.full((3, 2), 9, np.uint8), LabelRangeError),
        (np.zeros((3, 2), np.float32), EvaluationInputError),
    ],
)
def test_label_images_that_do_not_fit_are_refused(tmp_path: Path, labels: Labels, error: type[ValueError]) -> None:
    for folder, image in (("truth", np.zeros((3, 2), np.uint8)), ("prediction", labels)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", image)
    with pytest.raises(error):
        evaluate(tmp_path / "truth", tmp_path / "prediction")


def test_label_images_without_a_partner_are_named(tmp_path: Path) -> None:
    for folder, name in (("truth", "a.tif"), ("prediction", "b.tif")):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / name, np.zeros((3, 2), np.uint8))
    with pytest.raises(EvaluationInputError, match=r"a\.tif"):
        evaluate(tmp_path / "truth", tmp_path / "prediction")


def test_folders_that_are_neither_truth_nor_results_are_refused(
    tmp_path: Path, scene: Scene, prediction: Prediction
) -> None:
    truth = scene.write(tmp_path / "truth")
    out = prediction.write()
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationInputError, match="no results"):
        evaluate(truth, tmp_path / "empty")
    with pytest.raises(EvaluationInputError, match="OME-Zarr"):
        evaluate(tmp_path / "empty", out)
    with pytest.raises(EvaluationInputError, match="not a folder"):
        evaluate(truth, tmp_path / "nowhere")


def test_truth_on_several_grids_is_refused(tmp_path: Path, scene: Scene, prediction: Prediction) -> None:
    truth = scene.write(tmp_path / "truth")
    shutil.rmtree(truth / "bivalents")
    write_image(truth / "bivalents", scene.bivalents, scale=(4.0, 4.0, 4.0))
    with pytest.raises(EvaluationInputError, match="grid"):
        evaluate(truth, prediction.write())
