"""Adds what people accepted in review queues to a data set of annotations: a new data set, with where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from services.trainer.annotations.collection import SAME_PICTURE, Collection, with_similar
from services.trainer.annotations.dataset import (
    AnnotatedDataset,
    Draft,
    ImageEntry,
    Manifest,
    Origin,
    Pair,
    Plane,
    PseudoLabel,
    check_free,
    new_dataset,
    read_dataset,
    read_plane,
)
from services.trainer.annotations.duplicates import Fingerprint, fingerprint, likeness
from services.trainer.annotations.findings import Finding, FindingKind, warning
from services.trainer.annotations.pseudo_labels import refuse_other_classes
from services.trainer.annotations.queues import Decision, Proposal, ReviewQueue


class NothingAcceptedError(ValueError):
    """No image of a queue was accepted, or all of them are in the data set already."""


class OtherPixelsError(ValueError):
    """The images of a queue have pixels of another size than those of the data set."""


@dataclass(frozen=True, slots=True)
class ExtensionOrder:
    """What to add to what.

    Attributes
    ----------
    dataset
        Annotations; left as they are.
    queues
        Review queues; what was accepted there is added.
    out
        Folder of the new data set.
    replace
        Whether a data set at `out` may be replaced.
    """

    dataset: AnnotatedDataset
    queues: Sequence[ReviewQueue]
    out: Path
    replace: bool = False


def extend(order: ExtensionOrder, told: Callable[[int, int], None] = lambda _done, _total: None) -> AnnotatedDataset:
    """Write a data set of all annotations and of all accepted proposals; nothing is written when a file is faulty.

    An image that the data set has already is left out, which the manifest says.

    Parameters
    ----------
    order
        What to add to what.
    told
        Hears how many images are written, and of how many.

    Raises
    ------
    NothingAcceptedError
        If there is nothing to add.
    OtherClassesError, OtherPixelsError
        If classes or pixels of a queue are not those of the data set.
    DamagedQueueError, NotADatasetError
        If images or labels are not those that were accepted, or imported.
    LabelsExistError
        If `out` is there.
    """
    check_free(order.out, replace=order.replace)
    for queue in order.queues:
        refuse_other_classes(queue.manifest.class_ids, order.dataset, f"the networks of {queue.folder.name}")
        _refuse_other_pixels(queue, order.dataset)
    accepted = [found for queue in order.queues for found in _accepted(queue)]
    if not accepted:
        names = ", ".join(str(queue.folder) for queue in order.queues)
        raise NothingAcceptedError(f"nothing was accepted in {names}: `annotations review` shows what waits there")
    order.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with new_dataset(order.out, order.dataset.manifest.class_ids, replace=order.replace) as draft:
        work = _Extension(order, draft)
        total = len(order.dataset.manifest.images) + len(accepted)
        for done, step in enumerate(work.steps(accepted)):
            told(done, total)
            step()
        told(total, total)
        draft.finish(work.manifest())
    return read_dataset(order.out)


@dataclass(frozen=True, slots=True)
class _Accepted:
    queue: ReviewQueue
    proposal: Proposal
    decision: Decision


@dataclass
class _Extension:
    """An extension under way."""

    order: ExtensionOrder
    draft: Draft
    entries: list[ImageEntry] = field(default_factory=list)
    prints: list[Fingerprint] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def steps(self, accepted: Sequence[_Accepted]) -> Iterator[Callable[[], None]]:
        """Yield what is to be done, image by image."""
        for entry in self.order.dataset.manifest.images:
            yield partial(self._keep, entry)
        for one in accepted:
            yield partial(self._add, one)

    def _keep(self, entry: ImageEntry) -> None:
        pair = self.order.dataset.load(entry.name)
        self.entries.append(self.draft.keep(pair, entry))
        self.prints.append(fingerprint(pair.image_yx))

    def _add(self, one: _Accepted) -> None:
        image, labels = one.queue.image(one.proposal.name), one.queue.accepted_labels(one.decision)
        known = self._known(one.proposal, image)
        if known is not None:
            said = f"{one.queue.folder.name} has labels of it as well, which were left out: {known} is in the data set"
            self.findings.append(warning(FindingKind.DUPLICATE_IMAGE, one.proposal.source_image, said))
            return
        name = self._free_name(one.proposal)
        origin = Origin(
            one.proposal.source_image,
            f"{one.queue.folder.absolute().name}/{'proposals' if not one.decision.corrected else 'accepted'}",
            one.proposal.page,
            one.proposal.nucleus,
            one.proposal.z,
        )
        self.entries.append(self.draft.add(Pair(name, image, labels), origin, (), _provenance(one)))
        self.prints.append(fingerprint(image))

    def _known(self, proposal: Proposal, image_yx: Plane) -> str | None:
        """Return the name of an image that shows the very same, or the same plane of the same nucleus."""
        place = (proposal.nucleus, proposal.z)
        for entry in self.entries:
            if entry.image_sha256 == proposal.image_sha256:
                return entry.name
            if None not in place and (entry.nucleus, entry.z) == place:
                # Files of two specimens may tell the same place: only what looks the same is the same.
                other = read_plane(self.draft.folder / "images" / f"{entry.name}.tif")
                if likeness(image_yx, other) >= SAME_PICTURE:
                    return entry.name
        return None

    def _free_name(self, proposal: Proposal) -> str:
        """Return the proposal's name, or where another image has it one that no other has."""
        taken = {entry.name for entry in self.entries}
        if proposal.name not in taken:
            return proposal.name
        return f"{proposal.name[:66]}-{hashlib.sha256(proposal.image_sha256.encode()).hexdigest()[:12]}"

    def manifest(self) -> Manifest:
        """Return what the data set says of itself, after images were compared that were not before."""
        base = self.order.dataset.manifest
        if len(self.entries) == len(base.images):
            raise NothingAcceptedError(f"{self.order.dataset.folder} has all that was accepted: nothing to add")
        written = AnnotatedDataset(self.draft.folder, base.model_copy(update={"images": tuple(self.entries)}))
        seen = Collection(self.entries, self.prints, (), lambda name: written.load(name).image_yx)
        entries = with_similar(seen, known=len(base.images))
        findings = (*base.findings, *self.findings, *self._greys())
        images = tuple(sorted(entries, key=lambda entry: entry.name))
        return Manifest.model_validate(base.model_dump() | {"images": images, "findings": findings})

    def _greys(self) -> Iterator[Finding]:
        """Yield a warning for each queue whose 16-bit images became 8 bits by another stretch."""
        base = self.order.dataset.manifest.grey
        ours = (base.low, base.high) if base else (0.0, 255.0)
        for queue in self.order.queues:
            grey = queue.manifest.grey
            if (grey.low, grey.high) != ours:
                said = (
                    f"grey {grey.low:g} to {grey.high:g} became 0 to 255 in {queue.folder.name}, {ours[0]:g} to "
                    f"{ours[1]:g} in the annotations: images of one specimen differ in brightness"
                )
                yield warning(FindingKind.REMARK, "", said)


