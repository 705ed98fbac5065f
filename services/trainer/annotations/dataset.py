"""The canonical annotated data set: a folder of images and labels that training reads, and nothing else.

`images/NAME.tif` and `labels/NAME.tif` are uint8 (y, x) of one shape; `dataset.json` says what the labels mean,
where each pair came from, and the hash of its pixels. Label 255 is unlabelled: ignored in losses and scores.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import tifffile
from numpy.typing import NDArray
from pydantic import (
    AwareDatetime,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from services.contracts.model_card import Fraction
from services.contracts.values import Count, Identifier, Pixels, Sha256, Text, Value, VoxelSize, ZIndex
from services.trainer.annotations.class_map import UNLABELLED, UNLABELLED_NAME, ClassNumber
from services.trainer.annotations.findings import (
    Finding,
    FindingKind,
    LabelsExistError,
    NotADatasetError,
    error,
    warning,
)

Plane = NDArray[np.uint8]
MANIFEST, QUEUE_MANIFEST = "dataset.json", "review-queue.json"
# At the top of a data set's folder; the page is written by the command line.
_WRITTEN = frozenset({"images", "labels", MANIFEST, "report.html"})
_READING_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class DatasetClass(Value):
    """A class of the data set."""

    class_id: ClassNumber
    name: Identifier


class PseudoLabel(Value):
    """Why an image is labelled that nobody annotated: networks proposed its labels, and a person accepted them.

    Attributes
    ----------
    queue
        Name of the review queue's folder.
    networks
        Addresses of those that proposed.
    least_confidence
        Pixels of lower confidence were left unlabelled.
    corrected
        Whether the person changed the proposal.
    accepted_by, accepted_at, reason
        Who accepted it, when, and why if that was said.
    """

    queue: Text
    networks: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    least_confidence: Fraction
    corrected: bool
    accepted_by: Text
    accepted_at: AwareDatetime
    reason: str = ""


class ImageEntry(Value):
    """One annotated image.

    Attributes
    ----------
    name
        Of both files, without suffix.
    image_sha256, label_sha256
        Of shape and pixels, see `pixel_hash`; not of the compressed file.
    source_image, source_mask, page
        Files it came from, by name, and the page of a stack.
    nucleus, z
        Nucleus or stack, and plane, where they can be told.
    pixels
        Number of pixels by class name, `unlabelled` included.
    similar
        Images that show the same or nearly the same, by name.
    warnings
        What a person should look at.
    pseudo_label
        Where the labels come from if no person drew them: such an image is learned from and never judges a network.
        None for annotations, and not written then.
    """

    name: Identifier
    height_px: Pixels
    width_px: Pixels
    image_sha256: Sha256
    label_sha256: Sha256
    source_image: Text
    source_mask: Text
    page: Count | None = None
    nucleus: Text | None = None
    z: ZIndex | None = None
    pixels: dict[str, Count]
    similar: tuple[Identifier, ...] = ()
    warnings: tuple[Finding, ...] = ()
    pseudo_label: PseudoLabel | None = None

    @model_serializer(mode="wrap")
    def _annotations_are_written_as_ever(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if self.pseudo_label is None:
            written.pop("pseudo_label", None)
        return written

    @property
    def labelled_px(self) -> int:
        """Pixels that somebody annotated."""
        return self.height_px * self.width_px - self.pixels.get(UNLABELLED_NAME, 0)


class GreyStretch(Value):
    """Grey of the 16-bit sources that became 0 and 255."""

    low: Annotated[float, Field(ge=0)]
    high: Annotated[float, Field(gt=0)]


class Manifest(Value):
    """What `dataset.json` says.

    Attributes
    ----------
    classes
        By id.
    voxel_size
        Edge of the images' voxels, where it is known.
    grey
        How 16-bit sources became 8 bits; None when all had 8.
    images
        By name.
    findings
        About the data set as a whole.
    left_out
        About files that were refused.
    """

    schema_version: Literal[1] = 1
    classes: Annotated[tuple[DatasetClass, ...], Field(min_length=1)]
    voxel_size: VoxelSize | None = None
    grey: GreyStretch | None = None
    images: tuple[ImageEntry, ...]
    findings: tuple[Finding, ...] = ()
    left_out: tuple[Finding, ...] = ()

    @model_validator(mode="after")
    def _names_and_ids_are_distinct(self) -> Self:
        names, ids = [c.name for c in self.classes], [c.class_id for c in self.classes]
        if ids != sorted(set(ids)) or len(set(names)) < len(names):
            raise ValueError(f"classes are not distinct and in the order of ids: {dict(zip(names, ids, strict=True))}")
        images = [image.name for image in self.images]
        if images != sorted(set(images)):
            raise ValueError("images are not distinct and in the order of names")
        return self

    @model_validator(mode="after")
    def _pixels_are_those_of_the_classes(self) -> Self:
        known = {*(c.name for c in self.classes), UNLABELLED_NAME}
        for image in self.images:
            if set(image.pixels) - known or sum(image.pixels.values()) != image.height_px * image.width_px:
                raise ValueError(f"{image.name}: pixels by class do not add up: {image.pixels}")
        return self

    @property
    def class_ids(self) -> dict[str, int]:
        """Id by class name."""
        return {c.name: c.class_id for c in self.classes}

    @property
    def pseudo_labelled(self) -> tuple[str, ...]:
        """Names of the images whose labels networks proposed."""
        return tuple(image.name for image in self.images if image.pseudo_label is not None)

    def pixels(self) -> dict[str, int]:
        """Return the pixels of all images together, by class name."""
        names = [*self.class_ids, UNLABELLED_NAME]
        return {name: sum(image.pixels.get(name, 0) for image in self.images) for name in names}


@dataclass(frozen=True, eq=False)
class Pair:
    """An image and its labels, both uint8 (y, x) of one shape."""

    name: str
    image_yx: Plane
    labels_yx: Plane


@dataclass(frozen=True)
class AnnotatedDataset:
    """A data set on disk.

    Attributes
    ----------
    folder
        Holds `images`, `labels` and `dataset.json`.
    manifest
        What `dataset.json` says.
    """

    folder: Path
    manifest: Manifest

    def load(self, name: str) -> Pair:
        """Return a pair by name.

        Raises
        ------
        NotADatasetError
            If there is none of that name, or its files cannot be read or are not as the manifest says.
        """
        entry = self.entry(name)
        image, labels = (read_plane(self.folder / part / f"{name}.tif") for part in ("images", "labels"))
        if image.shape != (entry.height_px, entry.width_px) or labels.shape != image.shape:
            raise NotADatasetError(f"{name} has shapes {image.shape} and {labels.shape}, not what {MANIFEST} says")
        return Pair(name, image, labels)

    def load_unchanged(self, name: str) -> Pair:
        """Return a pair by name, whose pixels are those that were imported.

        Raises
        ------
        NotADatasetError
            As `load`, and if the pixels are not those that the manifest vouches for.
        """
        pair = self.load(name)
        if changed := _changed_since_import(pair, self.entry(name)):
            raise NotADatasetError(
                f"{name}: {changed} changed since the import, and what was checked no longer holds: "
                f"`fibsem-nuclei annotations check {self.folder}` names all that changed; import again"
            )
        return pair

    def entry(self, name: str) -> ImageEntry:
        """Return what the manifest says of an image."""
        for image in self.manifest.images:
            if image.name == name:
                return image
        raise NotADatasetError(f"{self.folder} has no image {name!r}")

    def pairs(self, names: Sequence[str] | None = None) -> Iterator[Pair]:
        """Yield pairs, all in the order of names, or those named in the order given."""
        for name in names if names is not None else [image.name for image in self.manifest.images]:
            yield self.load(name)


def read_dataset(folder: Path) -> AnnotatedDataset:
    """Open a data set; pixels are read by `load`.

    Raises
    ------
    NotADatasetError
        If the folder holds none.
    """
    refuse_queue(folder)
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except OSError as fault:
        raise NotADatasetError(f"{folder} is no annotated data set: {MANIFEST} is not there") from fault
    except ValidationError as fault:
        raise NotADatasetError(f"{folder / MANIFEST} is not valid: {fault}") from fault
    return AnnotatedDataset(folder, manifest)


def refuse_queue(path: Path) -> None:
    """Raise `NotADatasetError` if a path is a review queue or lies in one: what it holds is proposed, not annotated."""
    for folder in (path, path.parent, path.parent.parent):
        if (folder / QUEUE_MANIFEST).is_file():
            raise NotADatasetError(
                f"{path} belongs to a review queue, and proposals are no annotations: look at them (fibsem-nuclei "
                f"annotations review {folder}), accept those that are right (annotations accept), and add these to a "
                "data set (annotations extend)"
            )


def pixel_hash(plane_yx: NDArray[Any]) -> str:
    """Return the SHA-256 of a plane's shape and pixels, whatever its compression on disk.

    Parameters
    ----------
    plane_yx
        (y, x) uint8.

    Examples
    --------
    >>> flat, tall = np.zeros((1, 4), np.uint8), np.zeros((4, 1), np.uint8)
    >>> pixel_hash(flat) == pixel_hash(tall)
    False
    """
    rows, columns = plane_yx.shape
    digest = hashlib.sha256(f"{plane_yx.dtype} {rows} {columns}\n".encode())
    digest.update(np.ascontiguousarray(plane_yx).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pair came from; see `ImageEntry`."""

    source_image: str
    source_mask: str
    page: int | None = None
    nucleus: str | None = None
    z: int | None = None


