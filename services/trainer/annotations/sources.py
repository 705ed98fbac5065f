"""Where masks come from: a folder of files, a COCO file, or a webKnossos zip, all asked in one way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from services.contracts.values import VoxelSize
from services.trainer.annotations.class_map import ClassMap, Keys
from services.trainer.annotations.coco import CocoFile
from services.trainer.annotations.findings import (
    Finding,
    FindingKind,
    UnreadableAnnotationError,
    error,
    warning,
)
from services.trainer.annotations.names import partners, place_of, stem_of
from services.trainer.annotations.reading import MaskFile, is_annotation_file, read_mask
from services.trainer.annotations.webknossos import WebKnossosVolume


@dataclass(frozen=True, eq=False)
class SourceMask:
    """The masks of one image file.

    Attributes
    ----------
    name
        File it came from.
    mask
        Values by plane.
    keys
        What the values stand for.
    findings
        What a person should know.
    """

    name: str
    mask: MaskFile
    keys: Keys
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Request:
    """Which mask is wanted.

    Attributes
    ----------
    image
        The image file.
    planes, shape_yx
        Of the image.
    position
        Of the image file among all images; the z of single planes of a volume whose names tell none.
    """

    image: Path
    planes: int
    shape_yx: tuple[int, int]
    position: int


class MaskSource(Protocol):
    """Gives masks to images."""

    @property
    def voxel_size(self) -> VoxelSize | None:
        """What the masks say of the voxel."""

    def match(self, images: Sequence[Path]) -> tuple[list[Path], list[Finding]]:
        """Return the images that have a mask, in order, and what is without a partner."""

    def read(self, request: Request) -> SourceMask:
        """Return the mask of an image that has one.

        Raises
        ------
        UnreadableAnnotationError
            If it cannot be read.
        """


@contextmanager
def open_masks(path: Path, class_map: ClassMap) -> Iterator[MaskSource]:
    """Open masks by what lies at a path: a folder or one file, `.json` for COCO, `.zip` for webKnossos.

    Raises
    ------
    UnreadableAnnotationError
        If they are none of these.
    """
    if path.suffix.lower() == ".json":
        yield _CocoMasks(CocoFile(path), path.name, class_map)
    elif path.suffix.lower() == ".zip":
        with WebKnossosVolume(path, class_map.webknossos.layer) as volume:
            yield _WebKnossosMasks(volume, path.name, class_map)
    else:
        yield _FolderMasks(files_of(path), class_map)


def files_of(path: Path) -> list[Path]:
    """Return the images of a folder in the order of their names, or the one file that is given.

    Raises
    ------
    UnreadableAnnotationError
        If there are none.
    """
    files = sorted(filter(is_annotation_file, path.iterdir())) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise UnreadableAnnotationError(f"{path} holds no images (.tif, .tiff, .png, .jpg and the like)")
    return files


class _FolderMasks:
    """One file for each image, of the same name or with `_mask`, `_label` and the like."""

    voxel_size: VoxelSize | None = None

    def __init__(self, files: Sequence[Path], class_map: ClassMap) -> None:
        self._files = files
        self._class_map = class_map
        self._of: Mapping[Path, Path] = {}

    def match(self, images: Sequence[Path]) -> tuple[list[Path], list[Finding]]:
        if len(images) == len(self._files) == 1:
            self._of = {images[0]: self._files[0]}
            return list(images), []
        found = partners([path.name for path in images], [path.name for path in self._files])
        self._of = {images[image]: self._files[mask] for image, mask in found.pairs}
        return [images[image] for image, _ in found.pairs], [
            *(_no_mask(images[image].name) for image in found.lonely_images),
            *(_no_image(self._files[mask].name) for mask in found.lonely_masks),
            *(
                error(FindingKind.NAME_COLLISION, self._files[mask].name, "another mask belongs to the same image")
                for mask in found.contested
            ),
        ]

    def read(self, request: Request) -> SourceMask:
        path = self._of[request.image]
        mask = read_mask(path)
        notes = tuple(warning(FindingKind.REMARK, path.name, remark) for remark in mask.remarks)
        if self._class_map.colours and (mask.is_colour or mask.palette is not None or not self._class_map.values):
            return SourceMask(path.name, mask.as_colours(), self._class_map.colour_keys(), notes)
        return SourceMask(path.name, mask.as_values(), self._class_map.value_keys(), notes)


class _CocoMasks:
    """Regions of a COCO file."""

    voxel_size: VoxelSize | None = None

    def __init__(self, coco: CocoFile, name: str, class_map: ClassMap) -> None:
        self._coco, self._name, self._class_map = coco, name, class_map
        self._keys = class_map.category_keys(coco.category_names)
        self._of: Mapping[Path, str] = {}

    def match(self, images: Sequence[Path]) -> tuple[list[Path], list[Finding]]:
        by_name, by_stem = {path.name: path for path in images}, {stem_of(path.name): path for path in images}
        of: dict[Path, str] = {}
        findings = []
        for name in self._coco.names:
            path = by_name.get(name, by_stem.get(stem_of(name)))
            if path is None or path in of:
                findings.append(_no_image(f"{self._name}:{name}"))
            else:
                of[path] = name
        self._of = of
        findings += [_no_mask(path.name) for path in images if path not in of]
        return [path for path in images if path in of], findings

    def read(self, request: Request) -> SourceMask:
        name = self._of[request.image]
        drawn = self._coco.draw(name, list(self._class_map.categories))
        notes: tuple[Finding, ...] = ()
        if drawn.overlap_px:
            said = f"{drawn.overlap_px} pixels belong to regions of two categories: the later of [categories] has them"
            notes = (warning(FindingKind.OVERLAP, f"{self._name}:{name}", said),)
        return SourceMask(f"{self._name}:{name}", MaskFile(drawn.numbers_yx[None]), self._keys, notes)


class _WebKnossosMasks:
    """Planes of a volume layer, at the place that the class map gives the images."""

    def __init__(self, volume: WebKnossosVolume, name: str, class_map: ClassMap) -> None:
        self._volume, self._name, self._class_map = volume, name, class_map

    @property
    def voxel_size(self) -> VoxelSize | None:
        return self._volume.voxel_size

    def match(self, images: Sequence[Path]) -> tuple[list[Path], list[Finding]]:
        return list(images), []

    def read(self, request: Request) -> SourceMask:
        z0, y0, x0 = self._class_map.webknossos.offset_zyx_px
        if request.planes == 1:
            told = place_of(stem_of(request.image.name), self._class_map.name_pattern).z
            z0 += request.position if told is None else told
        planes = [self._volume.plane(z0 + page, (y0, x0), request.shape_yx) for page in range(request.planes)]
        return SourceMask(self._name, MaskFile(np.stack(planes)), self._keys())

    def _keys(self) -> Keys:
        """Segments by their names where the map names them, by their ids otherwise."""
        keys = self._class_map.value_keys()
        named = {
            segment: self._class_map.code(self._class_map.categories[name])
            for segment, name in self._volume.segment_names.items()
            if name in self._class_map.categories
        }
        nothing = {} if 0 in keys.singles else {0: self._class_map.code(self._class_map.unannotated)}
        return Keys({**nothing, **keys.singles, **named}, keys.ranges, keys.other)


def _no_mask(image: str) -> Finding:
    return error(FindingKind.IMAGE_WITHOUT_MASK, image, "no mask belongs to it: add one, or take the image away")


def _no_image(mask: str) -> Finding:
    return error(
        FindingKind.MASK_WITHOUT_IMAGE, mask, "no image belongs to it: names must agree but for _mask or _label"
    )
