"""Proposes labels for images that nobody annotated, into a review queue; it goes on where it was stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from services.contracts.values import VoxelSize
from services.imaging.grey import GreyStatistics
from services.trainer.annotations.class_map import UNLABELLED
from services.trainer.annotations.collection import SAME_PICTURE
from services.trainer.annotations.dataset import (
    QUEUE_MANIFEST,
    AnnotatedDataset,
    DatasetClass,
    Plane,
    pixel_hash,
    pixels_by_class,
)
from services.trainer.annotations.duplicates import likeness
from services.trainer.annotations.findings import LabelsExistError
from services.trainer.annotations.names import place_of, safe_name, stem_of
from services.trainer.annotations.queues import (
    Greys,
    Planned,
    Proposal,
    QueueManifest,
    ReviewQueue,
    SourceFile,
    new_queue,
    read_queue,
)

DEFAULT_LEAST_CONFIDENCE = 0.9


class OtherQueueError(ValueError):
    """A queue was begun in another way than it is to go on; the message says what differs."""


class OtherClassesError(ValueError):
    """Networks tell other classes than a data set has."""


class NothingToProposeError(ValueError):
    """There is no image left that nobody annotated, or two would have one name."""


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What networks say of a page of a file.

    Attributes
    ----------
    grey_yx
        The page in 8 bits.
    classes_yx, confidence_yx
        uint8: class ids, and 255 times the probability of that class.
    """

    path: Path
    page: int
    grey_yx: Plane
    classes_yx: Plane
    confidence_yx: Plane


class Proposer(Protocol):
    """Networks that are open on a list of image files."""

    @property
    def networks(self) -> tuple[str, ...]:
        """Their addresses."""

    @property
    def class_ids(self) -> Mapping[str, int]:
        """Id by name of the classes that they tell."""

    @property
    def voxel_size_nm(self) -> float:
        """Edge of the pixels that they expect."""

    @property
    def grey(self) -> GreyStatistics:
        """How the files become 8 bits, and what they are normalised by."""

    @property
    def files(self) -> Mapping[Path, int]:
        """The files in order, and the number of their pages."""

    def image(self, path: Path, page: int) -> Plane:
        """Return a page in 8 bits."""

    def answers(self, wanted: Callable[[Path, int], bool]) -> Iterator[Answered]:
        """Yield what they say of each page that is wanted; what is wanted changes no answer."""


@dataclass(frozen=True, slots=True)
class ProposalOrder:
    """What to propose.

    Attributes
    ----------
    out
        Folder of the queue.
    voxel_size
        Of the images; None: they have the networks' pixels.
    least_confidence
        Pixels of lower confidence are left unlabelled.
    limit
        At most so many images, spread evenly over all; None: all.
    annotated
        Data set that the accepted images are to be added to: its classes must be the networks', and what it has
        annotated is not proposed for.
    name_pattern
        As in a class map.
    """

    out: Path
    voxel_size: VoxelSize | None = None
    least_confidence: float = DEFAULT_LEAST_CONFIDENCE
    limit: int | None = None
    annotated: AnnotatedDataset | None = None
    name_pattern: str | None = None


def propose(
    order: ProposalOrder, proposer: Proposer, told: Callable[[int, int], None] = lambda _done, _total: None
) -> ReviewQueue:
    """Propose labels for every image of a queue that has none yet.

    What is there is left as it is: proposals, also those that a person changed, and decisions.

    Parameters
    ----------
    order
        What to propose.
    proposer
        Networks that are open on the files.
    told
        Hears how many images have a proposal, and of how many.

    Raises
    ------
    LabelsExistError
        If something else is in the folder.
    OtherQueueError
        If the queue was begun with other networks, files or settings.
    OtherClassesError
        If the networks tell other classes than the data set has.
    NothingToProposeError
        If there is no image to propose for, or two would have one name.
    """
    if order.annotated is not None:
        refuse_other_classes(proposer.class_ids, order.annotated, ", ".join(proposer.networks))
    queue = _opened(order, proposer)
    places = {(planned.source_image, planned.page): planned for planned in queue.manifest.images}
    done = set(queue.proposals())
    told(len(done), len(places))

    def wanted(path: Path, page: int) -> bool:
        planned = places.get((path.name, page))
        return planned is not None and planned.name not in done

    for answer in proposer.answers(wanted):
        planned = places[answer.path.name, answer.page]
        queue.put(*_proposal(planned, answer, queue.manifest))
        done.add(planned.name)
        told(len(done), len(places))
    return queue


