"""The review queue on disk: images that nobody annotated, labels that networks propose, and what people decided.

`images/NAME.tif`, `proposals/NAME.tif` and `doubt/NAME.tif` are uint8 (y, x) of one shape; `proposed/NAME.json` is
written last, so that a proposal is there whole or not at all. A decision is a file of its own in `decisions`, never
changed and never removed; labels that were accepted are copied to `accepted`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
import tifffile
from pydantic import AwareDatetime, Field, ValidationError, model_validator

from services.contracts.model_card import Fraction, Positive
from services.contracts.values import Count, Identifier, Pixels, Sha256, Text, Value, VoxelSize, ZIndex
from services.trainer.annotations.class_map import UNLABELLED, UNLABELLED_NAME
from services.trainer.annotations.dataset import (
    QUEUE_MANIFEST,
    DatasetClass,
    Plane,
    pixel_hash,
    read_plane,
    write_plane,
)
from services.trainer.annotations.findings import NotADatasetError
from services.trainer.annotations.overlays import UNLABELLED_COLOUR, class_colours

State = Literal["waiting", "accepted", "rejected"]
PARTS = ("images", "proposals", "doubt", "proposed", "accepted", "decisions")
_DECISION = re.compile(r"(\d{6,})-[0-9a-f]{12}\.json")
_Said = TypeVar("_Said", bound=Value)


class NotAQueueError(ValueError):
    """A folder is no review queue."""


class DamagedQueueError(ValueError):
    """A file of a review queue is missing, altered or cannot be read; the message says which, and what to do."""


class UnknownProposalError(ValueError):
    """A review queue has no proposal of that name."""


class SourceFile(Value):
    """A file that is proposed for, and its pages."""

    name: Text
    pages: Annotated[int, Field(ge=1)]


class Planned(Value):
    """An image that is to get a proposal: one page of a file. Names and places are as an import gives them."""

    name: Identifier
    source_image: Text
    page: Count
    nucleus: Text | None = None
    z: ZIndex | None = None


class Greys(Value):
    """How the images became 8 bits (raw grey of 0 and 255), and what they were normalised by."""

    low: float
    high: float
    mean: float
    sd: Positive


class QueueManifest(Value):
    """What was asked for; never changes.

    Attributes
    ----------
    networks
        Addresses of those that propose.
    classes
        That they tell, by id.
    least_confidence
        Pixels of lower confidence are left unlabelled.
    voxel_size
        Of the images, if it was said; else they are taken to have the networks' pixels.
    network_nm
        Edge of a pixel that the networks expect.
    limit
        How many images were wanted at most.
    sources, images
        Files that were given, and the images chosen of them, by name.
    annotated
        How many images were left out because a data set has their annotations.
    """

    schema_version: Literal[1] = 1
    networks: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    classes: Annotated[tuple[DatasetClass, ...], Field(min_length=2)]
    least_confidence: Fraction
    voxel_size: VoxelSize | None = None
    network_nm: Positive
    grey: Greys
    limit: Count | None = None
    sources: Annotated[tuple[SourceFile, ...], Field(min_length=1)]
    images: Annotated[tuple[Planned, ...], Field(min_length=1)]
    annotated: Count = 0

    @model_validator(mode="after")
    def _names_are_distinct_and_in_order(self) -> Self:
        names = [image.name for image in self.images]
        if names != sorted(set(names)):
            raise ValueError("images are not distinct and in the order of names")
        ids = [c.class_id for c in self.classes]
        if ids != sorted(set(ids)) or len({c.name for c in self.classes}) < len(ids):
            raise ValueError("classes are not distinct and in the order of ids")
        return self

    @property
    def class_ids(self) -> dict[str, int]:
        """Id by class name."""
        return {c.name: c.class_id for c in self.classes}

    @property
    def pixel_nm(self) -> tuple[float, float]:
        """Edges (y, x) of the images' pixels."""
        size = self.voxel_size
        return (size.y_nm, size.x_nm) if size else (self.network_nm, self.network_nm)


class Proposal(Value):
    """What networks propose for one image.

    Attributes
    ----------
    image_sha256, label_sha256
        Of shape and pixels, see `pixel_hash`.
    pixels
        Number of pixels by class name, `unlabelled` included.
    doubt
        Mean over all pixels of one minus the confidence.
    """

    name: Identifier
    height_px: Pixels
    width_px: Pixels
    image_sha256: Sha256
    label_sha256: Sha256
    source_image: Text
    page: Count
    nucleus: Text | None = None
    z: ZIndex | None = None
    pixels: dict[str, Count]
    doubt: Fraction

    @property
    def unlabelled_share(self) -> float:
        """Share of the pixels of which the networks were not sure enough."""
        return self.pixels.get(UNLABELLED_NAME, 0) / (self.height_px * self.width_px)


