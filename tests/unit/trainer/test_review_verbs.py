"""The verbs `annotations propose | review | accept | reject | extend` as a person types them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import services.inference
from services.cli.app import app
from services.imaging.tiff_faults import TiffError
from services.inference.pages import MixedDepthError
from services.inference.prediction import predict_folder
from services.runtime.segmenter.cards import read_card
from services.trainer.annotations.findings import NotADatasetError
from services.trainer.annotations.pseudo_labels import OtherClassesError
from services.trainer.annotations.queues import UnknownProposalError, read_queue
from services.trainer.splits import PseudoJudgeError
from tests.support.review_queues import CLASSES, contents, slice_and_truth, write_annotated, write_slices
from tests.support.training_requests import RECIPE

(CHROMATIN,) = (Path(services.inference.__path__[0]) / "models").glob("chromatin-*")
FRESH = (20, 60, 500)


def typed(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return " ".join(result.stdout.split())


def run(*arguments: object, status: int = 0) -> str:
    return typed("annotations", *arguments, status=status)


@pytest.fixture(scope="module")
def proposed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices, annotations of others, and a queue."""
    root = tmp_path_factory.mktemp("review")
    write_slices(root / "slices", FRESH)
    write_annotated(root / "annotated", range(0, 400, 40))
    said = run("propose", CHROMATIN, root / "slices", "--out", root / "queue", "--for", root / "annotated")
    assert f"3 proposals in {root / 'queue'}; look at {root / 'queue' / 'review.html'}" in said
    return root


@pytest.fixture
def root(proposed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(proposed, tmp_path / "root"))


def test_proposals_are_what_predict_says_where_the_network_is_sure(root: Path) -> None:
    predict_folder(CHROMATIN, root / "slices", root / "predicted")
    queue = read_queue(root / "queue")
    assert queue.manifest.networks == (read_card(CHROMATIN).address,)
    assert queue.manifest.class_ids == CLASSES
    for name, proposal in queue.proposals().items():
        labels, predicted = (
            tifffile.imread(path) for path in (queue.proposed_labels(name), root / "predicted" / f"{name}.tif")
        )
        assert 0 < proposal.unlabelled_share < 0.9
        np.testing.assert_array_equal(labels[labels != 255], predicted[labels != 255])
        np.testing.assert_array_equal(labels == 255, queue.doubt(name) > 26)


def test_proposing_again_changes_nothing_and_loses_no_decision(root: Path) -> None:
    run("accept", root / "queue", "n1_z0020", "--by", "maria")
    before = contents(read_queue(root / "queue"))
    run("propose", CHROMATIN, root / "slices", "--out", root / "queue", "--for", root / "annotated")
    assert contents(read_queue(root / "queue")) == before


def test_review_shows_what_waits_and_what_was_decided(root: Path) -> None:
    assert "3 waiting, 0 accepted, 0 rejected" in run("review", root / "queue")
    run("accept", root / "queue", "n1_z0020", "n1_z0060", "--by", "maria")
    said = run("reject", root / "queue", "n1_z0060", "--by", "jon", "--reason", "axis doubled")
    assert said == "n1_z0060: rejected (accepted by maria before, which stays on record)"
    said = run("review", root / "queue")
    assert "1 waiting, 1 accepted, 1 rejected" in said
    assert "rejected by jon" in (root / "queue" / "review.html").read_text()
    told = json.loads(run("review", root / "queue", "--json"))
    states = {image["name"]: image["state"] for image in told["images"]}
    assert states == {"n1_z0500": "waiting", "n1_z0020": "accepted", "n1_z0060": "rejected"}
    (both,) = [image["decisions"] for image in told["images"] if image["name"] == "n1_z0060"]
    assert [(made["verdict"], made["by"], made["reason"]) for made in both] == [
        ("accepted", "maria", ""),
        ("rejected", "jon", "axis doubled"),
    ]
    assert all(made["at"].endswith("Z") for made in both)
    assert told["without_proposal"] == 0
    assert told["queue"]["least_confidence"] == 0.9


