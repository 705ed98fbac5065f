"""Three-dimensional pictures of a nucleus: what figures 7 to 10 of the manuscript show, drawn without a graphics card.

The label volume is smoothed into an occupancy field and looked at through an orthographic camera: one solid of
coloured parts with soft shadows and ambient occlusion, inside the glass-like skin of the nucleus. The background is
transparent. Pictures of one nucleus share camera and scale.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from services.report.colours import (
    CHROMOSOME_COLOURS,
    CLASS_COLOURS,
    MEMBRANE,
    UNRANKED,
    Rgb,
    chromosome_colour,
    to_linear,
    to_srgb,
)
from services.report.content import Pixels, Zyx
from services.report.drawing import with_scale_bar
from services.report.fields import Grid, clearance, fit_grid, pyramid, resample, sheet_field, smooth, solid_field
from services.report.raymarching import SUBSAMPLES, Point, Skin, Solid, View, trace_rows

DEFAULT_SIZE_PX = 480
_AZIMUTH = np.radians(-32.0)  # seen from the first slice, from the right and from above
_ELEVATION = np.radians(24.0)
_MARGIN = 1.06
_SKIN_SIGMA_NM = 40.0
_SHEET_SIGMA_NM = 36.0
_AMBIENT_REACH_NM = 640.0
_BAND_ROWS = 16


class Subject(StrEnum):
    """What a picture shows."""

    EVERYTHING = "everything"
    CHROMOSOMES = "chromosomes"
    COMPLEXES = "complexes"
    MEMBRANE = "membrane"
    INDIVIDUALS = "individuals"


_PARTS: Mapping[Subject, tuple[int, ...]] = {
    Subject.EVERYTHING: (2, 3, 4),
    Subject.CHROMOSOMES: (2,),
    Subject.COMPLEXES: (4,),
    Subject.MEMBRANE: (5,),
}
_SKIN_STRENGTH: Mapping[Subject, float] = {
    Subject.EVERYTHING: 1.0,
    Subject.CHROMOSOMES: 0.6,
    Subject.COMPLEXES: 0.6,
    Subject.MEMBRANE: 0.0,
    Subject.INDIVIDUALS: 0.6,
}


@dataclass(frozen=True, eq=False)
class _Frame:
    """Directions and extent of the camera, in voxels of the grid, axes (z, y, x)."""

    centre: NDArray[np.float64]
    ray: NDArray[np.float64]
    right: NDArray[np.float64]
    down: NDArray[np.float64]
    half_width: float
    depth: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A nucleus made ready to be drawn.

    Parameters
    ----------
    grid
        Where the rendering grid lies in the label volume, and the edge of its voxels.
    classes, chromosomes
        (z, y, x) uint8 on that grid: class, and rank of the chromosome (0 for anything else).
    skin
        Surface of the nucleus as a whole.
    frame
        The camera.
    """

    grid: Grid
    classes: Pixels
    chromosomes: Pixels
    skin: Skin
    frame: _Frame


def prepare(classes: Pixels, chromosomes: Pixels, voxel_nm: Zyx) -> Scene:
    """Return a nucleus made ready to be drawn.

    Parameters
    ----------
    classes
        (z, y, x) uint8: 0 exterior, 1 nucleoplasm, 2 chromosome, 3 nucleolus, 4 SC, 5 nuclear membrane.
    chromosomes
        (z, y, x) uint8 of the same shape: rank of the chromosome, 0 for anything else.
    voxel_nm
        (z, y, x) edge of a voxel.

    Raises
    ------
    EmptyVolumeError
        When nothing is labelled.
    """
    grid = fit_grid(classes, voxel_nm)
    on_grid = resample(classes, grid)
    hull = smooth(on_grid > 0, (_SKIN_SIGMA_NM / grid.spacing_nm,) * 3)
    skin = Skin(hull, clearance(hull), 1.0)
    return Scene(grid, on_grid, resample(chromosomes, grid), skin, _frame(skin))


def render(scene: Scene, subject: Subject, size_px: int = DEFAULT_SIZE_PX, workers: int = 2) -> Pixels:
    """Return a picture of a nucleus, (size_px, size_px, 4) uint8 RGBA with a scale bar.

    Parameters
    ----------
    scene
        From `prepare`.
    subject
        What to show; a subject of which nothing is labelled leaves the skin alone.
    size_px
        Edge of the picture.
    workers
        Threads to draw with; the picture does not depend on it.
    """
    return with_scale_bar(render_bare(scene, subject, size_px, workers), pixel_um(scene, size_px))


def render_bare(scene: Scene, subject: Subject, size_px: int, workers: int = 2) -> Pixels:
    """Return the same picture without a scale bar, for figures that draw their own; parameters as of `render`."""
    parts, colours = _parts(scene, subject)
    field = _sheet_cut_open(scene) if subject is Subject.MEMBRANE else solid_field(parts, scene.grid)
    return _drawn(scene, _Matter(field, parts, colours, _SKIN_STRENGTH[subject]), size_px, workers)


def render_chromosome(scene: Scene, rank: int, size_px: int, workers: int = 2) -> Pixels:
    """Return a picture of one chromosome in its place in the nucleus, without a scale bar; see `render`."""
    parts = (scene.chromosomes == rank).astype(np.uint8)
    matter = _Matter(
        solid_field(parts, scene.grid), parts, (chromosome_colour(rank),), _SKIN_STRENGTH[Subject.INDIVIDUALS]
    )
    return _drawn(scene, matter, size_px, workers)