@dataclass
class Draft:
    """A data set that is being written; nothing of it can be seen under its own name until it is whole.

    Attributes
    ----------
    folder
        Where it is written meanwhile.
    class_ids
        Id by class name.
    """

    folder: Path
    class_ids: Mapping[str, int]
    _manifest: Manifest | None = field(default=None, init=False)

    def add(
        self,
        pair: Pair,
        origin: Origin,
        warnings: Sequence[Finding] = (),
        pseudo_label: PseudoLabel | None = None,
    ) -> ImageEntry:
        """Write a pair and return its entry.

        Raises
        ------
        ValueError
            If shapes or types differ from what a pair is, or a label is no class.
        """
        self._write(pair)
        return ImageEntry(
            name=pair.name,
            height_px=pair.image_yx.shape[0],
            width_px=pair.image_yx.shape[1],
            image_sha256=pixel_hash(pair.image_yx),
            label_sha256=pixel_hash(pair.labels_yx),
            source_image=origin.source_image,
            source_mask=origin.source_mask,
            page=origin.page,
            nucleus=origin.nucleus,
            z=origin.z,
            pixels=pixels_by_class(pair.labels_yx, self.class_ids),
            warnings=tuple(warnings),
            pseudo_label=pseudo_label,
        )

    def keep(self, pair: Pair, entry: ImageEntry) -> ImageEntry:
        """Write a pair of another data set; return its entry as it was there.

        Raises
        ------
        NotADatasetError
            If the pixels are not those that the entry vouches for.
        """
        if _changed_since_import(pair, entry):
            raise NotADatasetError(f"{entry.name} changed since its import: import it again")
        self._write(pair)
        return entry

    def _write(self, pair: Pair) -> None:
        _check_pair(pair, self.class_ids)
        write_plane(self.folder / "images" / f"{pair.name}.tif", pair.image_yx)
        write_plane(self.folder / "labels" / f"{pair.name}.tif", pair.labels_yx)

    def finish(self, manifest: Manifest) -> None:
        """Say what was written; without it, leaving the context writes nothing."""
        self._manifest = manifest
        text = manifest.model_dump_json(indent=1) + "\n"
        (self.folder / MANIFEST).write_text(text, encoding="utf-8")

    @property
    def is_finished(self) -> bool:
        """Whether `finish` was called."""
        return self._manifest is not None


