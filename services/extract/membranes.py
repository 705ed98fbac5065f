"""Nuclei as rings: proposals on a lattice, drawn to the membranes round them, and kept where the membrane is real."""

import dataclasses
import math

import cv2
import numpy as np
import numpy.typing as npt

from services.extract.contours import Ellipse, fit_ellipse, overlap_areas
from services.extract.outlines import Circle, Outline, make_outline
from services.extract.polygons import Points, centroid, clip_to_rectangle, fit_circles, signed_area
from services.extract.profiles import DetectionProfile
from services.extract.rings import FloatArray, Probe, ray_directions, trace_rings

_COARSE_RAYS, _FINE_RAYS = 32, 96
_COARSE_TURNS = 4  # a proposal is at most 0.7 radii off; so many steps bring it to the middle
_INNER_PART, _OUTER_PART = 0.32, 1.25  # rays cover this much less and more than the window of sizes
_COARSE_STEPS = 25  # radial steps of the coarse search in the least radius
_FINE_BAND = 5  # the fine search looks this many coarse steps to either side
_STRICTNESS = (0.5, 0.75, 0.85)  # part of what a ring must show in the end that a proposal shows after so many steps
_TURN_COST = 0.75  # in textures
_TEXTURE_WINDOW_NM = 225.0
_SD_PER_MEDIAN = 1.4826
_LEAST_TEXTURE_GREY = 0.05
_MEMBRANE_HALF_NM = 23.0  # the path runs along the middle of the envelope; the outline, along its outer side
_LEAST_VISIBLE = 0.2  # part of its turn that a ring cut by the border must show
_PIXEL_CENTRE = 0.5


@dataclasses.dataclass(frozen=True)
class _View:
    """The slice at one resolution: float32 grey, padded, and the size of its pixels."""

    image: FloatArray
    pad_px: int
    pixel_nm: float
    px_per_nm_yx: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class _Rings:
    """Rings round n centres on t rays, in nm from the corner of the field."""

    centres: Points
    radius: Points
    evidence: Points
    visible: npt.NDArray[np.bool_]

    @property
    def points(self) -> Points:
        return np.asarray(self.centres[:, None, :] + ray_directions(self.radius.shape[1]) * self.radius[..., None])

    @property
    def mean_evidence(self) -> Points:
        seen = np.maximum(self.visible.sum(axis=1), self.visible.shape[1] / 8)
        return np.asarray((self.evidence * self.visible).sum(axis=1) / seen, np.float64)

    def support(self, level: float) -> Points:
        """Part of the visible ring whose evidence reaches a level."""
        seen = np.maximum(self.visible.sum(axis=1), 1)
        return np.asarray(((self.evidence >= level) & self.visible).sum(axis=1) / seen, np.float64)

    def take(self, chosen: npt.NDArray[np.integer]) -> "_Rings":
        return _Rings(self.centres[chosen], self.radius[chosen], self.evidence[chosen], self.visible[chosen])


def find_membranes(
    grey: npt.NDArray[np.uint8], profile: DetectionProfile, voxel_nm: float
) -> list[tuple[float, Outline]]:
    """Find the nuclei of a slice by their membranes.

    Parameters
    ----------
    grey
        uint8, (y, x), square pixels.
    profile
        Method "rings".
    voxel_nm
        Size of a pixel.

    Returns
    -------
    list of (float, Outline)
        How good each ring is (mean evidence in grey levels times the part of it that is supported), best first.
    """
    rings, field_nm = _trace_field(grey, profile, voxel_nm)
    judged = [_judge(rings, index, profile, field_nm) for index in range(len(rings.centres))]
    accepted = sorted((ring for ring in judged if ring), key=lambda ring: (-ring.quality, ring.key))
    chosen: list[tuple[float, Outline]] = []
    for ring in accepted:
        outline = _to_outline(ring, voxel_nm, (grey.shape[0], grey.shape[1]))
        if all(_share(outline, other) <= profile.max_overlap for _, other in chosen):
            chosen.append((ring.quality, outline))
    return chosen