def refuse_other_classes(class_ids: Mapping[str, int], dataset: AnnotatedDataset, who: str) -> None:
    """Refuse networks that tell other classes than a data set has.

    A class that they do not know they would take for another one, and so would whoever learns from them.

    Raises
    ------
    OtherClassesError
        With the classes that only one of them has.
    """
    theirs, ours = set(class_ids.items()), set(dataset.manifest.class_ids.items())
    if theirs != ours:
        lacking, strange = (
            ", ".join(f"{class_id} {name}" for name, class_id in sorted(some, key=lambda item: item[1])) or "none"
            for some in (ours - theirs, theirs - ours)
        )
        raise OtherClassesError(
            f"{who} and {dataset.folder.name} do not have the same classes: only the data set has {lacking}; only the "
            f"networks have {strange}. Take a network that was trained with the data set's classes"
        )


def confident_labels(classes_yx: Plane, confidence_yx: Plane, least_confidence: float) -> Plane:
    """Return labels in which pixels of lower confidence are unlabelled.

    Parameters
    ----------
    classes_yx
        uint8 class ids.
    confidence_yx
        uint8, 255 times the probability.
    least_confidence
        0 to 1; pixels of just that confidence keep their class.

    Examples
    --------
    >>> confident_labels(np.array([[1, 2]], np.uint8), np.array([[204, 203]], np.uint8), 0.8)
    array([[  1, 255]], dtype=uint8)
    """
    # Confidence has steps of 1/255: half a step is granted, so that rounding never takes a class away.
    sure = confidence_yx >= 255 * least_confidence - 0.5
    return np.where(sure, classes_yx, np.uint8(UNLABELLED)).astype(np.uint8)


