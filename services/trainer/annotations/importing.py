"""Import: images and whatever an annotation tool wrote in, one canonical data set out, or a list of faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contracts.values import VoxelSize
from services.imaging.grey import GreyStatisticsError, freeze, histogram, to_uint8
from services.trainer.annotations.checks import Looks, looks_of_classes
from services.trainer.annotations.class_map import ClassMap
from services.trainer.annotations.coco import CocoFile
from services.trainer.annotations.collection import Collection, absent_classes, with_warnings
from services.trainer.annotations.dataset import (
    AnnotatedDataset,
    DatasetClass,
    Draft,
    GreyStretch,
    ImageEntry,
    Manifest,
    Origin,
    Pair,
    check_free,
    new_dataset,
    read_dataset,
    refuse_queue,
)
from services.trainer.annotations.duplicates import Fingerprint, fingerprint
from services.trainer.annotations.findings import (
    AnnotationsRefusedError,
    Finding,
    FindingKind,
    NotANumberError,
    UnreadableAnnotationError,
    error,
    errors_of,
    warning,
)
from services.trainer.annotations.judging import Case, Verdict, judge
from services.trainer.annotations.names import partners, place_of, safe_name, stem_of
from services.trainer.annotations.reading import GreyFile, grey_bits, read_grey, read_mask
from services.trainer.annotations.sources import MaskSource, Request, SourceMask, files_of, open_masks

Told = Callable[[int, int], None]
"""Called with the number of images that are done, and of all."""


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What to import.

    Attributes
    ----------
    images
        Folder of images, or one image or stack.
    masks
        Folder of masks, one mask, a COCO `.json` or a webKnossos `.zip`.
    class_map
        What the masks' values stand for.
    out
        Folder of the data set.
    outlines
        Outlines of nuclei for `exterior.from = "outline"`: masks (not 0 is inside), or a COCO file.
    voxel_size
        Of the images; None takes what the files say.
    skip_bad
        Whether faulty files are left out, and named in the manifest, instead of refusing all.
    replace
        Whether a data set at `out` may be replaced.
    allow_empty_classes
        Whether classes may have no pixel in any image.
    """

    images: Path
    masks: Path
    class_map: ClassMap
    out: Path
    outlines: Path | None = None
    voxel_size: VoxelSize | None = None
    skip_bad: bool = False
    replace: bool = False
    allow_empty_classes: bool = False