def test_an_unfinished_queue_says_how_many_images_wait_for_a_proposal(root: Path) -> None:
    (root / "queue" / "proposed" / "n1_z0500.json").unlink()
    assert "1 images have no proposal yet" in run("review", root / "queue")
    assert json.loads(run("review", root / "queue", "--json"))["without_proposal"] == 1


def test_what_was_accepted_extends_a_data_set_and_splits_say_so(root: Path) -> None:
    tifffile.imwrite(root / "mine.tif", slice_and_truth(60)[1])
    run("accept", root / "queue", "n1_z0020", "n1_z0500", "--by", "maria")
    said = run(
        "accept", root / "queue", "n1_z0060", "--by", "maria", "--corrected", root / "mine.tif", "--reason", "redrawn"
    )
    assert said == "n1_z0060: accepted, corrected"
    said = run("extend", root / "annotated", root / "queue", "--out", root / "extended")
    assert "3 images are pseudo-labelled: they are learned from and never judge" in said
    page = (root / "extended" / "report.html").read_text()
    assert page.count('<span class="part">pseudo-labelled</span>') == 3
    assert "corrected and accepted by maria" in page
    said = run("split", root / "extended", "--out", root / "split.json", "--distance-nm", "80", "--seed", 3)
    assert "of them pseudo-labelled" in said
    made = json.loads((root / "split.json").read_text())
    assert {"n1_z0020", "n1_z0060", "n1_z0500"} <= {*made["training"], *made["left_out"]}
    run("check", root / "extended", "--split", root / "split.json", "--distance-nm", "80")
    made["test"] = [*made["test"], "n1_z0500"]
    made["training"] = [name for name in made["training"] if name != "n1_z0500"]
    (root / "split.json").write_text(json.dumps(made))
    with pytest.raises(PseudoJudgeError, match="only annotations judge"):
        run("check", root / "extended", "--split", root / "split.json")


def test_pseudo_labels_are_no_truth_to_evaluate_by(root: Path) -> None:
    run("accept", root / "queue", "n1_z0020", "--by", "maria")
    run("extend", root / "annotated", root / "queue", "--out", root / "extended", "--no-report")
    predict_folder(CHROMATIN, root / "extended" / "images", root / "predicted")
    scores = root / "scores.json"
    said = typed("evaluate", root / "predicted", root / "extended", "--json", scores, "--resamples", 0)
    assert f"1 pseudo-labelled images of {root / 'extended'} are no truth and are left out" in said
    by_folder = typed("evaluate", root / "predicted", root / "extended" / "labels", "--resamples", 0)
    assert "1 pseudo-labelled images" in by_folder
    plain = root / "plain.json"
    (root / "predicted" / "n1_z0020.tif").unlink()
    typed("evaluate", root / "predicted", root / "annotated", "--json", plain, "--resamples", 0)
    assert json.loads(scores.read_text()) == json.loads(plain.read_text())
    for truth in (root / "queue", root / "queue" / "proposals"):
        with pytest.raises(NotADatasetError, match="proposals are no annotations"):
            typed("evaluate", root / "predicted", truth)


def test_a_queue_reaches_neither_training_nor_an_import(root: Path) -> None:
    recipe = root / "recipe.toml"
    recipe.write_text(RECIPE.replace('"labelled"', '"queue"'))
    with pytest.raises(
        NotADatasetError, match=r"look at them .* accept those that are right .* \(annotations extend\)"
    ):
        typed("train", recipe, "--out", root / "models", "--cpu")
    (root / "map.toml").write_text('[values]\n0 = "exterior"\n1- = "nucleoplasm"\n')
    with pytest.raises(NotADatasetError, match="proposals are no annotations"):
        run(
            *("import", root / "slices", "--masks", root / "queue" / "proposals"),
            *("--map", root / "map.toml", "--out", root / "imported"),
        )
    with pytest.raises(NotADatasetError, match="proposals are no annotations"):
        run("split", root / "queue", "--out", root / "split.json")