def spread(count: int, limit: int | None) -> list[int]:
    """Return the positions of at most so many of a row of images, spread evenly over it.

    >>> spread(10, 3), spread(2, 3), spread(2, None)
    ([1, 5, 8], [0, 1], [0, 1])
    """
    wanted = count if limit is None else min(limit, count)
    return [(2 * k + 1) * count // (2 * wanted) for k in range(wanted)]


def _opened(order: ProposalOrder, proposer: Proposer) -> ReviewQueue:
    """Return the queue that is to go on, or a new one."""
    if (order.out / QUEUE_MANIFEST).is_file():
        queue = read_queue(order.out)
        _refuse_other_order(queue, _manifest(order, proposer, queue.manifest.images, queue.manifest.annotated))
        return queue
    if order.out.exists() and any(path.name != "classes.csv" and not _is_begun(path) for path in order.out.iterdir()):
        raise LabelsExistError(f"{order.out} is there and is no review queue: name another folder")
    images, annotated = _planned(order, proposer)
    return new_queue(order.out, _manifest(order, proposer, images, annotated))


def _is_begun(path: Path) -> bool:
    """Whether this may be left of a queue that was stopped before it was begun."""
    return path.name.endswith(".partial") or (path.is_dir() and not any(path.iterdir()))


def _manifest(order: ProposalOrder, proposer: Proposer, images: Sequence[Planned], annotated: int) -> QueueManifest:
    grey = proposer.grey
    by_id = sorted(proposer.class_ids.items(), key=lambda item: item[1])
    return QueueManifest(
        networks=proposer.networks,
        classes=tuple(DatasetClass(class_id=class_id, name=name) for name, class_id in by_id),
        least_confidence=order.least_confidence,
        voxel_size=order.voxel_size,
        network_nm=proposer.voxel_size_nm,
        grey=Greys(low=grey.low, high=grey.high, mean=grey.mean, sd=grey.sd),
        limit=order.limit,
        sources=tuple(SourceFile(name=path.name, pages=pages) for path, pages in proposer.files.items()),
        images=tuple(images),
        annotated=annotated,
    )


def _refuse_other_order(queue: ReviewQueue, asked: QueueManifest) -> None:
    said = {
        "networks": "other networks",
        "classes": "other classes",
        "least_confidence": "another --least-confidence",
        "voxel_size": "another --voxel-nm",
        "limit": "another --limit",
        "sources": "other images",
        "grey": "images of other grey",
    }
    differing = [words for field, words in said.items() if getattr(queue.manifest, field) != getattr(asked, field)]
    if differing:
        raise OtherQueueError(
            f"{queue.folder} was begun with {', '.join(differing)} (networks {', '.join(queue.manifest.networks)}, "
            f"least confidence {queue.manifest.least_confidence:g}): ask as you did then, or name another folder"
        )


def _planned(order: ProposalOrder, proposer: Proposer) -> tuple[list[Planned], int]:
    """Return the images to propose for, by name, and how many were left out since they are annotated."""
    images = [
        (path, _named(path, page, pages, order)) for path, pages in proposer.files.items() for page in range(pages)
    ]
    counts = Counter(planned.name for _, planned in images)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise NothingToProposeError(f"two images would be called {twice[0]}: rename one")
    known = _Annotated(order.annotated)
    fresh = [image for path, image in images if not known.has(image, partial(proposer.image, path, image.page))]
    if not fresh:
        raise NothingToProposeError("every one of these images is annotated: there is nothing to propose")
    chosen = [fresh[position] for position in spread(len(fresh), order.limit)]
    return sorted(chosen, key=lambda planned: planned.name), len(images) - len(fresh)


def _named(path: Path, page: int, pages: int, order: ProposalOrder) -> Planned:
    """Return name and place of a page, as an import would."""
    stem = stem_of(path.name)
    if pages > 1:
        name = f"{safe_name(stem)}_z{page:04d}"
        return Planned(name=name, source_image=path.name, page=page, nucleus=stem, z=page)
    told = place_of(stem, order.name_pattern)
    return Planned(name=safe_name(stem), source_image=path.name, page=page, nucleus=told.nucleus, z=told.z)


class _Annotated:
    """What a data set has annotated: the very same pixels, or the same picture at the same place, however bright."""

    def __init__(self, dataset: AnnotatedDataset | None) -> None:
        entries = dataset.manifest.images if dataset else ()
        self._dataset = dataset
        self._at = {(entry.nucleus, entry.z): entry.name for entry in entries if None not in (entry.nucleus, entry.z)}
        self._hashes = {entry.image_sha256 for entry in entries}

    def has(self, planned: Planned, image: Callable[[], Plane]) -> bool:
        if self._dataset is None:
            return False
        shown = image()
        name = self._at.get((planned.nucleus, planned.z))
        if name is not None and likeness(shown, self._dataset.load(name).image_yx) >= SAME_PICTURE:
            return True
        return pixel_hash(shown) in self._hashes


def _proposal(planned: Planned, answer: Answered, manifest: QueueManifest) -> tuple[Proposal, dict[str, Plane]]:
    labels = confident_labels(answer.classes_yx, answer.confidence_yx, manifest.least_confidence)
    doubt = np.asarray(255 - answer.confidence_yx, np.uint8)
    proposal = Proposal(
        **planned.model_dump(),
        height_px=labels.shape[0],
        width_px=labels.shape[1],
        image_sha256=pixel_hash(answer.grey_yx),
        label_sha256=pixel_hash(labels),
        pixels=pixels_by_class(labels, manifest.class_ids),
        doubt=round(float(doubt.mean(dtype=np.float64)) / 255, 6),
    )
    return proposal, {"images": answer.grey_yx, "proposals": labels, "doubt": doubt}
