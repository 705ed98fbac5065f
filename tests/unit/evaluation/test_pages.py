"""The verb on folders of label images: files in, scores, JSON and a page out."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.cli.app import app
from services.evaluation.comparison import ImageScore, LabelPair
from services.evaluation.examples import WRONG, data_address, pictures, rank
from services.evaluation.learning_curves import CurvesError, parse_curves, plot
from services.evaluation.manuscript import FIVE_CLASSES, FOUR_CLASSES, TABLE_1
from services.evaluation.reading import EvaluationInputError
from services.trainer.annotations.dataset import Manifest, Origin, Pair, new_dataset
from services.trainer.curves import Judgement, curves_csv

Array = np.ndarray[Any, Any]
NAMES = {0: "exterior", 1: "chromosome"}


def put(folder: Path, **images: Array) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        tifffile.imwrite(folder / f"{name}.tif", image)
    return folder


def square(last: int) -> Array:
    labels = np.zeros((24, 24), np.uint8)
    labels[4:last, 4:last] = 1
    return labels


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Prediction and truth: image `a` is right, `b` is half right."""
    prediction = put(tmp_path / "prediction", a=square(16), b=square(10))
    return prediction, put(tmp_path / "truth", a=square(16), b=square(16))


def called(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def scores_of(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    code, text = called(*arguments, "--json", tmp_path / "scores.json")
    assert code == 0, text
    return json.loads((tmp_path / "scores.json").read_text())  # type: ignore[no-any-return]


def test_prediction_and_truth_go_by_place_or_by_name(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    prediction, truth = folders
    placed = scores_of(tmp_path, prediction, truth)
    assert placed == scores_of(tmp_path, "--truth", truth, "--prediction", prediction)
    assert placed["classes"]["nucleoplasm"]["recall"] == (144 + 36) / 288
    assert placed["classes"]["nucleoplasm"]["precision"] == 1.0


@pytest.mark.parametrize("arguments", [(), ("p",), ("p", "t", "--truth", "t")])
def test_each_folder_is_said_once(arguments: tuple[str, ...]) -> None:
    assert called(*arguments)[0] == 2


def test_a_page_holds_everything_and_reaches_for_nothing(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    images = put(tmp_path / "images", a=np.full((24, 24), 90, np.uint8), b=np.full((24, 24), 90, np.uint8))
    curves = tmp_path / "curves.csv"
    curves.write_text(curves_csv([Judgement(4, 0.5, 0.4, 0.6, 0.1), Judgement(8, 0.3, 0.35, 0.7, 0.1)]))
    page = tmp_path / "report" / "page.html"
    made = (*folders, "--classes", "exterior,chromosome", "--report", page, "--images", images, "--curves", curves)
    assert called(*made)[0] == 0
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert text.count('src="data:image/webp') == 8
    assert text.count("<svg") == 2
    assert text.index("Worst images") < text.index("b.tif") < text.index("Best images") < text.index("a.tif")
    assert "0.9041" in text
    assert "0.7808" in text
    assert "62.5 %" in text
    assert called(*made)[0] == 0
    assert page.read_text() == text


def test_a_data_set_brings_its_own_names_and_images(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    prediction, _ = folders
    classes = {"background": 0, "mitochondrion": 1}
    with new_dataset(tmp_path / "annotated", classes) as draft:
        entries = [
            draft.add(Pair(name, np.full((24, 24), 80, np.uint8), square(16)), Origin(f"{name}.tif", f"{name}.tif"))
            for name in "ab"
        ]
        named = tuple({"class_id": label, "name": name} for name, label in classes.items())
        draft.finish(Manifest.model_validate({"classes": named, "images": entries}))
    page = tmp_path / "page.html"
    scores = scores_of(tmp_path, prediction, tmp_path / "annotated", "--report", page)
    assert scores["classes"]["mitochondrion"]["recall"] == (144 + 36) / 288
    assert page.read_text().count('src="data:image/webp') == 8


def test_unlabelled_pixels_do_not_count(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    prediction, truth = folders
    sparse = square(16)
    sparse[square(10) != sparse] = 255
    put(truth, b=sparse)
    scores = scores_of(tmp_path, prediction, truth)
    assert scores["f1_micro"] == 1.0
    assert scores["ignored_pixels"] == 144 - 36


def test_images_that_were_not_predicted_are_left_out_only_when_asked(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    prediction, truth = folders
    (prediction / "b.tif").unlink()
    with pytest.raises(ValueError, match=r"b\.tif; --partial"):
        called(prediction, truth)
    assert scores_of(tmp_path, prediction, truth, "--partial")["f1_micro"] == 1.0
    put(prediction, c=square(16))
    with pytest.raises(ValueError, match=r"c\.tif"):
        called(prediction, truth, "--partial")


@pytest.mark.parametrize("kind", ["float", "bytes", "every class"])
def test_confidences_may_be_of_one_class_or_of_all(tmp_path: Path, folders: tuple[Path, Path], kind: str) -> None:
    def of_kind(labels: Array) -> Array:
        if kind == "every class":
            return np.stack([np.where(labels == k, 0.8, 0.2) for k in (0, 1)]).astype(np.float32)
        return np.full(labels.shape, 0.8, np.float32) if kind == "float" else np.full(labels.shape, 204, np.uint8)

    folder = put(tmp_path / "confidence", a=of_kind(square(16)), b=of_kind(square(10)))
    scores = scores_of(tmp_path, *folders, "--confidence", folder)
    right = 1 - 108 / (2 * 576)
    assert scores["calibration"]["ece"] == pytest.approx(right - 0.8, abs=1e-6)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--classes", "one", "at least two"), ("--classes", "a,a", "different"), ("--thin", "hair", "classes are")],
)
def test_options_that_make_no_sense_are_refused(folders: tuple[Path, Path], option: str, value: str, said: str) -> None:
    code, text = called(*folders, option, value)
    assert code == 2
    assert said in " ".join(text.replace("│", " ").split())


def test_an_image_of_another_shape_is_refused(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    images = put(tmp_path / "images", a=np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match=r"a\.tif has shape \(5, 5\)"):
        called(*folders, "--images", images, "--report", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_errors_are_painted_where_prediction_and_truth_differ() -> None:
    truth, prediction = square(16), square(10)
    truth[0, 0] = 255
    drawn = pictures(LabelPair("a", truth, prediction), np.zeros((24, 24), np.uint8), NAMES, 100)
    assert list(drawn) == ["image", "truth", "prediction", "errors"]
    wrong = (truth != prediction) & (truth != 255)
    assert ((drawn["errors"] == np.array(WRONG) // 2).all(axis=2) == wrong).all()
    assert (drawn["image"] == 0).all()


def test_of_a_stack_the_fullest_plane_is_shown() -> None:
    stack = np.stack([square(5), square(16), square(8)])
    drawn = pictures(LabelPair("s", stack, stack), None, NAMES, 12)
    assert drawn["truth"].shape == (12, 12, 3)
    alone = pictures(LabelPair("s", stack[1], stack[1]), None, NAMES, 12)
    assert (drawn["truth"] == alone["truth"]).all()


def test_a_picture_comes_back_from_its_address() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 0] = 255
    held = np.frombuffer(base64.b64decode(data_address(picture).partition(",")[2]), np.uint8)
    back = cv2.imdecode(held, cv2.IMREAD_COLOR_RGB)
    assert back is not None
    assert np.abs(back.astype(int) - picture).max() < 8


@settings(deadline=None)
@given(values=st.lists(st.none() | st.floats(0, 1), max_size=9))
def test_no_image_is_both_best_and_worst(values: list[float | None]) -> None:
    shown = rank([ImageScore(f"{k}", 1, value) for k, value in enumerate(values)])
    worst, best = ([one.f1_macro or 0.0 for one in side] for side in (shown.worst, shown.best))
    assert not {one.name for one in shown.worst} & {one.name for one in shown.best}
    assert worst == sorted(worst)
    assert best == sorted(best, reverse=True)
    assert max(worst, default=0.0) <= min(best, default=1.0)
    assert len(worst) + len(best) == min(6, sum(value is not None for value in values))


def test_curves_are_read_as_training_writes_them() -> None:
    history = [Judgement(4, 0.5, 0.25, 0.75, 0.1), Judgement(8, 0.25, 0.5, 0.8, 0.01)]
    columns = parse_curves(curves_csv(history))
    assert columns["step"] == [4.0, 8.0]
    assert columns["validation_loss"] == [0.25, 0.5]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "step,train_loss,validation_loss,macro_f1\n",
        "a,b\n1,2\n",
        "step,train_loss,validation_loss,macro_f1\n1,2,x,4\n",
    ],
)
def test_what_is_no_table_of_curves_is_refused(text: str) -> None:
    with pytest.raises(CurvesError, match="no table of training curves"):
        parse_curves(text)


def test_a_value_that_is_no_number_breaks_the_line() -> None:
    drawn = plot([0.0, 1.0, 2.0], {"loss": [1.0, float("nan"), 0.5]}, {"loss": "#000000"})
    line = re.search(r'<path d="(M[^"]*)" fill="none" stroke="#000000"', drawn)
    assert line is not None
    assert line.group(1).count("M") == 2
    assert "nan" not in drawn


def test_the_best_published_networks_are_those_that_the_manuscript_names() -> None:
    tasks = (FOUR_CLASSES, FIVE_CLASSES)
    best = {task: max((n for n in TABLE_1 if n.task == task), key=lambda n: n.f1) for task in tasks}
    assert (best[FOUR_CLASSES].depth, best[FOUR_CLASSES].base, best[FOUR_CLASSES].f1) == (5, 64, 0.9041)
    assert (best[FIVE_CLASSES].depth, best[FIVE_CLASSES].base, best[FIVE_CLASSES].f1) == (5, 32, 0.7808)
    assert [sum(n.classes == count for n in TABLE_1) for count in (4, 5)] == [5, 5]


# Masks of 0 and 255


@pytest.mark.parametrize("masks", [{"truth"}, {"prediction"}, {"truth", "prediction"}])
def test_masks_are_scored_as_labels_where_two_classes_are_named(tmp_path: Path, masks: set[str]) -> None:
    of = {"prediction": {"a": square(16), "b": square(10)}, "truth": {"a": square(16), "b": 0 * square(16)}}
    labels = [put(tmp_path / "labels" / name, **images) for name, images in of.items()]
    written = [
        put(
            tmp_path / "masks" / name, **{each: image * (255 if name in masks else 1) for each, image in images.items()}
        )
        for name, images in of.items()
    ]
    named = ("--classes", "background,mitochondrion")
    assert scores_of(tmp_path, *written, *named) == scores_of(tmp_path, *labels, *named)
    code, text = called(*written, *named, "--report", tmp_path / "page.html")
    assert code == 0
    assert text.count("255 is taken for mitochondrion") == len(masks)


def test_a_truth_of_masks_is_refused_where_their_class_is_not_named(tmp_path: Path) -> None:
    prediction, truth = put(tmp_path / "labels", a=square(16)), put(tmp_path / "truth", a=255 * square(16))
    with pytest.raises(EvaluationInputError, match="If these are masks of one class, name the two: --classes"):
        called(prediction, truth)


@pytest.mark.parametrize("known", [0, 1])
def test_label_255_beside_others_stays_unlabelled(tmp_path: Path, known: int) -> None:
    sparse = square(16)
    sparse[:8] = 255
    truth = put(tmp_path / "truth", a=sparse, b=known * square(16))
    scores = scores_of(tmp_path, put(tmp_path / "labels", a=square(16), b=square(16)), truth, "--classes", "no,yes")
    assert scores["ignored_pixels"] == 8 * 24


def test_a_sparse_data_set_keeps_what_it_says_is_unlabelled(tmp_path: Path) -> None:
    sparse = np.zeros((24, 24), np.uint8)
    sparse[:8] = 255
    with new_dataset(tmp_path / "set", {"background": 0, "mitochondrion": 1}) as draft:
        entry = draft.add(Pair("a", square(16), sparse), Origin("a.tif", "a.tif", 0, "a", 0))
        classes = ({"class_id": 0, "name": "background"}, {"class_id": 1, "name": "mitochondrion"})
        draft.finish(Manifest.model_validate({"classes": classes, "images": (entry,)}))
    prediction = put(tmp_path / "labels", a=square(16))
    assert scores_of(tmp_path, prediction, tmp_path / "set")["ignored_pixels"] == 8 * 24
    named = ("--classes", "background,mitochondrion")
    assert scores_of(tmp_path, prediction, tmp_path / "set" / "labels", *named)["ignored_pixels"] == 8 * 24