def pixel_um(scene: Scene, size_px: int) -> float:
    """Return the edge of a pixel of a picture in micrometres."""
    return 2.0 * scene.frame.half_width / size_px * scene.grid.spacing_nm / 1000.0


@dataclass(frozen=True, eq=False)
class _Matter:
    """What a picture shows inside the skin: an occupancy field, the part of each voxel, a colour for each part."""

    field: Pixels
    parts: Pixels
    colours: tuple[Rgb, ...]
    skin_strength: float


def _drawn(scene: Scene, matter: _Matter, size_px: int, workers: int) -> Pixels:
    solid = Solid(matter.field, clearance(matter.field), matter.parts, pyramid(matter.field))
    view = _view(scene.frame, size_px, _AMBIENT_REACH_NM / scene.grid.spacing_nm)
    skin = scene.skin._replace(strength=matter.skin_strength)
    palette = np.stack([to_linear(colour) for colour in (MEMBRANE, *matter.colours)])
    light = np.zeros((size_px, size_px, 4))
    with ThreadPoolExecutor(workers) as pool:
        bands = [(row, min(row + _BAND_ROWS, size_px)) for row in range(0, size_px, _BAND_ROWS)]
        list(pool.map(lambda rows: trace_rows(solid, skin, view, palette, rows, light), bands))
    return _develop(light)


def _parts(scene: Scene, subject: Subject) -> tuple[Pixels, tuple[Rgb, ...]]:
    """Part index of each voxel (0 for nothing) and the colours of parts 1, 2, ..."""
    if subject is Subject.INDIVIDUALS:
        return _individual_parts(scene)
    parts = np.zeros_like(scene.classes)
    for index, label in enumerate(_PARTS[subject], start=1):
        parts[scene.classes == label] = index
    return parts, tuple(CLASS_COLOURS[label] for label in _PARTS[subject])


def _individual_parts(scene: Scene) -> tuple[Pixels, tuple[Rgb, ...]]:
    """Chromosomes by rank; chromosome voxels that belong to none of the ranked ones are one more, grey part."""
    most = len(CHROMOSOME_COLOURS)
    others = np.where(scene.classes == 2, most + 1, 0).astype(np.uint8)
    ranked = (scene.chromosomes > 0) & (scene.chromosomes <= most)
    colours = tuple(chromosome_colour(rank) for rank in range(1, most + 1))
    return np.where(ranked, scene.chromosomes, others).astype(np.uint8), (*colours, UNRANKED)


def _sheet_cut_open(scene: Scene) -> Pixels:
    """Field of the membrane without the eighth that points at the camera, so that one sees into the nucleus."""
    sheet = scene.classes == 5
    field = sheet_field(sheet, (scene.classes > 0) & ~sheet, _SHEET_SIGMA_NM / scene.grid.spacing_nm)
    eighth = []
    for axis, size in enumerate(field.shape):
        middle = round(float(scene.frame.centre[axis]))
        eighth.append(slice(0, middle) if scene.frame.ray[axis] > 0 else slice(middle, size))
    field[tuple(eighth)] = 0
    return field


def _frame(skin: Skin) -> _Frame:
    """Camera that holds the whole nucleus."""
    ray = np.array([np.cos(_ELEVATION) * np.cos(_AZIMUTH), np.sin(_ELEVATION), np.cos(_ELEVATION) * np.sin(_AZIMUTH)])
    # Axes are (z, y, x), which turns the hand of a cross product round: what is true left stays left.
    right = np.cross(np.array([0.0, -1.0, 0.0]), ray)
    right /= np.linalg.norm(right)
    down = np.cross(right, ray)
    points = 2.0 * np.argwhere(skin.clearance == 0) + 0.5
    low, high = zip(*[((points @ axis).min(), (points @ axis).max()) for axis in (ray, right, down)], strict=True)
    middle = [(a + b) / 2.0 for a, b in zip(low, high, strict=True)]
    centre = middle[0] * ray + middle[1] * right + middle[2] * down
    half_width = _MARGIN * max(high[1] - low[1], high[2] - low[2]) / 2.0 + 2.0
    return _Frame(centre, ray, right, down, half_width, float(high[0] - low[0]) + 16.0)


def _view(frame: _Frame, size_px: int, reach: float) -> View:
    """Camera of a picture of a size: rays through the middles of the subsamples, light over the left shoulder."""
    count = size_px * SUBSAMPLES
    step = 2.0 * frame.half_width / count
    offset = frame.half_width - step / 2.0
    corner = frame.centre - frame.ray * frame.depth / 2.0 - offset * (frame.right + frame.down)
    light = 0.75 * frame.ray + 0.55 * frame.right + 0.75 * frame.down
    return View(
        corner=_point(corner),
        right=_point(step * frame.right),
        down=_point(step * frame.down),
        ray=_point(frame.ray),
        light=_point(light / np.linalg.norm(light)),
        depth=frame.depth,
        reach=reach,
    )


def _point(vector: NDArray[np.float64]) -> Point:
    return float(vector[0]), float(vector[1]), float(vector[2])


def _develop(light: NDArray[np.float64]) -> Pixels:
    """Turn premultiplied linear RGBA into straight sRGB with alpha, uint8."""
    alpha = np.clip(light[..., 3:], 0.0, 1.0)
    colour = to_srgb(light[..., :3] / np.maximum(alpha, 1e-6))
    return np.concatenate([colour, np.floor(alpha * 255.0 + 0.5).astype(np.uint8)], axis=2)
