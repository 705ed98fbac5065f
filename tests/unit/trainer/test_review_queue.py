"""The review queue: proposals that wait, decisions that stay, and nothing that happens by itself."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydantic import ValidationError

from services.contracts.values import VoxelSize
from services.trainer.annotations.dataset import QUEUE_MANIFEST, DatasetClass, pixel_hash
from services.trainer.annotations.findings import LabelsExistError
from services.trainer.annotations.pseudo_labels import (
    NothingToProposeError,
    OtherClassesError,
    OtherQueueError,
    ProposalOrder,
    confident_labels,
    propose,
    spread,
)
from services.trainer.annotations.queue_page import write_queue_page
from services.trainer.annotations.queues import (
    DamagedQueueError,
    Decision,
    NotAQueueError,
    ReviewQueue,
    UnknownProposalError,
    read_queue,
)
from services.trainer.annotations.reviewing import (
    NobodyDecidesError,
    Reviewer,
    UnfitLabelsError,
    accept,
    reject,
    standings,
)
from tests.support.review_queues import (
    CLASSES,
    GreyProposer,
    ProposerStoppedError,
    contents,
    slice_and_truth,
    write_annotated,
    write_slices,
)

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
MARIA = Reviewer("maria", NOW)
ZS = (0, 40, 80, 120)


@pytest.fixture
def queue(tmp_path: Path) -> ReviewQueue:
    slices = write_slices(tmp_path / "slices", ZS)
    return propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices))


# What is proposed


def test_each_image_gets_a_proposal_of_its_shape_that_leaves_doubtful_pixels_unlabelled(queue: ReviewQueue) -> None:
    assert list(queue.proposals()) == ["n1_z0000", "n1_z0040", "n1_z0080", "n1_z0120"]
    for z, (name, proposal) in zip(ZS, queue.proposals().items(), strict=True):
        image, truth = slice_and_truth(z)
        labels, doubt = tifffile.imread(queue.proposed_labels(name)), queue.doubt(name)
        assert labels.shape == image.shape == (proposal.height_px, proposal.width_px)
        np.testing.assert_array_equal(queue.image(name), image)
        np.testing.assert_array_equal(labels == 255, doubt > 26)
        assert 0.05 < proposal.unlabelled_share < 0.9
        assert (labels == truth)[labels != 255].mean() > 0.95
        assert (proposal.nucleus, proposal.z) == ("n1", z)


def test_labels_open_with_their_values_and_in_colours_and_classes_lie_beside(queue: ReviewQueue) -> None:
    with tifffile.TiffFile(queue.proposed_labels("n1_z0040")) as file:
        page = file.pages.first
        assert page.photometric == tifffile.PHOTOMETRIC.PALETTE
        assert page.colormap is not None
        assert (page.colormap[:, 2] // 257).tolist() == [250, 204, 21]
        assert set(np.unique(page.asarray())) == {0, 1, 2, 3, 255}
    lines = (queue.folder / "classes.csv").read_text().splitlines()
    assert lines[0] == "value,class,colour"
    assert lines[3] == "2,chromosome,#facc15"
    assert lines[-1].startswith("255,unlabelled,")


def test_pages_of_a_stack_are_images_of_their_own(tmp_path: Path) -> None:
    stack = np.stack([slice_and_truth(z)[0] for z in range(5)])
    tifffile.imwrite(tmp_path / "n7.tif", stack, photometric="minisblack")
    found = propose(ProposalOrder(tmp_path / "queue"), GreyProposer({tmp_path / "n7.tif": 5})).proposals()
    assert list(found) == [f"n7_z{z:04d}" for z in range(5)]
    assert {(p.nucleus, p.z, p.page) for p in found.values()} == {("n7", z, z) for z in range(5)}


def test_a_name_pattern_tells_nucleus_and_plane(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", [7], "scan")
    order = ProposalOrder(tmp_path / "queue", name_pattern=r"(?P<nucleus>scan)_z0+(?P<z>\d)$")
    (proposal,) = propose(order, GreyProposer.on(slices)).proposals().values()
    assert (proposal.nucleus, proposal.z) == ("scan", 7)


def test_what_a_data_set_has_annotated_is_not_proposed_for_even_brighter(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", ZS)
    brighter = np.clip(1.1 * slice_and_truth(120)[0] + 3, 0, 255).astype(np.uint8)
    tifffile.imwrite(slices / "n1_z0120.tif", brighter)
    annotated = write_annotated(tmp_path / "annotated", [40, 120])
    queue = propose(ProposalOrder(tmp_path / "queue", annotated=annotated), GreyProposer.on(slices))
    assert list(queue.proposals()) == ["n1_z0000", "n1_z0080"]
    assert queue.manifest.annotated == 2


def test_another_picture_at_the_same_place_is_proposed_for(tmp_path: Path) -> None:
    """Files of two specimens may be called alike."""
    slices = write_slices(tmp_path / "slices", [40])
    shutil.copy(write_slices(tmp_path / "other", [81]) / "n1_z0081.tif", slices / "n1_z0040.tif")
    annotated = write_annotated(tmp_path / "annotated", [40])
    queue = propose(ProposalOrder(tmp_path / "queue", annotated=annotated), GreyProposer.on(slices))
    assert list(queue.proposals()) == ["n1_z0040"]


def test_a_limit_takes_images_spread_over_all(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", range(0, 90, 10))
    queue = propose(ProposalOrder(tmp_path / "queue", limit=3), GreyProposer.on(slices))
    assert [proposal.z for proposal in queue.proposals().values()] == [10, 40, 70]


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_spread_has_the_wanted_number_and_even_gaps(count: int, limit: int) -> None:
    places = spread(count, limit)
    assert len(places) == len(set(places)) == min(count, limit)
    gaps = np.diff([*places]) if len(places) > 1 else np.array([1])
    assert gaps.max() - gaps.min() <= 1
    assert 0 <= places[0] <= places[-1] < count


@given(
    arrays(np.uint8, (4, 6), elements=st.integers(0, 5)),
    arrays(np.uint8, (4, 6)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_labels_are_kept_or_unlabelled_and_more_confidence_never_labels_more(
    classes: NDArray[np.uint8], confidence: NDArray[np.uint8], one: float, other: float
) -> None:
    lenient, strict = (confident_labels(classes, confidence, least) for least in sorted((one, other)))
    assert ((lenient == classes) | (lenient == 255)).all()
    assert (strict == lenient)[strict != 255].all()
    assert (lenient == 255)[confidence < 255 * min(one, other) - 1].all()
    np.testing.assert_array_equal(confident_labels(classes, confidence, 0.0), classes)


# Stopped, and run again


def test_a_queue_that_is_whole_is_left_as_it_is(queue: ReviewQueue, tmp_path: Path) -> None:
    accept(queue, ["n1_z0040"], MARIA)
    tifffile.imwrite(queue.proposed_labels("n1_z0080"), np.full((48, 54), 1, np.uint8))
    before = contents(queue)
    proposer = GreyProposer.on(tmp_path / "slices")
    again = propose(ProposalOrder(queue.folder), proposer)
    assert proposer.asked == []
    assert contents(again) == before


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_a_stopped_queue_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, answers: int) -> None:
    slices = write_slices(tmp_path / "slices", ZS)
    whole = propose(ProposalOrder(tmp_path / "whole"), GreyProposer.on(slices))
    with pytest.raises(ProposerStoppedError):
        propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices, answers))
    rest = GreyProposer.on(slices)
    told: list[tuple[int, int]] = []
    queue = propose(ProposalOrder(tmp_path / "queue"), rest, lambda done, total: told.append((done, total)))
    assert len(rest.asked) == len(ZS) - answers
    assert told == [(done, len(ZS)) for done in range(answers, len(ZS) + 1)]
    assert contents(queue) == contents(whole)


def test_decisions_made_while_a_queue_is_unfinished_are_kept(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", ZS)
    with pytest.raises(ProposerStoppedError):
        propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices, 2))
    begun = read_queue(tmp_path / "queue")
    accept(begun, ["n1_z0000"], MARIA)
    with pytest.raises(UnknownProposalError, match="nothing is proposed for 'n1_z0120' yet"):
        accept(begun, ["n1_z0120"], MARIA)
    queue = propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices))
    assert {name: decision.by for name, decision in queue.standing().items()} == {"n1_z0000": "maria"}
    assert len(queue.proposals()) == len(ZS)


def test_a_killed_process_leaves_a_queue_that_goes_on(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", ZS)
    whole = propose(ProposalOrder(tmp_path / "whole"), GreyProposer.on(slices))
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from services.trainer.annotations.pseudo_labels import ProposalOrder, propose\n"
        "from tests.support.review_queues import GreyProposer\n"
        "proposer = GreyProposer.on(Path(sys.argv[1]), 2)\n"
        "proposer.stop = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        "propose(ProposalOrder(Path(sys.argv[2])), proposer)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(slices), str(tmp_path / "queue")], check=False)
    assert killed.returncode == -signal.SIGKILL
    rest = GreyProposer.on(slices)
    queue = propose(ProposalOrder(tmp_path / "queue"), rest)
    assert len(rest.asked) == 2
    assert contents(queue) == contents(whole)


def test_what_a_kill_between_two_files_leaves_is_written_again(queue: ReviewQueue, tmp_path: Path) -> None:
    before = contents(queue)
    (queue.folder / "proposed" / "n1_z0080.json").unlink()
    (queue.folder / "images" / "n1_z0080.tif").write_bytes(b"II*")
    (queue.folder / "proposals" / ".n1_z0080.partial").write_bytes(b"half")
    again = propose(ProposalOrder(queue.folder), GreyProposer.on(tmp_path / "slices"))
    assert contents(again) == before


def test_a_queue_that_was_hardly_begun_is_begun_again(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", ZS)
    (tmp_path / "queue" / "images").mkdir(parents=True)
    (tmp_path / "queue" / f".{QUEUE_MANIFEST}.77.partial").write_bytes(b"{")
    assert len(propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices)).proposals()) == len(ZS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"least_confidence": 0.8}, "another --least-confidence"),
        ({"limit": 2}, "another --limit"),
        ({"voxel_size": VoxelSize(z_nm=8, y_nm=4, x_nm=4)}, "another --voxel-nm"),
    ],
)
def test_a_queue_does_not_go_on_in_another_way(
    queue: ReviewQueue, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    before = contents(queue)
    with pytest.raises(OtherQueueError, match=said):
        propose(ProposalOrder(queue.folder, **changes), GreyProposer.on(tmp_path / "slices"))  # type: ignore[arg-type]
    assert contents(queue) == before


def test_a_queue_does_not_go_on_with_other_networks_or_images(queue: ReviewQueue, tmp_path: Path) -> None:
    others = GreyProposer.on(tmp_path / "slices")
    others.networks = ("grey-ba9876543210",)
    with pytest.raises(OtherQueueError, match="other networks"):
        propose(ProposalOrder(queue.folder), others)
    write_slices(tmp_path / "slices", [999])
    with pytest.raises(OtherQueueError, match="other images"):
        propose(ProposalOrder(queue.folder), GreyProposer.on(tmp_path / "slices"))


# What cannot be proposed for


def test_a_network_of_other_classes_than_the_data_set_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", ZS)
    annotated = write_annotated(tmp_path / "annotated", [400], CLASSES | {"synaptonemal_complex": 4})
    with pytest.raises(
        OtherClassesError, match="only the data set has 4 synaptonemal_complex; only the networks have none"
    ):
        propose(ProposalOrder(tmp_path / "queue", annotated=annotated), GreyProposer.on(slices))
    assert not (tmp_path / "queue").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", ZS)
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "thesis.odt").write_text("do not lose")
    with pytest.raises(LabelsExistError, match="is no review queue"):
        propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices))
    assert [path.name for path in (tmp_path / "queue").iterdir()] == ["thesis.odt"]


def test_images_that_are_all_annotated_leave_nothing_to_propose(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", ZS)
    annotated = write_annotated(tmp_path / "annotated", ZS)
    with pytest.raises(NothingToProposeError, match="every one of these images is annotated"):
        propose(ProposalOrder(tmp_path / "queue", annotated=annotated), GreyProposer.on(slices))


def test_two_files_that_would_have_one_name_are_refused(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", [0])
    shutil.copy(slices / "n1_z0000.tif", slices / "n1_z0000.ome.tif")
    with pytest.raises(NothingToProposeError, match="two images would be called n1_z0000"):
        propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices))


# What people decide


def test_nothing_is_decided_until_a_person_decides(queue: ReviewQueue) -> None:
    assert {standing.state for standing in standings(queue)} == {"waiting"}
    assert queue.decisions() == ()


def test_a_decision_says_who_when_why_and_about_what(queue: ReviewQueue) -> None:
    accept(queue, ["n1_z0040"], Reviewer("maria", NOW, "looks right"))
    reject(queue, ["n1_z0080"], Reviewer("jon", NOW + timedelta(hours=1), "out of focus"))
    accepted, rejected = read_queue(queue.folder).decisions()
    digest = queue.proposal("n1_z0040").label_sha256
    assert (accepted.name, accepted.verdict, accepted.by, accepted.at) == ("n1_z0040", "accepted", "maria", NOW)
    assert (accepted.reason, accepted.label_sha256, accepted.corrected) == ("looks right", digest, False)
    assert (rejected.verdict, rejected.by, rejected.reason) == ("rejected", "jon", "out of focus")
    assert rejected.label_sha256 is None


def test_files_name_proposals_as_well(queue: ReviewQueue) -> None:
    made = accept(queue, ["queue/proposals/n1_z0040.tif", "n1_z0040", "n1_z0000"], MARIA)
    assert [decision.name for decision in made] == ["n1_z0040", "n1_z0000"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(ZS), st.booleans(), st.sampled_from(["maria", "jon"])), max_size=8))
def test_the_last_decision_counts_and_none_is_ever_lost_or_changed(
    queue: ReviewQueue, asked: list[tuple[int, bool, str]]
) -> None:
    for path in (queue.folder / "decisions").iterdir():
        path.unlink()
    expected: dict[str, tuple[str, str]] = {}
    seen: dict[str, bytes] = {}
    for minute, (z, is_good, who) in enumerate(asked):
        name = f"n1_z{z:04d}"
        reviewer = Reviewer(who, NOW + timedelta(minutes=minute), "so it is")
        (accept if is_good else reject)(queue, [name], reviewer)
        expected[name] = ("accepted" if is_good else "rejected", who)
        now = {path.name: path.read_bytes() for path in (queue.folder / "decisions").iterdir()}
        assert seen.items() <= now.items()
        seen = now
    assert len(seen) == len(asked)
    assert {name: (d.verdict, d.by) for name, d in queue.standing().items()} == expected
    assert [d.at for d in queue.decisions()] == [NOW + timedelta(minutes=minute) for minute in range(len(asked))]


def test_of_two_people_who_decide_at_one_moment_both_decisions_stay(queue: ReviewQueue, tmp_path: Path) -> None:
    shutil.copytree(queue.folder, tmp_path / "other")
    accept(queue, ["n1_z0040"], MARIA)
    (theirs,) = reject(read_queue(tmp_path / "other"), ["n1_z0040"], Reviewer("jon", NOW + timedelta(seconds=1), "no"))
    (path,) = (tmp_path / "other" / "decisions").iterdir()
    shutil.copy(path, queue.folder / "decisions")
    assert [decision.by for decision in queue.decisions()] == ["maria", "jon"]
    assert queue.standing()["n1_z0040"] == theirs


def test_a_proposal_that_was_changed_in_place_is_accepted_as_corrected(queue: ReviewQueue) -> None:
    changed = tifffile.imread(queue.proposed_labels("n1_z0040"))
    changed[10:20, 10:20] = 3
    # As a labels layer of napari is saved: wider whole numbers, no palette.
    tifffile.imwrite(queue.proposed_labels("n1_z0040"), changed.astype(np.int32))
    (decision,) = accept(queue, ["n1_z0040"], MARIA)
    assert decision.corrected
    assert decision.label_sha256 == pixel_hash(changed) != decision.proposal_sha256
    np.testing.assert_array_equal(queue.accepted_labels(decision), changed)


def test_a_proposal_that_was_saved_again_unchanged_is_not_corrected(queue: ReviewQueue) -> None:
    path = queue.proposed_labels("n1_z0040")
    tifffile.imwrite(path, tifffile.imread(path).astype(np.uint16), compression="lzw")
    (decision,) = accept(queue, ["n1_z0040"], MARIA)
    assert not decision.corrected


def test_corrected_labels_are_given_as_a_file_or_as_a_folder(queue: ReviewQueue, tmp_path: Path) -> None:
    folder = tmp_path / "corrected"
    folder.mkdir()
    for z in (40, 80):
        tifffile.imwrite(folder / f"n1_z{z:04d}_labels.tif", slice_and_truth(z)[1])
    (one,) = accept(queue, ["n1_z0040"], MARIA, folder / "n1_z0040_labels.tif")
    both = accept(queue, ["n1_z0080", "n1_z0040"], MARIA, folder)
    assert [decision.corrected for decision in (one, *both)] == [True] * 3
    np.testing.assert_array_equal(queue.accepted_labels(both[0]), slice_and_truth(80)[1])
    # The proposal itself stays what it was.
    assert pixel_hash(tifffile.imread(queue.proposed_labels("n1_z0080"))) == both[0].proposal_sha256


def test_what_was_accepted_stays_when_the_proposal_is_painted_over_later(queue: ReviewQueue) -> None:
    (decision,) = accept(queue, ["n1_z0040"], MARIA)
    accepted = queue.accepted_labels(decision)
    tifffile.imwrite(queue.proposed_labels("n1_z0040"), np.zeros((48, 54), np.uint8))
    np.testing.assert_array_equal(queue.accepted_labels(decision), accepted)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros((54, 48), np.uint8), r"has \(54, 48\) rows and columns, its image has \(48, 54\)"),
        (np.full((48, 54), 9, np.uint8), r"holds the values \[9\], which are no classes; classes are 0 exterior"),
        (np.full((48, 54), 3000, np.uint16), r"holds the values \[3000\]"),
        (np.full((48, 54), 255, np.uint8), "nothing is labelled"),
        (np.zeros((2, 48, 54), np.uint8), "has 2 planes"),
        (np.full((48, 54), 0.5, np.float32), "n1_z0040.tif: "),
    ],
    ids=["transposed", "unknown", "wide", "empty", "stack", "fractions"],
)
def test_labels_that_do_not_fit_are_refused_and_nothing_is_recorded(
    queue: ReviewQueue, tmp_path: Path, labels: NDArray[np.generic], said: str
) -> None:
    folder = tmp_path / "corrected"
    folder.mkdir()
    tifffile.imwrite(folder / "n1_z0000.tif", slice_and_truth(0)[1])
    tifffile.imwrite(folder / "n1_z0040.tif", labels, photometric="minisblack")
    before = contents(queue)
    with pytest.raises(UnfitLabelsError, match=said):
        accept(queue, ["n1_z0000", "n1_z0040"], MARIA, folder)
    assert contents(queue) == before
    shutil.copy(folder / "n1_z0040.tif", queue.proposed_labels("n1_z0040"))
    with pytest.raises(UnfitLabelsError, match=said):
        accept(queue, ["n1_z0040"], MARIA)
    assert queue.decisions() == ()


def test_corrections_that_are_missing_are_named(queue: ReviewQueue, tmp_path: Path) -> None:
    folder = tmp_path / "corrected"
    folder.mkdir()
    with pytest.raises(UnfitLabelsError, match="no corrected labels at"):
        accept(queue, ["n1_z0000"], MARIA, folder)
    tifffile.imwrite(folder / "n1_z0000.tif", slice_and_truth(0)[1])
    with pytest.raises(UnfitLabelsError, match="has no label image of n1_z0040"):
        accept(queue, ["n1_z0000", "n1_z0040"], MARIA, folder)
    with pytest.raises(UnfitLabelsError, match="one label image for 2 names: give a folder"):
        accept(queue, ["n1_z0000", "n1_z0040"], MARIA, folder / "n1_z0000.tif")


def test_unknown_names_are_refused_and_nothing_is_recorded(queue: ReviewQueue) -> None:
    for decide in (accept, reject):
        with pytest.raises(UnknownProposalError, match="has no proposal 'n1_z0041'"):
            decide(queue, ["n1_z0040", "n1_z0041"], Reviewer("maria", NOW, "so it is"))
    assert queue.decisions() == ()


def test_a_file_that_ends_too_early_is_no_labels(queue: ReviewQueue) -> None:
    path = queue.proposed_labels("n1_z0040")
    whole = path.read_bytes()
    for size in (0, 3, 4, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises((UnfitLabelsError, DamagedQueueError), match=r"n1_z0040\.tif"):
            accept(queue, ["n1_z0040"], MARIA)
        for part in ("images", "doubt"):
            kept = queue.folder / part / "n1_z0080.tif"
            content = kept.read_bytes()
            kept.write_bytes(content[: min(size, len(content) - 1)])
            with pytest.raises(DamagedQueueError, match=r"is damaged|not the one"):
                queue.image("n1_z0080") if part == "images" else queue.doubt("n1_z0080")
            kept.write_bytes(content)
    assert queue.decisions() == ()


def test_nobody_and_no_reason_are_refused(queue: ReviewQueue) -> None:
    with pytest.raises(NobodyDecidesError, match="who"):
        accept(queue, ["n1_z0040"], Reviewer(" ", NOW))
    with pytest.raises(NobodyDecidesError, match="why"):
        reject(queue, ["n1_z0040"], Reviewer("jon", NOW, "  "))
    with pytest.raises(ValidationError, match="for a reason"):
        Decision(name="a", verdict="rejected", by="jon", at=NOW, proposal_sha256="0" * 64)
    with pytest.raises(ValidationError, match="labels belong to what was accepted"):
        Decision(name="a", verdict="accepted", by="jon", at=NOW, proposal_sha256="0" * 64)
    assert queue.decisions() == ()


# What is damaged


def test_a_folder_that_is_no_queue_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(NotAQueueError, match="annotations propose MODEL IMAGES"):
        read_queue(tmp_path)


@pytest.mark.parametrize("part", ["images", "proposals", "proposed", "decisions", "accepted", "doubt"])
def test_a_queue_without_one_of_its_folders_is_damaged(queue: ReviewQueue, part: str) -> None:
    shutil.rmtree(queue.folder / part)
    with pytest.raises(DamagedQueueError, match=f"no folder {part}"):
        read_queue(queue.folder)


def test_what_a_queue_says_of_itself_must_be_readable(queue: ReviewQueue) -> None:
    accept(queue, ["n1_z0040"], MARIA)
    for path in (
        queue.folder / QUEUE_MANIFEST,
        *queue.folder.glob("proposed/*80.json"),
        *queue.folder.glob("decisions/*"),
    ):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(DamagedQueueError, match=f"{path.name} is damaged"):
            standings(read_queue(queue.folder))
        path.write_bytes(content)
    assert [one.state for one in standings(read_queue(queue.folder))].count("accepted") == 1


def test_a_decision_about_another_queues_image_or_of_another_name_is_damage(queue: ReviewQueue) -> None:
    accept(queue, ["n1_z0040"], MARIA)
    (path,) = (queue.folder / "decisions").iterdir()
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"name": "elsewhere"}))
    with pytest.raises(DamagedQueueError, match="about 'elsewhere'"):
        queue.standing()
    path.rename(path.with_name("copy of 1.json"))
    with pytest.raises(DamagedQueueError, match="give it back the name"):
        queue.standing()


def test_an_image_that_is_not_the_one_that_was_proposed_for_is_never_accepted(queue: ReviewQueue) -> None:
    tifffile.imwrite(queue.folder / "images" / "n1_z0040.tif", slice_and_truth(80)[0])
    with pytest.raises(DamagedQueueError, match="not the one that was proposed for"):
        accept(queue, ["n1_z0040"], MARIA)
    (queue.folder / "images" / "n1_z0040.tif").write_bytes(b"II*\0")
    with pytest.raises(DamagedQueueError, match="cannot be read"):
        accept(queue, ["n1_z0040"], MARIA)
    queue.proposed_labels("n1_z0080").unlink()
    with pytest.raises(DamagedQueueError, match="is not there: put it back"):
        accept(queue, ["n1_z0080"], MARIA)
    assert queue.decisions() == ()


def test_classes_of_a_queue_are_distinct(queue: ReviewQueue) -> None:
    twice = (DatasetClass(class_id=1, name="a"), DatasetClass(class_id=1, name="b"))
    with pytest.raises(ValidationError, match="classes are not distinct"):
        type(queue.manifest).model_validate(queue.manifest.model_dump() | {"classes": twice})


# The page


def test_the_page_shows_the_most_doubtful_first_and_what_was_decided_last(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "slices", ZS)
    image, _ = slice_and_truth(80)
    image[:20] = np.random.default_rng(0).integers(0, 255, (20, 54), np.uint8)
    tifffile.imwrite(slices / "n1_z0080.tif", image)
    queue = propose(ProposalOrder(tmp_path / "queue"), GreyProposer.on(slices))
    page = write_queue_page(queue).read_text()
    doubts = {name: proposal.doubt for name, proposal in queue.proposals().items()}
    ranked = sorted(doubts, key=lambda name: -doubts[name])
    assert ranked[0] == "n1_z0080"
    places = [page.index(f'<article id="{name}" class="waiting">') for name in ranked]
    assert places == sorted(places)
    assert page.count("data:image/webp;base64,") == 3 * len(ZS)
    reject(queue, ["n1_z0080"], Reviewer("jon <jon@example.org>", NOW, "noise & stripes"))
    later = write_queue_page(queue).read_text()
    assert "rejected by jon &lt;jon@example.org&gt;, 2026-03-04 05:06 UTC: noise &amp; stripes" in later
    assert later.index('<article id="n1_z0080" class="rejected">') > max(later.index(f'id="{n}"') for n in ranked[1:])
    assert write_queue_page(queue).read_text() == later


def test_the_page_tells_a_proposal_that_was_changed_by_hand_whatever_it_is_now(queue: ReviewQueue) -> None:
    assert "changed by hand" not in write_queue_page(queue).read_text()
    tifffile.imwrite(queue.proposed_labels("n1_z0040"), np.zeros((48, 54), np.uint8))
    queue.proposed_labels("n1_z0080").write_bytes(b"nonsense")
    assert write_queue_page(queue).read_text().count("changed by hand") == 2
