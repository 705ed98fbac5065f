"""Accepted proposals beside annotations: they are learned from, are said to be what they are, and judge nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.model_card import AnnotatedScores, AnnotatedSource, PseudoLabels
from services.contracts.values import VoxelSize
from services.runtime.segmenter.cards import read_card
from services.trainer.annotated import dataset_hash, divided, samples_of
from services.trainer.annotations.dataset import (
    AnnotatedDataset,
    Manifest,
    read_dataset,
    verify,
)
from services.trainer.annotations.extending import (
    ExtensionOrder,
    NothingAcceptedError,
    OtherPixelsError,
    extend,
)
from services.trainer.annotations.findings import FindingKind, LabelsExistError, NotADatasetError
from services.trainer.annotations.pseudo_labels import OtherClassesError, ProposalOrder, propose
from services.trainer.annotations.queues import DamagedQueueError, ReviewQueue
from services.trainer.annotations.reviewing import Reviewer, accept, reject
from services.trainer.datasets import Specimen
from services.trainer.runs import Workplace, train
from services.trainer.splits import (
    PseudoJudgeError,
    Sample,
    Split,
    SplitError,
    SplitRule,
    leaks,
    split_by_block,
    split_by_image,
    split_by_nucleus,
    split_by_place,
)
from tests.support.review_queues import CLASSES, GreyProposer, slice_and_truth, write_annotated, write_slices

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
MARIA = Reviewer("maria", NOW, "as I see it")
ANNOTATED = tuple(range(0, 400, 40))
FRESH = (20, 60, 101, 500, 540)
Divide = Callable[[list[Sample], SplitRule], Split]
KINDS: tuple[Divide, ...] = (split_by_place, split_by_nucleus, split_by_block, split_by_image)


@pytest.fixture
def annotated(tmp_path: Path) -> AnnotatedDataset:
    return write_annotated(tmp_path / "annotated", ANNOTATED)


@pytest.fixture
def queue(tmp_path: Path) -> ReviewQueue:
    return propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(write_slices(tmp_path / "slices", FRESH)))


def extended(annotated: AnnotatedDataset, queue: ReviewQueue, folder: Path) -> AnnotatedDataset:
    return extend(ExtensionOrder(annotated, [queue], folder))


# Into a data set


def test_only_what_was_accepted_at_last_reaches_a_data_set(
    annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path
) -> None:
    accept(queue, ["n1_z0020", "n1_z0060", "n1_z0500"], MARIA)
    reject(queue, ["n1_z0060", "n1_z0540"], MARIA)
    reject(queue, ["n1_z0101"], MARIA)
    accept(queue, ["n1_z0101"], MARIA)
    made = extended(annotated, queue, tmp_path / "extended")
    assert made.manifest.pseudo_labelled == ("n1_z0020", "n1_z0101", "n1_z0500")
    assert len(made.manifest.images) == len(ANNOTATED) + 3
    assert list(verify(made)) == []
    for name in made.manifest.pseudo_labelled:
        pair = made.load(name)
        np.testing.assert_array_equal(pair.image_yx, queue.image(name))
        np.testing.assert_array_equal(pair.labels_yx, tifffile.imread(queue.proposed_labels(name)))


def test_a_data_set_says_of_each_image_who_proposed_and_who_accepted(
    annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "mine.tif", slice_and_truth(60)[1])
    accept(queue, ["n1_z0020"], MARIA)
    accept(queue, ["n1_z0060"], Reviewer("jon", NOW), tmp_path / "mine.tif")
    extended(annotated, queue, tmp_path / "extended")
    said = json.loads((tmp_path / "extended" / "dataset.json").read_text())["images"]
    labels = {image["name"]: image["pseudo_label"] for image in said if "pseudo_label" in image}
    common = {"queue": "queue", "networks": ["grey-0123456789ab"], "least_confidence": 0.9}
    at = "2026-03-04T05:06:00Z"
    assert labels == {
        "n1_z0020": common | {"corrected": False, "accepted_by": "maria", "accepted_at": at, "reason": "as I see it"},
        "n1_z0060": common | {"corrected": True, "accepted_by": "jon", "accepted_at": at, "reason": ""},
    }
    assert sum("pseudo_label" not in image for image in said) == len(ANNOTATED)
    made = read_dataset(tmp_path / "extended")
    np.testing.assert_array_equal(made.load("n1_z0060").labels_yx, slice_and_truth(60)[1])


def test_annotations_keep_every_byte_and_both_inputs_stay(
    annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path
) -> None:
    accept(queue, ["n1_z0020"], MARIA)
    before = {path: path.read_bytes() for path in annotated.folder.rglob("*.*")}
    made = extended(annotated, queue, tmp_path / "extended")
    assert {path: path.read_bytes() for path in annotated.folder.rglob("*.*")} == before
    for entry in annotated.manifest.images:
        assert made.entry(entry.name) == entry
        for part in ("images", "labels"):
            assert (made.folder / part / f"{entry.name}.tif").read_bytes() == before[
                annotated.folder / part / f"{entry.name}.tif"
            ]


def test_a_data_set_without_pseudo_labels_is_written_and_hashed_as_ever(annotated: AnnotatedDataset) -> None:
    text = (annotated.folder / "dataset.json").read_text()
    assert "pseudo" not in text
    assert Manifest.model_validate_json(text) == annotated.manifest


def test_the_hash_of_a_data_set_tells_annotations_from_pseudo_labels(
    annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path
) -> None:
    accept(queue, ["n1_z0020"], MARIA)
    made = extended(annotated, queue, tmp_path / "extended")
    bare = [image.model_copy(update={"pseudo_label": None}) for image in made.manifest.images]
    drawn = AnnotatedDataset(made.folder, made.manifest.model_copy(update={"images": tuple(bare)}))
    assert len({dataset_hash(one) for one in (annotated, made, drawn)}) == 3


def test_an_image_that_is_annotated_meanwhile_keeps_its_annotation(queue: ReviewQueue, tmp_path: Path) -> None:
    accept(queue, ["n1_z0020", "n1_z0060"], MARIA)
    meanwhile = write_annotated(tmp_path / "meanwhile", [*ANNOTATED, 20])
    made = extended(meanwhile, queue, tmp_path / "extended")
    assert made.manifest.pseudo_labelled == ("n1_z0060",)
    (finding,) = [one for one in made.manifest.findings if one.kind is FindingKind.DUPLICATE_IMAGE]
    assert finding.file == "n1_z0020.tif"
    np.testing.assert_array_equal(made.load("n1_z0020").labels_yx, slice_and_truth(20)[1])


def test_another_picture_of_a_name_that_is_taken_gets_a_name_of_its_own(
    annotated: AnnotatedDataset, tmp_path: Path
) -> None:
    slices = write_slices(tmp_path / "other", [40])
    tifffile.imwrite(slices / "n1_z0040.tif", slice_and_truth(777)[0])
    queue = propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices))
    accept(queue, ["n1_z0040"], MARIA)
    made = extended(annotated, queue, tmp_path / "extended")
    (name,) = made.manifest.pseudo_labelled
    assert name.startswith("n1_z0040-")
    assert made.entry(name).source_image == "n1_z0040.tif"
    assert list(verify(made)) == []


def test_a_mirrored_copy_of_an_annotated_image_is_known_to_show_the_same(
    annotated: AnnotatedDataset, tmp_path: Path
) -> None:
    slices = tmp_path / "mirrored"
    slices.mkdir()
    tifffile.imwrite(slices / "elsewhere.tif", np.ascontiguousarray(slice_and_truth(40)[0][:, ::-1]))
    queue = propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices))
    accept(queue, ["elsewhere"], MARIA)
    made = extended(annotated, queue, tmp_path / "extended")
    assert made.entry("elsewhere").similar == ("n1_z0040",)
    for seed in range(4):
        split = split_by_block(list(samples_of(made)), SplitRule(seed=seed, distance_planes=10))
        judged = "n1_z0040" in {*split.validation, *split.test}
        assert ("elsewhere" in split.left_out) == judged


def test_the_same_inputs_give_the_same_data_set(
    annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path
) -> None:
    accept(queue, ["n1_z0020", "n1_z0500"], MARIA)
    for name in ("one", "two"):
        extended(annotated, queue, tmp_path / name)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")]
    assert len(files) == 2 * (len(ANNOTATED) + 2) + 1
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_nothing_accepted_is_nothing_to_add(annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path) -> None:
    reject(queue, ["n1_z0020"], MARIA)
    with pytest.raises(NothingAcceptedError, match="annotations review"):
        extended(annotated, queue, tmp_path / "extended")
    accept(queue, ["n1_z0060"], MARIA)
    meanwhile = write_annotated(tmp_path / "meanwhile", [*ANNOTATED, 60])
    with pytest.raises(NothingAcceptedError, match="has all that was accepted"):
        extended(meanwhile, queue, tmp_path / "extended")
    assert not (tmp_path / "extended").exists()


def test_queues_of_other_classes_or_pixels_are_refused(queue: ReviewQueue, tmp_path: Path) -> None:
    accept(queue, ["n1_z0020"], MARIA)
    more = write_annotated(tmp_path / "more", ANNOTATED, CLASSES | {"synaptonemal_complex": 4})
    with pytest.raises(OtherClassesError, match="only the data set has 4 synaptonemal_complex"):
        extended(more, queue, tmp_path / "extended")
    renamed = write_annotated(tmp_path / "renamed", ANNOTATED, {"a": 0, "b": 1, "c": 2, "d": 3})
    with pytest.raises(OtherClassesError, match="0 a, 1 b, 2 c, 3 d"):
        extended(renamed, queue, tmp_path / "extended")
    fine = write_annotated(tmp_path / "fine", ANNOTATED, voxel_size=VoxelSize(z_nm=16, y_nm=4, x_nm=4))
    with pytest.raises(OtherPixelsError, match="16x16 nm"):
        extended(fine, queue, tmp_path / "extended")
    same = write_annotated(tmp_path / "same", ANNOTATED, voxel_size=VoxelSize(z_nm=8, y_nm=16, x_nm=16))
    assert len(extended(same, queue, tmp_path / "extended").manifest.pseudo_labelled) == 1


def test_accepted_labels_that_changed_since_are_refused(
    annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path
) -> None:
    accept(queue, ["n1_z0020"], MARIA)
    (path,) = (queue.folder / "accepted").iterdir()
    tifffile.imwrite(path, np.zeros((48, 54), np.uint8))
    with pytest.raises(DamagedQueueError, match="changed since maria accepted them: accept it again"):
        extended(annotated, queue, tmp_path / "extended")
    assert not (tmp_path / "extended").exists()
    accept(queue, ["n1_z0020"], MARIA)
    assert len(extended(annotated, queue, tmp_path / "extended").manifest.pseudo_labelled) == 1


def test_annotations_that_changed_since_are_refused(
    annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path
) -> None:
    accept(queue, ["n1_z0020"], MARIA)
    tifffile.imwrite(annotated.folder / "labels" / "n1_z0040.tif", np.zeros((48, 54), np.uint8))
    with pytest.raises(NotADatasetError, match="n1_z0040 changed since its import"):
        extended(annotated, queue, tmp_path / "extended")


def test_a_data_set_that_is_there_is_replaced_only_if_that_is_said(
    annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path
) -> None:
    accept(queue, ["n1_z0020"], MARIA)
    with pytest.raises(LabelsExistError, match="--replace"):
        extended(annotated, queue, annotated.folder)
    with pytest.raises(LabelsExistError, match="no annotated data set"):
        extended(annotated, queue, queue.folder)
    made = extend(ExtensionOrder(annotated, [queue], annotated.folder, replace=True))
    assert made.manifest.pseudo_labelled == ("n1_z0020",)


def test_other_grey_of_a_queue_is_said(annotated: AnnotatedDataset, tmp_path: Path) -> None:
    proposer = GreyProposer.on(write_slices(tmp_path / "slices", FRESH))
    proposer.grey = type(proposer.grey)(300.0, 4000.0, 170.0, 30.0)
    queue = propose(ProposalOrder(tmp_path / "queue"), proposer)
    accept(queue, ["n1_z0020"], MARIA)
    made = extended(annotated, queue, tmp_path / "extended")
    assert any("grey 300 to 4000 became 0 to 255 in queue" in one.message for one in made.manifest.findings)


def test_a_queue_is_no_data_set(queue: ReviewQueue) -> None:
    for path in (queue.folder, queue.folder / "proposals"):
        with pytest.raises(NotADatasetError, match=r"accept those that are right .* \(annotations extend\)"):
            read_dataset(path)


# Splits


@st.composite
def mixed(draw: st.DrawFn) -> list[Sample]:
    """Images of nuclei, some pseudo-labelled, some without a plane or a nucleus, some the same picture as another."""
    drawn = draw(
        st.dictionaries(
            st.sampled_from("abcdef"),
            st.dictionaries(st.integers(0, 300), st.booleans(), min_size=1, max_size=10),
            min_size=1,
        )
    )
    samples = [
        Sample(f"{nucleus}_z{z:04d}", nucleus, z, (), pseudo)
        for nucleus, planes in sorted(drawn.items())
        for z, pseudo in sorted(planes.items())
    ]
    samples += [
        Sample(f"lost{k}", n, None, (), k % 2 == 0)
        for k, n in enumerate(draw(st.lists(st.sampled_from("ab"), max_size=2)))
    ]
    samples += [Sample(f"alone{k}", is_pseudo=k % 2 == 0) for k in range(draw(st.integers(0, 4)))]
    names = [sample.name for sample in samples]
    return [
        Sample(s.name, s.nucleus, s.z, tuple(draw(st.lists(st.sampled_from(names), max_size=1))), s.is_pseudo)
        if k % 3 == 0
        else s
        for k, s in enumerate(samples)
    ]


@settings(max_examples=120, deadline=None)
@given(mixed(), st.sampled_from(KINDS), st.integers(0, 60), st.integers(0, 5))
def test_pseudo_labels_teach_where_nothing_leaks_and_never_judge(
    samples: list[Sample], divide: Divide, distance: int, seed: int
) -> None:
    rule = SplitRule(seed=seed, distance_planes=distance)
    drawn = [sample for sample in samples if not sample.is_pseudo]
    pseudo = {sample.name for sample in samples if sample.is_pseudo}
    try:
        alone = divide(drawn, rule)
    except SplitError:
        with pytest.raises(SplitError):
            divide(samples, rule)
        return
    split = divide(samples, rule)
    # Annotations are divided as if there were no pseudo-labels, so that scores can be compared.
    assert (split.test, split.validation) == (alone.test, alone.validation)
    assert {*split.training} - pseudo == {*alone.training}
    assert {*split.left_out} - pseudo == {*alone.left_out}
    assert pseudo <= {*split.training, *split.left_out}
    # None that is learned from shows what a judge shows, even where annotated neighbours do.
    reach = 10**6 if split.kind == "nucleus" else distance
    judges = {*split.test, *split.validation}
    leaking = {frozenset((leak.first, leak.second)) for leak in leaks(split, samples, reach)}
    assert not [pair for pair in leaking if pair & pseudo and pair & judges]
    # None is left out that might have taught.
    for name in pseudo & {*split.left_out}:
        moved = split.model_copy(
            update={"training": (*split.training, name), "left_out": tuple({*split.left_out} - {name})}
        )
        assert any(name in (leak.first, leak.second) for leak in leaks(moved, samples, reach))


def test_pseudo_labels_alone_cannot_be_divided() -> None:
    samples = [Sample(f"n_z{z}", "n", z, (), True) for z in range(0, 900, 90)]
    for divide in (split_by_place, split_by_block, split_by_image):
        with pytest.raises(SplitError, match="0 images cannot make three parts"):
            divide(samples)


@pytest.fixture
def mingled(annotated: AnnotatedDataset, queue: ReviewQueue, tmp_path: Path) -> AnnotatedDataset:
    accept(queue, [f"n1_z{z:04d}" for z in FRESH], MARIA)
    return extended(annotated, queue, tmp_path / "extended")


def test_a_split_that_has_pseudo_labels_judge_or_teach_beside_judges_is_refused(mingled: AnnotatedDataset) -> None:
    split = split_by_block(list(samples_of(mingled)), SplitRule(distance_planes=25))
    pseudo = set(mingled.manifest.pseudo_labelled)
    near, far = sorted(pseudo & {*split.left_out}), sorted(pseudo & {*split.training})
    assert near
    assert far
    parts = divided(mingled, split)
    assert parts.source.pseudo_labels == PseudoLabels(images=tuple(far), networks=("grey-0123456789ab",), corrected=0)
    judging = split.model_copy(
        update={"test": (*split.test, far[0]), "training": tuple(n for n in split.training if n != far[0])}
    )
    with pytest.raises(PseudoJudgeError, match=f"{far[0]}.*only annotations judge"):
        divided(mingled, judging)
    teaching = split.model_copy(
        update={"training": (*split.training, near[0]), "left_out": tuple(n for n in split.left_out if n != near[0])}
    )
    with pytest.raises(PseudoJudgeError, match=f"{near[0]}.*nearly the same"):
        divided(mingled, teaching)


def test_validation_and_test_planes_are_annotated_ones_alone(mingled: AnnotatedDataset) -> None:
    split = split_by_block(list(samples_of(mingled)), SplitRule(distance_planes=25))
    parts = divided(mingled, split)
    for planes, names in ((parts.validation, split.validation), (parts.test, split.test)):
        shown = {truth.tobytes() for plane_set in planes for truth in plane_set.classes_zyx}
        assert shown == {slice_and_truth(int(name[-4:]))[1].tobytes() for name in names}


# Training


RECIPE = """
licence = "BSD-3-Clause"
[data]
kind = "annotated"
folder = "{folder}"
voxel_size_nm = 16.0
split = "z-block"
test = 0.2
validation = 0.2
distance_nm = 400.0
[[networks]]
name = "student"
outputs = [
  {{ name = "exterior", class_id = 0 }},
  {{ name = "nucleoplasm", class_id = 1 }},
  {{ name = "chromosome", class_id = 2 }},
  {{ name = "nucleolus", class_id = 3 }},
]
architecture = {{ family = "dlsia.TUNet", depth = 2, base_channels = 4, growth_rate = 1.5 }}
[networks.optimiser]
seed = 1
steps = 4
batch_crops = 2
patch_px = 32
learning_rate = 3e-2
artefact_share = 0.0
validate_every = 2
"""


def taught(root: Path, folder: str) -> tuple[Path, list[str]]:
    """Train a small network; return its folder and what was said of its data."""
    recipe = root / f"{folder}.toml"
    recipe.write_text(RECIPE.format(folder=folder))
    said: list[str] = []
    place = Workplace(
        root / f"of-{folder}", root / "work", _no_phantom, lambda _: None, accelerator="cpu", remark=said.append
    )
    (model,) = train(recipe, place, threads=1)
    return model, said


def _no_phantom(seed: int, voxel_nm: float, nuclei: int) -> Specimen:
    raise AssertionError("annotated images need no phantom")


def test_a_network_says_how_many_pseudo_labelled_images_it_learned_from(
    mingled: AnnotatedDataset, annotated: AnnotatedDataset
) -> None:
    root = mingled.folder.parent
    model, (said,) = taught(root, "extended")
    card = read_card(model)
    (source,) = card.training_data
    assert isinstance(source, AnnotatedSource)
    assert isinstance(card.scores, AnnotatedScores)
    assert source.pseudo_labels is not None
    used = source.pseudo_labels.images
    assert set(used) < set(source.images)
    assert 0 < len(used) < len(FRESH)
    assert set(card.scores.images).isdisjoint(mingled.manifest.pseudo_labelled)
    assert said == (
        f"student learns from {len(source.images)} images of extended, {len(used)} of them pseudo-labelled; "
        f"{len(FRESH) - len(used)} pseudo-labelled ones are left out, as they lie too near to images that judge; only "
        "annotated images judge"
    )
    # Without pseudo-labels nothing is said, the card is written as ever, and the same images judge.
    model, unsaid = taught(root, "annotated")
    plain = read_card(model)
    assert unsaid == []
    assert "pseudo" not in (model / "card.json").read_text()
    assert isinstance(plain.scores, AnnotatedScores)
    assert plain.scores.images == card.scores.images


def test_a_queue_is_refused_by_training_with_what_to_do(queue: ReviewQueue, tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError, match="proposals are no annotations"):
        taught(tmp_path, queue.folder.name)
