"""Decides about proposals: accepted as they are, accepted with corrections, or rejected; every decision stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.annotations.class_map import UNLABELLED
from services.trainer.annotations.dataset import Plane, pixel_hash
from services.trainer.annotations.findings import UnreadableAnnotationError
from services.trainer.annotations.names import partners
from services.trainer.annotations.queues import (
    DamagedQueueError,
    Decision,
    Proposal,
    ReviewQueue,
    State,
    UnknownProposalError,
)
from services.trainer.annotations.reading import read_mask
from services.trainer.annotations.sources import files_of


class NobodyDecidesError(ValueError):
    """It is not said who decides, or not why something is rejected."""


class UnfitLabelsError(ValueError):
    """Labels cannot be accepted: of another shape than the image, or with what is no class; nothing was recorded."""


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Who decides, when, and why."""

    by: str
    at: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an image of a queue stands.

    Attributes
    ----------
    proposal
        What is proposed.
    state
        What became of it.
    decisions
        All decisions about it; the last one counts.
    """

    proposal: Proposal
    state: State
    decisions: tuple[Decision, ...]


def standings(queue: ReviewQueue) -> list[Standing]:
    """Return how all images stand: those that wait first, the most doubtful of them at the head."""
    made: dict[str, list[Decision]] = {}
    for decision in queue.decisions():
        made.setdefault(decision.name, []).append(decision)
    found = [_standing(proposal, made.get(name, [])) for name, proposal in queue.proposals().items()]
    return sorted(found, key=lambda one: (one.state != "waiting", -one.proposal.doubt, one.proposal.name))


def _standing(proposal: Proposal, decisions: Sequence[Decision]) -> Standing:
    return Standing(proposal, decisions[-1].verdict if decisions else "waiting", tuple(decisions))


def accept(
    queue: ReviewQueue, names: Sequence[str], reviewer: Reviewer, corrected: Path | None = None
) -> list[Decision]:
    """Accept proposals; all of them are checked before one is recorded.

    Parameters
    ----------
    queue
        Where they are.
    names
        Of images, or of their files.
    reviewer
        Who accepts.
    corrected
        Label image of the one name, or folder with one of each name; None: the queue's own, which may have been changed
        by hand and then count as corrected.

    Returns
    -------
    list of Decision
        In the order of the names.

    Raises
    ------
    UnknownProposalError
        If there is no such proposal.
    UnfitLabelsError
        If labels are missing, cannot be read, have another shape than the image, a value that is no class, or no label.
    DamagedQueueError
        If the image is not the one that was proposed for.
    NobodyDecidesError
        If it is not said who accepts.
    """
    _refuse_nobody(reviewer)
    proposals = _proposals(queue, names)
    files = (
        _corrections(proposals, corrected) if corrected else {p.name: queue.proposed_labels(p.name) for p in proposals}
    )
    checked = [(proposal, _checked(queue, proposal, files[proposal.name])) for proposal in proposals]
    return [_decided(queue, proposal, reviewer, labels) for proposal, labels in checked]


def reject(queue: ReviewQueue, names: Sequence[str], reviewer: Reviewer) -> list[Decision]:
    """Reject proposals, for a reason; the proposals stay where they are.

    Raises
    ------
    UnknownProposalError
        If there is no such proposal.
    NobodyDecidesError
        If it is not said who rejects, or why.
    """
    _refuse_nobody(reviewer)
    if not reviewer.reason.strip():
        raise NobodyDecidesError("say why: --reason")
    return [_decided(queue, proposal, reviewer) for proposal in _proposals(queue, names)]


def _decided(queue: ReviewQueue, proposal: Proposal, reviewer: Reviewer, labels: Plane | None = None) -> Decision:
    """Record that labels of a proposal are accepted, or, without any, that it is rejected; return the decision."""
    digest = None if labels is None else queue.keep_labels(proposal.name, labels)
    decision = Decision(
        name=proposal.name,
        verdict="rejected" if digest is None else "accepted",
        by=reviewer.by.strip(),
        at=reviewer.at,
        reason=reviewer.reason.strip(),
        proposal_sha256=proposal.label_sha256,
        label_sha256=digest,
        corrected=digest not in (None, proposal.label_sha256),
    )
    queue.record(decision)
    return decision


def _refuse_nobody(reviewer: Reviewer) -> None:
    if not reviewer.by.strip():
        raise NobodyDecidesError("say who decides: --by")


def _proposals(queue: ReviewQueue, names: Sequence[str]) -> list[Proposal]:
    """Return the proposals of names as a person gives them, each once."""
    plain = (Path(name).name.removesuffix(".tif") for name in names)
    found = [queue.proposal(name) for name in dict.fromkeys(plain)]
    if not found:
        raise UnknownProposalError(f"name what is decided about: `annotations review {queue.folder}` names all")
    return found


def _corrections(proposals: Sequence[Proposal], corrected: Path) -> Mapping[str, Path]:
    """Return the corrected label image of each proposal, by name."""
    if corrected.is_file():
        if len(proposals) > 1:
            raise UnfitLabelsError(f"{corrected} is one label image for {len(proposals)} names: give a folder of them")
        return {proposals[0].name: corrected}
    try:
        files = files_of(corrected)
    except (OSError, UnreadableAnnotationError) as fault:
        raise UnfitLabelsError(f"no corrected labels at {corrected}: {fault}") from fault
    found = partners([f"{proposal.name}.tif" for proposal in proposals], [path.name for path in files])
    if found.lonely_images:
        lacking = [proposals[position].name for position in found.lonely_images]
        raise UnfitLabelsError(f"{corrected} has no label image of {', '.join(lacking[:5])}")
    return {proposals[image].name: files[mask] for image, mask in found.pairs}


def _checked(queue: ReviewQueue, proposal: Proposal, path: Path, *, may_be_empty: bool = False) -> Plane:
    """Return labels that can be accepted."""
    image = queue.image(proposal.name)
    values = _values(path)
    if values.shape != image.shape:
        raise UnfitLabelsError(
            f"{path} has {values.shape} rows and columns, its image has {image.shape}: nothing recorded"
        )
    ids = queue.manifest.class_ids
    if strange := sorted(set(np.unique(values).tolist()) - {*ids.values(), UNLABELLED}):
        known = ", ".join(f"{class_id} {name}" for name, class_id in ids.items())
        raise UnfitLabelsError(
            f"{path} holds the values {strange[:8]}, which are no classes; classes are {known}, 255 unlabelled: "
            "nothing recorded"
        )
    labels = values.astype(np.uint8)
    if not may_be_empty and (labels == UNLABELLED).all():
        raise UnfitLabelsError(f"nothing is labelled in {path}: label something, or reject it")
    return labels


def _values(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise DamagedQueueError(f"{path} is not there: put it back, or give labels by --corrected")
    try:
        planes = read_mask(path).as_values().values_zyx
    except UnreadableAnnotationError as fault:
        raise UnfitLabelsError(f"{path}: {fault}: nothing recorded") from fault
    if len(planes) != 1:
        raise UnfitLabelsError(f"{path} has {len(planes)} planes, a proposal has one: nothing recorded")
    return np.asarray(planes[0])


def labels_now(queue: ReviewQueue, proposal: Proposal) -> tuple[Plane, bool]:
    """Return the labels in a proposal's file, and whether a person changed them since they were proposed.

    Raises
    ------
    UnfitLabelsError, DamagedQueueError
        If they are no labels of the image any more.
    """
    labels = _checked(queue, proposal, queue.proposed_labels(proposal.name), may_be_empty=True)
    return labels, pixel_hash(labels) != proposal.label_sha256