@dataclass
class _Found:
    """What has been seen so far."""

    entries: list[ImageEntry] = field(default_factory=list)
    prints: list[Fingerprint] = field(default_factory=list)
    looks: list[dict[int, Looks]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    voxel_sizes: list[VoxelSize] = field(default_factory=list)


def import_annotations(order: ImportOrder, told: Told = lambda done, total: None) -> AnnotatedDataset:
    """Import images and masks into a data set; every file is checked, and nothing is written when one is faulty.

    Parameters
    ----------
    order
        What to import.
    told
        Hears of progress.

    Returns
    -------
    AnnotatedDataset
        Warnings are in its manifest, by image and for the whole.

    Raises
    ------
    AnnotationsRefusedError
        If files are faulty and `skip_bad` is not set, or no file is left.
    LabelsExistError
        If `out` is there.
    NotADatasetError
        If the masks are those of a review queue, which nobody annotated.
    UnreadableAnnotationError, ClassMapError
        If the images, or a container of masks as a whole, cannot be read.
    """
    check_free(order.out, replace=order.replace)
    refuse_queue(order.masks)
    images = files_of(order.images)
    order.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        source = opened.enter_context(open_masks(order.masks, order.class_map))
        outlines = _Outlines(order.outlines, images) if order.outlines else None
        draft = opened.enter_context(new_dataset(order.out, order.class_map.class_ids, replace=order.replace))
        matched, unmatched = source.match(images)
        work = _Import(order, draft, source, outlines, _stretch_of(matched))
        work.found.findings += unmatched
        for done, path in enumerate(matched):
            told(done, len(matched))
            work.take(path, images.index(path))
        told(len(matched), len(matched))
        draft.finish(work.manifest())
    return read_dataset(order.out)


class _Outlines:
    """Insides of nuclei, from a folder of masks or the polygons of a COCO file."""

    def __init__(self, path: Path, images: Sequence[Path]) -> None:
        self._coco = CocoFile(path) if path.suffix.lower() == ".json" else None
        if self._coco is not None:
            by_stem = {stem_of(name): name for name in self._coco.names}
            self._names = {image: by_stem[stem_of(image.name)] for image in images if stem_of(image.name) in by_stem}
            return
        files = files_of(path)
        if len(files) == len(images) == 1:
            self._files = {images[0]: files[0]}
            return
        found = partners([image.name for image in images], [file.name for file in files])
        self._files = {images[image]: files[mask] for image, mask in found.pairs}

    def inside(self, image: Path) -> NDArray[np.bool_] | None:
        """Return the inside of the nucleus by plane, bool (z, y, x), or None if there is no outline."""
        if self._coco is not None:
            if image not in self._names:
                return None
            return self._coco.draw(self._names[image], ()).numbers_yx[None] > 0
        if image not in self._files:
            return None
        return np.asarray(read_mask(self._files[image]).values_zyx > 0)


@dataclass
class _Import:
    """An import under way."""

    order: ImportOrder
    draft: Draft
    source: MaskSource
    outlines: _Outlines | None
    stretch: GreyStretch | None
    found: _Found = field(default_factory=_Found)

    def take(self, path: Path, position: int) -> None:
        """Import an image file with all its planes."""
        try:
            grey = read_grey(path)
        except UnreadableAnnotationError as fault:
            self.found.findings.append(_unreadable(path.name, fault))
            return
        planes, rows, columns = grey.planes_zyx.shape
        try:
            given = self.source.read(Request(path, planes, (rows, columns), position))
            inside = self.outlines.inside(path) if self.outlines else None
        except UnreadableAnnotationError as fault:
            self.found.findings.append(_unreadable(f"mask of {path.name}", fault))
            return
        if given.mask.values_zyx.shape[0] != planes:
            said = f"has {given.mask.values_zyx.shape[0]} planes, its image {path.name} has {planes}"
            self.found.findings.append(error(FindingKind.PLANE_COUNT_MISMATCH, given.name, said))
            return
        self._take_planes(path, grey, given, inside)

    def _take_planes(self, path: Path, grey: GreyFile, given: SourceMask, inside: NDArray[np.bool_] | None) -> None:
        if grey.voxel_size is not None:
            self.found.voxel_sizes.append(grey.voxel_size)
        notes = list(given.findings)
        if grey.lossy:
            said = (
                f"the image is compressed by {grey.lossy}: networks learn its artefacts; use the original if there is"
            )
            notes.append(warning(FindingKind.LOSSY_IMAGE, path.name, said))
        empty = 0
        for page, plane in enumerate(grey.planes_zyx):
            place = f"{given.name}, plane {page}" if len(grey.planes_zyx) > 1 else given.name
            case = Case(
                file=place,
                grey_yx=self._eight_bits(plane),
                values_yx=given.mask.values_zyx[page],
                keys=given.keys,
                is_colour=given.mask.is_colour,
                lossy=given.mask.lossy,
                inside_yx=None if inside is None else inside[min(page, len(inside) - 1)],
            )
            verdict = judge(case, self.order.class_map)
            empty += verdict.is_empty
            if not verdict.is_empty:
                self._keep(path, page if len(grey.planes_zyx) > 1 else None, case, verdict, notes)
        self._tell_empty(given.name, empty, len(grey.planes_zyx))

    def _keep(self, path: Path, page: int | None, case: Case, verdict: Verdict, notes: Sequence[Finding]) -> None:
        if verdict.labels_yx is None:
            self.found.findings += verdict.findings
            return
        stem = stem_of(path.name)
        name = safe_name(stem) if page is None else f"{safe_name(stem)}_z{page:04d}"
        if any(entry.name == name for entry in self.found.entries):
            said = f"another image is called {name} already: rename one"
            self.found.findings.append(error(FindingKind.NAME_COLLISION, path.name, said))
            return
        told = place_of(stem, self.order.class_map.name_pattern)
        nucleus, z = (told.nucleus, told.z) if page is None else (stem, page)
        origin = Origin(path.name, case.file.partition(", plane ")[0], page, nucleus, z)
        pair = Pair(name, case.grey_yx, verdict.labels_yx)
        self.found.entries.append(self.draft.add(pair, origin, (*notes, *verdict.findings)))
        self.found.prints.append(fingerprint(pair.image_yx))
        self.found.looks.append(
            looks_of_classes(pair.image_yx, pair.labels_yx, list(self.order.class_map.class_ids.values()))
        )

    def _tell_empty(self, file: str, empty: int, planes: int) -> None:
        if empty and planes == 1:
            said = "nothing is labelled in it: annotate it, or take the image away"
            self.found.findings.append(error(FindingKind.EMPTY_MASK, file, said))
        elif empty:
            said = f"{empty} of {planes} planes have no label and were left out"
            self.found.findings.append(warning(FindingKind.EMPTY_MASK, file, said))

    def _eight_bits(self, plane: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8]:
        if plane.dtype == np.uint8 or self.stretch is None:
            return plane.astype(np.uint8)
        return to_uint8(plane, self.stretch.low, self.stretch.high)

    def manifest(self) -> Manifest:
        """Return what the data set says of itself, after the checks that need all images.

        Raises
        ------
        AnnotationsRefusedError
            If there are faults that are not to be skipped, or nothing is left.
        """
        found, order = self.found, self.order
        dataset = AnnotatedDataset(self.draft.folder, _bare(found.entries, order.class_map))
        seen = Collection(found.entries, found.prints, found.looks, lambda name: dataset.load(name).image_yx)
        entries = with_warnings(seen, order.class_map)
        absent = absent_classes(entries, order.class_map, is_fault=not order.allow_empty_classes)
        faults = errors_of(found.findings)
        if not entries or errors_of(absent) or (faults and not order.skip_bad):
            raise AnnotationsRefusedError([*found.findings, *absent] or [_nothing()])
        return Manifest(
            classes=_classes(order.class_map),
            voxel_size=order.voxel_size or self._voxel_size(),
            grey=self.stretch,
            images=tuple(sorted(entries, key=lambda entry: entry.name)),
            findings=tuple(finding for finding in (*found.findings, *absent) if finding not in faults),
            left_out=faults,
        )

    def _voxel_size(self) -> VoxelSize | None:
        """Return the voxel size that all files agree on."""
        sizes = set(self.found.voxel_sizes)
        if len(sizes) < 2:
            return sizes.pop() if sizes else self.source.voxel_size
        said = f"files state different voxel sizes ({len(sizes)} of them): give the right one (--voxel-nm)"
        self.found.findings.append(warning(FindingKind.REMARK, "", said))
        return None


def _unreadable(file: str, fault: UnreadableAnnotationError) -> Finding:
    kind = FindingKind.NOT_A_NUMBER if isinstance(fault, NotANumberError) else FindingKind.UNREADABLE
    return error(kind, file, str(fault))


def _classes(class_map: ClassMap) -> tuple[DatasetClass, ...]:
    return tuple(DatasetClass(class_id=class_id, name=name) for name, class_id in class_map.class_ids.items())


def _bare(entries: Sequence[ImageEntry], class_map: ClassMap) -> Manifest:
    return Manifest(classes=_classes(class_map), images=tuple(sorted(entries, key=lambda entry: entry.name)))


def _stretch_of(images: Sequence[Path]) -> GreyStretch | None:
    """Return one mapping of grey for all 16-bit images, so that one specimen keeps one grey; None if all have 8."""
    counts: list[NDArray[np.int64]] = []
    for path in images:
        if grey_bits(path) > 8:
            try:
                planes = read_grey(path).planes_zyx
            except UnreadableAnnotationError:
                continue  # said when it is imported
            if planes.dtype == np.uint16:
                counts += [histogram(plane) for plane in planes]
    try:
        statistics = freeze(counts) if counts else None
    except GreyStatisticsError as fault:
        raise UnreadableAnnotationError(f"16-bit images have no contrast: {fault}") from fault
    return GreyStretch(low=statistics.low, high=statistics.high) if statistics else None


def _nothing() -> Finding:
    return error(FindingKind.EMPTY_MASK, "", "no annotated image is left")
