"""COCO annotations: polygons and run-length masks, drawn by pycocotools as its authors mean them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from services.trainer.annotations.findings import UnreadableAnnotationError

Polygon = Annotated[list[float], Field(min_length=6)]


class _Runs(BaseModel):
    size: tuple[int, int]
    counts: list[int] | str


class _Region(BaseModel):
    id: int
    image_id: int
    category_id: int
    segmentation: list[Polygon] | _Runs


class _Picture(BaseModel):
    id: int
    file_name: str
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]


class _Category(BaseModel):
    id: int
    name: str


class _File(BaseModel):
    images: list[_Picture]
    annotations: list[_Region]
    categories: list[_Category]


@dataclass(frozen=True, eq=False)
class Drawn:
    """The regions of one image.

    Attributes
    ----------
    numbers_yx
        int64 (y, x): number of the category, see `CocoFile.category_names`; 0 where there is no region.
    overlap_px
        Pixels that regions of different categories claim; the later category of the order has them.
    """

    numbers_yx: NDArray[np.int64]
    overlap_px: int


class CocoFile:
    """A COCO file of instance annotations.

    Parameters
    ----------
    path
        JSON file.

    Attributes
    ----------
    names
        File names of its images, in the order of the file.
    category_names
        Name by number; numbers begin with 1, in the order of the file.

    Raises
    ------
    UnreadableAnnotationError
        If it is no COCO file of polygons or run-length masks, or two of its images have one name.
    """

    def __init__(self, path: Path) -> None:
        try:
            content = _File.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as fault:
            raise UnreadableAnnotationError(f"{path.name} is no COCO file of regions: {str(fault)[:600]}") from fault
        self._pictures: dict[str, _Picture] = {}
        for picture in content.images:
            known = self._pictures.setdefault(PurePosixPath(picture.file_name).name, picture)
            if known is not picture:
                raise UnreadableAnnotationError(
                    f"{path.name} has two images of one name, {known.file_name} and {picture.file_name}: images are "
                    "found by name, without their folders; give each a name of its own"
                )
        self._regions: dict[int, list[_Region]] = {}
        for region in sorted(content.annotations, key=lambda region: region.id):
            self._regions.setdefault(region.image_id, []).append(region)
        self._numbers = {category.id: number for number, category in enumerate(content.categories, start=1)}
        lacking = {region.category_id for region in content.annotations} - set(self._numbers)
        if lacking:
            raise UnreadableAnnotationError(f"{path.name} has regions of categories {sorted(lacking)} it does not name")
        self.names = tuple(self._pictures)
        self.category_names: Mapping[int, str] = {
            self._numbers[category.id]: category.name for category in content.categories
        }

    def draw(self, name: str, order: Sequence[str]) -> Drawn:
        """Return the regions of an image, drawn one over the other.

        Parameters
        ----------
        name
            File name of the image.
        order
            Names of categories; later ones cover earlier ones, and those that are not named lie lowest.

        Raises
        ------
        UnreadableAnnotationError
            If a region is malformed.
        """
        picture = self._pictures[name]
        numbers = np.zeros((picture.height, picture.width), np.int64)
        rank = {category: position for position, category in enumerate(order)}
        regions = sorted(
            self._regions.get(picture.id, ()),
            key=lambda region: (rank.get(self.category_names[self._numbers[region.category_id]], -1), region.id),
        )
        claims = np.zeros_like(numbers, dtype=bool)
        for region in regions:
            number = self._numbers[region.category_id]
            inside = _inside(region, picture)
            claims |= inside & (numbers != 0) & (numbers != number)
            numbers[inside] = number
        return Drawn(numbers, int(claims.sum()))


def _inside(region: _Region, picture: _Picture) -> NDArray[np.bool_]:
    from pycocotools import mask as coco_mask  # noqa: PLC0415 - part of the extra `train`

    shape = (picture.height, picture.width)
    drawn: Any = region.segmentation
    try:
        if isinstance(drawn, _Runs):
            runs: Any = {"size": list(drawn.size), "counts": drawn.counts}
            if isinstance(drawn.counts, list):
                runs = coco_mask.frPyObjects(runs, *shape)
        else:
            runs = coco_mask.merge(coco_mask.frPyObjects(drawn, *shape))
        with warnings.catch_warnings():
            # pycocotools 2.0.11 gives its arrays in the way of NumPy 1.
            warnings.simplefilter("ignore", DeprecationWarning)
            inside = np.asarray(coco_mask.decode(runs)).astype(bool)
    except Exception as fault:
        raise UnreadableAnnotationError(f"region {region.id} cannot be drawn: {fault}") from fault
    if inside.shape != shape:
        raise UnreadableAnnotationError(f"region {region.id} has shape {inside.shape}, its image {shape}")
    return inside