def _accepted(queue: ReviewQueue) -> Iterator[_Accepted]:
    """Yield what was accepted at last, in the order of names."""
    proposals = queue.proposals()
    for name, decision in sorted(queue.standing().items()):
        if decision.verdict == "accepted":
            proposal = proposals.get(name) or queue.proposal(name)
            yield _Accepted(queue, proposal, decision)


def _provenance(one: _Accepted) -> PseudoLabel:
    return PseudoLabel(
        queue=one.queue.folder.absolute().name,
        networks=one.queue.manifest.networks,
        least_confidence=one.queue.manifest.least_confidence,
        corrected=one.decision.corrected,
        accepted_by=one.decision.by,
        accepted_at=one.decision.at,
        reason=one.decision.reason,
    )


def _refuse_other_pixels(queue: ReviewQueue, dataset: AnnotatedDataset) -> None:
    size = dataset.manifest.voxel_size
    theirs = queue.manifest.voxel_size
    if size is None:
        return
    if queue.manifest.pixel_nm != (size.y_nm, size.x_nm) or (theirs is not None and theirs.z_nm != size.z_nm):
        shown = "x".join(f"{edge:g}" for edge in (theirs.zyx_nm if theirs else queue.manifest.pixel_nm))
        raise OtherPixelsError(
            f"pixels of {queue.folder} are {shown} nm, those of {dataset.folder} "
            f"{'x'.join(f'{edge:g}' for edge in size.zyx_nm)} nm (z, y, x): one data set has one size of pixels"
        )