def test_a_network_that_lacks_a_class_of_the_data_set_is_refused_before_it_proposes(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", FRESH)
    write_annotated(tmp_path / "annotated", [400], CLASSES | {"synaptonemal_complex": 4})
    with pytest.raises(OtherClassesError, match=r"chromatin-.* only the data set has 4 synaptonemal_complex"):
        run("propose", CHROMATIN, slices, "--out", tmp_path / "queue", "--for", tmp_path / "annotated")
    assert not (tmp_path / "queue").exists()


@pytest.mark.parametrize(
    ("image", "fault", "said"),
    [
        (np.zeros((40, 40), np.float32), TiffError, r"n1_z0600\.tif: pixels have \[32\] bits"),
        pytest.param(
            np.indices((40, 40, 3), np.uint8)[2],
            TiffError,
            r"n1_z0600\.tif: channels 0 and 1 differ",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            np.arange(1600, dtype=np.uint16).reshape(40, 40), MixedDepthError, "8 and 16 bits", marks=pytest.mark.slow
        ),
    ],
    ids=["fractions", "colours", "two depths"],
)
def test_images_that_cannot_be_labelled_are_named(
    tmp_path: Path, image: np.ndarray[tuple[int, ...], np.dtype[np.generic]], fault: type[Exception], said: str
) -> None:
    slices = write_slices(tmp_path / "slices", FRESH)
    tifffile.imwrite(slices / "n1_z0600.tif", image)
    with pytest.raises(fault, match=said):
        run("propose", CHROMATIN, slices, "--out", tmp_path / "queue")
    assert not (tmp_path / "queue" / "proposed").exists()


def test_names_that_are_not_there_and_decisions_of_nobody_are_refused(root: Path) -> None:
    with pytest.raises(UnknownProposalError, match="annotations review"):
        run("accept", root / "queue", "n1_z0021", "--by", "maria")
    run("accept", root / "queue", "n1_z0020", status=2)
    run("reject", root / "queue", "n1_z0020", "--by", "maria", status=2)
    assert read_queue(root / "queue").decisions() == ()


@pytest.mark.parametrize("verb", ["propose", "review", "accept", "reject", "extend"])
def test_every_verb_has_examples(verb: str) -> None:
    assert f"fibsem-nuclei annotations {verb}" in run(verb, "--help")


def assert_reported(model: Path) -> None:
    """The page beside a network has its curves and test images, and the scores that its card has."""
    card, page = json.loads((model / "card.json").read_text()), (model / "report.html").read_text()
    assert f"<h1>{model.name}</h1>" in page
    assert page.count("<svg") == 2
    shown = set(re.findall(r"<h3>\d+-(\S+)\.tif", page))
    assert shown
    assert shown <= set(card["scores"]["images"])
    for score in card["scores"]["classes"]:
        assert f"{score['f1']:.3f}" in page, score


@pytest.mark.slow
def test_a_trained_network_proposes_a_person_accepts_and_another_one_learns(tmp_path: Path) -> None:
    write_annotated(tmp_path / "labelled", range(0, 480, 40))
    write_slices(tmp_path / "slices", range(1000, 1200, 40))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace('kind = "field-mean-sd"', 'kind = "field-mean-sd"\nfirst_slices = 5'))
    typed("train", recipe, "--out", tmp_path / "models", "--cpu", "--threads", 1)
    (teacher,) = (tmp_path / "models").glob("chromatin-*")
    assert_reported(teacher)
    common = ("--for", tmp_path / "labelled", "--least-confidence", 0.6)
    run("propose", teacher, tmp_path / "slices", "--out", tmp_path / "queue", *common)
    names = [path.stem for path in sorted((tmp_path / "queue" / "proposals").iterdir())]
    run("accept", tmp_path / "queue", *names[:3], "--by", "maria")
    run("extend", tmp_path / "labelled", tmp_path / "queue", "--out", tmp_path / "extended")
    recipe.write_text(recipe.read_text().replace('"labelled"', '"extended"'))
    said = typed("train", recipe, "--out", tmp_path / "students", "--cpu", "--threads", 1)
    assert "3 of them pseudo-labelled; only annotated images judge" in said
    (student,) = (tmp_path / "students").glob("chromatin-*")
    told = json.loads((student / "card.json").read_text())
    (source,) = told["training_data"]
    assert source["pseudo_labels"] == {"images": names[:3], "networks": [teacher.name], "corrected": 0}
    assert told["scores"]["images"] == json.loads((teacher / "card.json").read_text())["scores"]["images"]