def _trace_field(
    grey: npt.NDArray[np.uint8], profile: DetectionProfile, voxel_nm: float
) -> tuple[_Rings, tuple[float, float]]:
    field_nm = (grey.shape[0] * voxel_nm, grey.shape[1] * voxel_nm)
    least, most = (math.sqrt(area / math.pi) * 1000 for area in (profile.min_area_um2, profile.max_area_um2))
    first, last, step = _INNER_PART * least, _OUTER_PART * most, least / _COARSE_STEPS
    reach = last + profile.band_gap_nm + 2 * profile.band_nm + 0.9 * least
    fine = _view(grey, voxel_nm, profile.search_voxel_nm, profile.smoothing_nm, reach)
    coarse = _view(
        grey, voxel_nm, max(2 * profile.search_voxel_nm, 0.66 * step), max(profile.smoothing_nm, step / 2), reach
    )
    gain = _gain(coarse)
    fine, coarse = _amplified(fine, gain), _amplified(coarse, gain)
    centres = _lattice(field_nm, least)
    rings = _trace(coarse, centres, np.full((len(centres), _COARSE_RAYS), first), (last, step), profile)
    for turn in range(1, _COARSE_TURNS):
        centres = _recentred(_distinct(rings, profile, turn), field_nm, least)
        rings = _trace(coarse, centres, np.full((len(centres), _COARSE_RAYS), first), (last, step), profile)
    rings = _distinct(rings, profile, _COARSE_TURNS)
    return _refine(fine, rings, step, profile), field_nm