class Decision(Value):
    """What a person decided about one proposal.

    Attributes
    ----------
    by, at, reason
        Who, when, and why; nobody rejects without a reason.
    proposal_sha256
        Labels that were proposed.
    label_sha256
        Labels that were accepted.
    corrected
        Whether the person changed the proposal.
    """

    name: Identifier
    verdict: Literal["accepted", "rejected"]
    by: Text
    at: AwareDatetime
    reason: str = ""
    proposal_sha256: Sha256
    label_sha256: Sha256 | None = None
    corrected: bool = False

    @model_validator(mode="after")
    def _it_says_what_was_accepted_or_why_not(self) -> Self:
        if (self.verdict == "accepted") != (self.label_sha256 is not None):
            raise ValueError("labels belong to what was accepted, and to nothing else")
        if self.verdict == "rejected" and not self.reason.strip():
            raise ValueError("a proposal is rejected for a reason")
        return self


@dataclass(frozen=True)
class ReviewQueue:
    """A queue on disk.

    Attributes
    ----------
    folder
        Holds everything.
    manifest
        What was asked for.
    """

    folder: Path
    manifest: QueueManifest

    def proposals(self) -> dict[str, Proposal]:
        """Return what is proposed so far, by name, in the order of names.

        Raises
        ------
        DamagedQueueError
            If a file of it cannot be read.
        """
        found = {
            planned.name: _said(Proposal, path)
            for planned in self.manifest.images
            if (path := self.folder / "proposed" / f"{planned.name}.json").is_file()
        }
        if strange := [name for name, proposal in found.items() if proposal.name != name]:
            raise DamagedQueueError(f"{self.folder / 'proposed' / strange[0]}.json is that of another image")
        return found

    def proposal(self, name: str) -> Proposal:
        """Return what is proposed for an image.

        Raises
        ------
        UnknownProposalError
            If nothing is.
        """
        if all(planned.name != name for planned in self.manifest.images):
            raise UnknownProposalError(
                f"{self.folder} has no proposal {name!r}: `annotations review {self.folder}` names them all"
            )
        path = self.folder / "proposed" / f"{name}.json"
        if not path.is_file():
            raise UnknownProposalError(f"nothing is proposed for {name!r} yet: let `annotations propose` go on")
        return _said(Proposal, path)

    def decisions(self) -> tuple[Decision, ...]:
        """Return all decisions in the order in which they were made; of one image the last one counts.

        Raises
        ------
        DamagedQueueError
            If one cannot be read, or is about an image that the queue does not have.
        """
        made = [(number, _said(Decision, path), path) for number, path in self._decided()]
        known = {planned.name for planned in self.manifest.images}
        for _, decision, path in made:
            if decision.name not in known:
                raise DamagedQueueError(f"{path} is about {decision.name!r}, which this queue does not have")
        return tuple(decision for _, decision, _ in sorted(made, key=lambda one: (one[0], one[1].at, one[2].name)))

    def _decided(self) -> list[tuple[int, Path]]:
        """Return the files of decisions with their numbers."""
        found = []
        for path in sorted((self.folder / "decisions").glob("*.json")):
            number = _DECISION.fullmatch(path.name)
            if number is None:
                raise DamagedQueueError(f"{path} is not called as a decision is: give it back the name that it had")
            found.append((int(number[1]), path))
        return found

    def standing(self) -> dict[str, Decision]:
        """Return the decision that counts, by name of the image; those that wait have none."""
        return {decision.name: decision for decision in self.decisions()}

    def image(self, name: str) -> Plane:
        """Return an image, uint8 (y, x), as it was proposed for.

        Raises
        ------
        DamagedQueueError
            If it is not that any more.
        """
        image = self._plane(self.folder / "images" / f"{name}.tif")
        if pixel_hash(image) != self.proposal(name).image_sha256:
            raise DamagedQueueError(
                f"the image {self.folder / 'images' / name}.tif is not the one that was proposed for: put that one "
                "back, or propose in another folder"
            )
        return image

    def doubt(self, name: str) -> Plane:
        """Return how doubtful a proposal is by pixel: uint8 (y, x), 255 times one minus the confidence."""
        return self._plane(self.folder / "doubt" / f"{name}.tif")

    def proposed_labels(self, name: str) -> Path:
        """Return the file of a proposal, which a person may have changed."""
        return self.folder / "proposals" / f"{name}.tif"

    def accepted_labels(self, decision: Decision) -> Plane:
        """Return the labels that a decision accepted, uint8 (y, x).

        Raises
        ------
        DamagedQueueError
            If they are not those any more.
        """
        labels = self._plane(self._accepted_path(decision.name, str(decision.label_sha256)))
        if pixel_hash(labels) != decision.label_sha256:
            raise DamagedQueueError(
                f"the labels of {decision.name} in {self.folder / 'accepted'} changed since {decision.by} accepted "
                "them: accept it again"
            )
        return labels

    def put(self, proposal: Proposal, planes: Mapping[str, Plane]) -> None:
        """Write a proposal whole or not at all.

        Parameters
        ----------
        proposal
            What is said of it.
        planes
            `images`, `proposals` and `doubt`, each uint8 (y, x).
        """
        for part, plane in planes.items():
            partial = self.folder / part / f".{proposal.name}.partial"
            if part == "proposals":
                _write_coloured(partial, plane, self.manifest.class_ids)
            else:
                write_plane(partial, plane)
            partial.replace(self.folder / part / f"{proposal.name}.tif")
        put_durably(self.folder / "proposed" / f"{proposal.name}.json", _encoded(proposal))

    def keep_labels(self, name: str, labels_yx: Plane) -> str:
        """Keep labels that are about to be accepted; return their hash."""
        digest = pixel_hash(labels_yx)
        path = self._accepted_path(name, digest)
        partial = path.with_name(f".{path.name}.partial")
        write_plane(partial, labels_yx)
        partial.replace(path)
        return digest

    def record(self, decision: Decision) -> Path:
        """Add a decision to those that were made, and return its file.

        Files are named by number and content: of two people who decide at one moment, both decisions stay.
        """
        content = _encoded(decision)
        number = 1 + max((number for number, _ in self._decided()), default=0)
        name = f"{number:06d}-{hashlib.sha256(content).hexdigest()[:12]}.json"
        return put_durably(self.folder / "decisions" / name, content)

    def _accepted_path(self, name: str, digest: str) -> Path:
        return self.folder / "accepted" / f"{name}-{digest[:12]}.tif"

    def _plane(self, path: Path) -> Plane:
        try:
            return read_plane(path)
        except NotADatasetError as fault:
            raise DamagedQueueError(f"{self.folder} is damaged: {fault}") from fault