@contextmanager
def new_dataset(folder: Path, class_ids: Mapping[str, int], *, replace: bool = False) -> Iterator[Draft]:
    """Write a data set whole or not at all: it takes its name when it is finished.

    Parameters
    ----------
    folder
        Name of the data set.
    class_ids
        Id by class name.
    replace
        Whether a data set of that name may be replaced; anything else of that name is left alone, and so is what
        others laid into its folder.

    Raises
    ------
    LabelsExistError
        If something of that name is there.
    """
    folder = folder.absolute()
    check_free(folder, replace=replace)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for part in ("images", "labels"):
        (partial / part).mkdir(parents=True)
    try:
        draft = Draft(partial, dict(class_ids))
        yield draft
        if draft.is_finished:
            _take_name(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(folder: Path, *, replace: bool) -> None:
    """Raise `LabelsExistError` unless a data set may be written under that name."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST).is_file():
        raise LabelsExistError(f"{folder} is there and is no annotated data set: name another folder")
    if not replace:
        raise LabelsExistError(f"{folder} holds a data set: name another folder, or say --replace")


def pixels_by_class(labels_yx: Plane, class_ids: Mapping[str, int]) -> dict[str, int]:
    """Count the pixels of each class that occurs, and of `unlabelled`.

    >>> pixels_by_class(np.array([[2, 2, 255]], np.uint8), {"chromosome": 2, "nucleolus": 3})
    {'chromosome': 2, 'nucleolus': 0, 'unlabelled': 1}
    """
    counts = np.bincount(labels_yx.ravel(), minlength=256)
    return {name: int(counts[class_id]) for name, class_id in (*class_ids.items(), (UNLABELLED_NAME, UNLABELLED))}


def verify(dataset: AnnotatedDataset) -> Iterator[Finding]:
    """Yield what is not as the manifest says: changed pixels, labels that are no class, files too many.

    One finding at most per image, in the order of names, then stray files.
    """
    for entry in dataset.manifest.images:
        finding = _changed(dataset, entry)
        if finding is not None:
            yield finding
    names = {image.name for image in dataset.manifest.images}
    for part in ("images", "labels"):
        for path in sorted((dataset.folder / part).glob("*")):
            if path.stem not in names or path.suffix != ".tif":
                yield warning(FindingKind.STRAY_FILE, f"{part}/{path.name}", f"{MANIFEST} does not know it")


def _changed(dataset: AnnotatedDataset, entry: ImageEntry) -> Finding | None:
    try:
        pair = dataset.load(entry.name)
        _check_pair(pair, dataset.manifest.class_ids)
    except ValueError as fault:
        return error(FindingKind.UNREADABLE, entry.name, str(fault))
    if changed := _changed_since_import(pair, entry):
        said = f"{changed} changed since the import: import again, so that checks and hashes hold"
        return error(FindingKind.HASH_MISMATCH, entry.name, said)
    return None


def _changed_since_import(pair: Pair, entry: ImageEntry) -> str:
    """Return which of the two has other pixels than its entry vouches for; empty if neither has."""
    hashes = {"image": (pair.image_yx, entry.image_sha256), "labels": (pair.labels_yx, entry.label_sha256)}
    return " and ".join(what for what, (plane, expected) in hashes.items() if pixel_hash(plane) != expected)


def _check_pair(pair: Pair, class_ids: Mapping[str, int]) -> None:
    image, labels = pair.image_yx, pair.labels_yx
    if image.ndim != 2 or image.shape != labels.shape or {image.dtype, labels.dtype} != {np.dtype(np.uint8)}:
        raise ValueError(
            f"{pair.name}: image {image.shape} {image.dtype} and labels {labels.shape} {labels.dtype}: "
            "both must be uint8 (y, x) of one shape"
        )
    known = {*class_ids.values(), UNLABELLED}
    strange = sorted(set(np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()) - known)
    if strange:
        raise ValueError(f"{pair.name}: labels {strange} are no classes; classes: {dict(class_ids)}")


def write_plane(path: Path, plane_yx: Plane) -> None:
    """Write a plane, uint8 (y, x), as the files of a data set are written: same pixels, same bytes."""
    # No metadata: it would name the version of the writer, and the same data set would have other bytes.
    tifffile.imwrite(
        path, plane_yx, photometric="minisblack", compression="zlib", metadata=None, software=False, predictor=False
    )


def read_plane(path: Path) -> Plane:
    """Return a plane, uint8 (y, x).

    Raises
    ------
    NotADatasetError
        If it cannot be read as that.
    """
    try:
        plane = tifffile.imread(path)
    except _READING_FAULTS as fault:
        raise NotADatasetError(f"{path} cannot be read: {fault}") from fault
    if plane.ndim != 2 or plane.dtype != np.uint8:
        raise NotADatasetError(f"{path} holds {plane.shape} {plane.dtype}, not uint8 (y, x)")
    return np.asarray(plane, np.uint8)


def _take_name(partial: Path, folder: Path) -> None:
    """Put a data set in the place of one before; what others laid beside that one's files, such as a split, stays."""
    old = folder.with_name(f".{folder.name}.replaced")
    if old.exists():
        # Whoever was here before was killed.
        _take_over(old, folder)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    if old.exists():
        _take_over(old, folder)


def _take_over(old: Path, folder: Path) -> None:
    """Move what no import wrote from a data set that was replaced, and remove the rest."""
    folder.mkdir(exist_ok=True)
    for path in old.iterdir():
        if path.name not in _WRITTEN and not (folder / path.name).exists():
            path.rename(folder / path.name)
    shutil.rmtree(old, ignore_errors=True)