def _view(grey: npt.NDArray[np.uint8], voxel_nm: float, pixel_nm: float, sigma_nm: float, reach_nm: float) -> _View:
    """Average down to pixels of ``pixel_nm`` (never up), blur by a voxel at least, and pad until no ray leaves."""
    pixel = max(pixel_nm, voxel_nm)
    height, width = (max(2, round(size * voxel_nm / pixel)) for size in grey.shape)
    small = grey if (height, width) == grey.shape else cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), max(sigma_nm, voxel_nm) / pixel)
    pad = math.ceil(reach_nm / pixel) + 2
    padded = cv2.copyMakeBorder(blurred, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    scale = (height / (grey.shape[0] * voxel_nm), width / (grey.shape[1] * voxel_nm))
    return _View(padded.astype(np.float32), pad, pixel, scale)


def _gain(view: _View) -> float:
    """One over the texture of a slice: the typical difference between a pixel and the mean of the window round it.

    Evidence counted in textures does not depend on the contrast of the recording, and hardly on how many nuclei there
    are, since the median comes from cytoplasm and nucleoplasm alike. 0 for a slice without any texture.
    """
    size = 2 * round(_TEXTURE_WINDOW_NM / view.pixel_nm / 2) + 1
    inner = view.image[view.pad_px : -view.pad_px, view.pad_px : -view.pad_px]
    texture = float(np.median(np.abs(cv2.blur(inner, (size, size)) - inner))) * _SD_PER_MEDIAN
    return 1.0 / texture if texture > _LEAST_TEXTURE_GREY else 0.0


def _amplified(view: _View, gain: float) -> _View:
    return dataclasses.replace(view, image=view.image * np.float32(gain))


def _lattice(field_nm: tuple[float, float], spacing_nm: float) -> Points:
    """Cover the field and a margin with proposals, so that every nucleus has one within 0.7 of its least radius.

    The margin holds the centres of nuclei whose greater part lies outside the field.
    """
    margin = 0.8 * spacing_nm
    counts = [max(1, math.ceil((size + 2 * margin) / spacing_nm)) for size in field_nm]
    axes = [
        (np.arange(count) + 0.5) * (size + 2 * margin) / count - margin
        for count, size in zip(counts, field_nm, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def _trace(
    view: _View, centres: Points, first: Points, last_step: tuple[float, float], profile: DetectionProfile
) -> _Rings:
    last, step = last_step
    pixel = view.pixel_nm
    probe = Probe(
        step_px=step / pixel,
        samples=max(3, int((last - first.min()) / step)) if first.size else 3,
        offset=max(1, round((profile.band_gap_nm + profile.band_nm / 2) / step)),
        half_band=max(0, round((profile.band_nm / step - 1) / 2)),
        step_weight=profile.step_weight,
        ridge_limit=profile.ridge_limit,
        step_limit=profile.step_limit,
        turn_cost=_TURN_COST,
        max_turn=4,
        unseen_score=profile.min_evidence,
    )
    traces = trace_rings(
        view.image, view.pad_px, centres * view.px_per_nm_yx - _PIXEL_CENTRE, (first / pixel).astype(np.float32), probe
    )
    return _Rings(
        centres, traces.radius_px.astype(np.float64) * pixel, traces.evidence.astype(np.float64), traces.visible
    )


def _refine(view: _View, rings: _Rings, coarse_step: float, profile: DetectionProfile) -> _Rings:
    """Trace again at full resolution, near the coarse path."""
    angle, known = np.arange(_FINE_RAYS) / _FINE_RAYS, np.arange(_COARSE_RAYS) / _COARSE_RAYS
    near = np.array([np.interp(angle, known, radius, period=1.0) for radius in rings.radius]).reshape(-1, _FINE_RAYS)
    first = near - _FINE_BAND * coarse_step
    fine_step = view.pixel_nm
    probe_span = first.min(initial=np.inf) + 2 * _FINE_BAND * coarse_step
    return _trace(view, rings.centres, first, (probe_span, fine_step), profile) if len(first) else rings


def _distinct(rings: _Rings, profile: DetectionProfile, turn: int) -> _Rings:
    """Drop hopeless proposals, and those that have come to the same place and size as a better one."""
    quality = rings.mean_evidence
    middle, radius, _ = _circles(rings)
    apart = np.linalg.norm(middle[:, None] - middle[None], axis=2) > 0.12 * turn * np.minimum(
        radius[:, None], radius[None]
    )
    unlike = np.abs(np.log(radius[:, None] / radius[None])) > math.log(1.25)
    duplicate = ~(apart | unlike)
    strict = _STRICTNESS[min(turn, len(_STRICTNESS)) - 1]
    alive = (quality >= strict * profile.min_evidence) & (rings.visible.mean(axis=1) >= _LEAST_VISIBLE)
    alive &= rings.support(profile.supporting_evidence) >= strict * profile.min_support
    off_centre = np.linalg.norm(middle - rings.centres, axis=1) / radius
    kept = []
    for index in np.argsort(-quality * (1 - np.minimum(off_centre, 1)), kind="stable"):
        if alive[index]:
            kept.append(index)
            alive &= ~duplicate[index]
    return rings.take(np.array(kept, np.intp))


def _circles(rings: _Rings) -> tuple[Points, Points, Points]:
    weights = np.maximum(rings.evidence, 0.0) * rings.visible + 1e-3
    return fit_circles(rings.points, weights)


def _recentred(rings: _Rings, field_nm: tuple[float, float], least_nm: float) -> Points:
    """Middle of each ring: of its area, or, where the border cuts it, of the circle its visible part lies on."""
    circle, _, _ = _circles(rings)
    whole = np.asarray(rings.visible.all(axis=1))[:, None]
    shift = np.where(whole, centroid(rings.points), circle) - rings.centres
    length = np.linalg.norm(shift, axis=1, keepdims=True)
    moved = rings.centres + shift * np.minimum(1.0, 0.65 * least_nm / np.maximum(length, 1e-9))
    return np.asarray(np.clip(moved, -0.9 * least_nm, np.add(field_nm, 0.9 * least_nm)))


@dataclasses.dataclass(frozen=True)
class _Ring:
    """An accepted ring, nm."""

    points: Points
    quality: float
    circle: tuple[float, float, float] | None

    @property
    def key(self) -> tuple[float, ...]:
        return tuple(self.points.mean(axis=0).tolist())


def _judge(rings: _Rings, index: int, profile: DetectionProfile, field_nm: tuple[float, float]) -> _Ring | None:
    """Accept a ring whose membrane, size and shape are right; complete one that the border cuts by its circle."""
    ring = rings.take(np.array([index]))
    seen = ring.visible[0]
    if not seen.any():
        return None
    evidence = ring.evidence[0][seen]
    support = float((evidence >= profile.supporting_evidence).mean())
    if evidence.mean() < profile.min_evidence or support < profile.min_support:
        return None
    radius = ring.radius + _MEMBRANE_HALF_NM
    grown = dataclasses.replace(ring, radius=radius)
    quality = float(evidence.mean()) * support
    if seen.all():
        return _Ring(grown.points[0], quality, None) if _is_nucleus(grown.points[0], profile) else None
    return _complete(grown, quality, profile, field_nm)


def _is_nucleus(points: Points, profile: DetectionProfile) -> bool:
    area = abs(float(signed_area(points))) / 1e6
    ellipse = fit_ellipse(points)
    longer, shorter = ellipse[1]
    return (
        profile.min_area_um2 <= area <= profile.max_area_um2
        and shorter >= profile.min_axis_ratio * longer
        and _ellipse_residual(points, ellipse) <= profile.max_residual
    )


def _ellipse_residual(points: Points, ellipse: Ellipse) -> float:
    centre, (longer, shorter), angle = ellipse
    dy, dx = (points - np.asarray(centre)).T
    along, across = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
    return float(np.sqrt(np.mean((np.hypot(along / longer, across / shorter) - 1) ** 2)))


def _complete(ring: _Rings, quality: float, profile: DetectionProfile, field_nm: tuple[float, float]) -> _Ring | None:
    seen = ring.visible
    centres, radii, residuals = fit_circles(ring.points, seen.astype(np.float64))
    whole_area = math.pi * float(radii[0]) ** 2 / 1e6
    if (
        residuals[0] > profile.max_residual
        or not profile.min_area_um2 * 0.8 <= whole_area <= profile.max_area_um2 * 1.2
    ):
        return None
    on_circle = centres[:, None, :] + radii[0] * _unit(ring.points - centres[:, None, :])
    points = np.where(seen[..., None], ring.points, on_circle)[0]
    inside = clip_to_rectangle(points, field_nm)
    if len(inside) < 3 or abs(float(signed_area(inside))) / 1e6 < profile.min_visible_area_um2:
        return None
    return _Ring(inside, quality, (float(centres[0, 0]), float(centres[0, 1]), float(radii[0])))


def _unit(vectors: Points) -> Points:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))


def _to_outline(ring: _Ring, voxel_nm: float, field_shape: tuple[int, int]) -> Outline:
    limit = np.subtract(field_shape, 1)
    pixels = np.clip(np.rint(ring.points / voxel_nm - _PIXEL_CENTRE), 0, limit).astype(np.int32)
    if ring.circle is None:
        return make_outline(pixels, field_shape)
    y, x, radius = (value / voxel_nm for value in ring.circle)
    return make_outline(pixels, field_shape, Circle((y - _PIXEL_CENTRE, x - _PIXEL_CENTRE), radius))


def _share(first: Outline, second: Outline) -> float:
    a, b = first.bbox_yx_px, second.bbox_yx_px
    if a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]:
        return 0.0
    shared, one, other = overlap_areas(first.polygon_yx_px, second.polygon_yx_px)
    return shared / max(1.0, min(one, other))