def read_queue(folder: Path) -> ReviewQueue:
    """Open a queue.

    Raises
    ------
    NotAQueueError
        If the folder is none.
    DamagedQueueError
        If a part of it is missing or what it says of itself cannot be read.
    """
    if not (folder / QUEUE_MANIFEST).is_file():
        raise NotAQueueError(
            f"{folder} is no review queue: {QUEUE_MANIFEST} is not there; `annotations propose MODEL IMAGES --out "
            "QUEUE` makes one"
        )
    manifest = _said(QueueManifest, folder / QUEUE_MANIFEST)
    if lacking := [part for part in PARTS if not (folder / part).is_dir()]:
        raise DamagedQueueError(f"{folder} is damaged: it has no folder {lacking[0]}")
    return ReviewQueue(folder, manifest)


def new_queue(folder: Path, manifest: QueueManifest) -> ReviewQueue:
    """Begin a queue in a folder that is empty or not there."""
    for part in PARTS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    colours = class_colours(manifest.class_ids)
    lines = [f"{c.class_id},{c.name},{'#{:02x}{:02x}{:02x}'.format(*colours[c.name])}" for c in manifest.classes]
    lines.append(f"{UNLABELLED},{UNLABELLED_NAME},{'#{:02x}{:02x}{:02x}'.format(*UNLABELLED_COLOUR)}")
    put_durably(folder / "classes.csv", ("value,class,colour\n" + "\n".join(lines) + "\n").encode())
    put_durably(folder / QUEUE_MANIFEST, _encoded(manifest))
    return ReviewQueue(folder, manifest)


def put_durably(path: Path, content: bytes) -> Path:
    """Write a file that is there whole or not at all, also after the power failed."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def _encoded(value: Value) -> bytes:
    return (value.model_dump_json(indent=1, exclude_none=True) + "\n").encode()


def _said(kind: type[_Said], path: Path) -> _Said:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as fault:
        raise DamagedQueueError(f"{path} is damaged: put it back from a copy ({fault})") from fault


def _write_coloured(path: Path, labels_yx: Plane, class_ids: Mapping[str, int]) -> None:
    """Write labels whose values programs show in the classes' colours; the values themselves stay."""
    colours = np.zeros((3, 256), np.uint16)
    for name, colour in class_colours(class_ids).items():
        colours[:, class_ids[name]] = colour
    colours[:, UNLABELLED] = UNLABELLED_COLOUR
    tifffile.imwrite(
        path,
        labels_yx,
        photometric="palette",
        colormap=colours * 257,
        compression="zlib",
        metadata=None,
        software=False,
        predictor=False,
    )
