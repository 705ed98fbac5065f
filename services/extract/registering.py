"""Registration in the stream: digests fetched in z order, slices placed, outlines and crops moved by their places."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pydantic import TypeAdapter

from services.contracts.keys import digest
from services.contracts.messages import OutlinesDetected, SliceAbsent, SliceRegistered
from services.contracts.values import ArtefactRef, Transform
from services.extract.digests import DigestFormatError, SliceDigest, digest_from_bytes
from services.extract.outlines import Outline, OutlineShapeError, make_outline
from services.extract.places import Solution
from services.imaging.registration.affine import IDENTITY, Affine
from services.imaging.registration.pairs import Link, Registrable
from services.imaging.registration.planes import EmptyPlaneError
from services.imaging.registration.refinement import Model
from services.imaging.registration.stream import (
    Registered,
    RegistrarState,
    RegistrationParams,
    finish,
    link_slice,
    needed,
    place,
    skip,
)
from services.imaging.registration.trend import Trend
from services.runtime.errors import PermanentError
from services.runtime.store.port import ArtefactStore

# Raised by hand when the same digests give other places.
STAGE_VERSION = 2
LEAST_JUMP_NM = 200.0

Waiting = Mapping[int, OutlinesDetected | SliceAbsent]


@dataclass(slots=True)
class RegistrationRecord:
    """What is known of the places of an acquisition's slices.

    Attributes
    ----------
    state
        What registration remembers.
    placed
        Slices whose place is final, while somebody may still ask for it.
    digests
        Of slices that later ones may be compared with.
    shape_yx, factor
        Of the reduced planes; (0, 0) before the first.
    jump_px
        Least step that may be a jump, in pixels of those.
    acquisition_id
        Whose slices; empty before the first.
    replaced
        Of the latest slices, those that a solution of an earlier version does not know.
    """

    state: RegistrarState = field(default_factory=RegistrarState)
    placed: dict[int, Registered] = field(default_factory=dict)
    digests: dict[int, ArtefactRef] = field(default_factory=dict)
    shape_yx: tuple[int, int] = (0, 0)
    factor: int = 1
    jump_px: float = 6.0
    acquisition_id: str = ""
    replaced: tuple[int, ...] = ()

    def to_json(self) -> object:
        """Return what `restored` needs; the same record gives the same JSON."""
        return json.loads(_RECORD.dump_json(self))

    @property
    def centre_yx(self) -> tuple[float, float]:
        """Middle of the reduced planes."""
        return ((self.shape_yx[0] - 1) / 2, (self.shape_yx[1] - 1) / 2)


_RECORD = TypeAdapter(RegistrationRecord)


def restored(content: object | None) -> RegistrationRecord:
    """Return the record that a step kept."""
    return RegistrationRecord() if content is None else _RECORD.validate_python(content)


class SliceRegistrar:
    """Places the slices of acquisitions, where the settings ask for it; otherwise all stay where they are.

    Parameters
    ----------
    store
        Digests of slices.
    params
        How to register; None: not at all.
    solution
        Final places that were found with all slices of an earlier version. A slice that it does not know lies beside
        the one before it as its first place says.
    """

    def __init__(
        self, store: ArtefactStore, params: RegistrationParams | None, solution: Solution | None = None
    ) -> None:
        self._store, self._params, self._solution = store, params, solution
        self._planes: dict[str, Registrable | None] = {}

    @property
    def registration(self) -> str | None:
        """Digest of the settings; None where nothing is registered."""
        if self._params is None:
            return None
        solved = {} if self._solution is None else {"solution": self._solution.name}
        settings = {**dataclasses.asdict(self._params), "jump_nm": LEAST_JUMP_NM, "version": STAGE_VERSION}
        return digest(settings | solved)

    def settle(
        self, record: RegistrationRecord, waiting: Waiting, first_z: int, last_z: int | None
    ) -> list[SliceRegistered]:
        """Place every slice that waits in its turn; return those that became final.

        Parameters
        ----------
        record
            Of the acquisition; changed.
        waiting
            Slices by z.
        first_z, last_z
            Of the acquisition; `last_z` is None until it is known.
        """
        if self._params is None:
            return []
        found: list[SliceRegistered] = []
        z = first_z if record.state.next_z < 0 else record.state.next_z
        while (message := waiting.get(z)) is not None:
            found += self._take(record, z, message)
            z = record.state.next_z
        if last_z is not None and record.state.next_z > last_z >= record.state.final_z:
            record.state, ready = finish(record.state, self._scaled(record))
            found += self._told(record, ready)
        return found

    def check(self, message: OutlinesDetected) -> None:
        """Read what a slice is registered by: a damaged digest is a fault of this message, not of a later one.

        Raises
        ------
        PermanentError
            If it is damaged, or detection left none.
        """
        if self._params is not None:
            self._digest(_digest_ref(message))

    def may_follow(self, record: RegistrationRecord, z: int) -> bool:
        """Whether the place of a slice is final."""
        return self._params is None or z < record.state.final_z

    def in_frame(self, record: RegistrationRecord, z: int, outlines: Sequence[Outline]) -> Sequence[Outline]:
        """Return outlines with their centroids where those of all slices can be compared."""
        if z not in record.placed:
            return outlines
        frame = _raw(record, record.placed[z].first)
        return [
            dataclasses.replace(outline, centroid_yx_px=frame.point(outline.centroid_yx_px)) for outline in outlines
        ]

    def beside(self, record: RegistrationRecord, source_z: int, target_z: int) -> Affine:
        """Return the map from the pixels of one slice to those of another."""
        if source_z == target_z or source_z not in record.placed or target_z not in record.placed:
            return IDENTITY
        source, target = (_raw(record, record.placed[z].first) for z in (source_z, target_z))
        return target.inverse().after(source)

    def moved(
        self, record: RegistrationRecord, outline: Outline, zs: tuple[int, int], field_shape: tuple[int, int]
    ) -> Outline:
        """Return an outline of one slice where another slice shows the same place.

        Parameters
        ----------
        record, outline
            The acquisition, and the outline.
        zs
            Its slice, and the other one.
        field_shape
            Rows and columns of a slice: what leaves the field is cut off.
        """
        y, x = outline.centroid_yx_px
        to_y, to_x = self.beside(record, *zs).point((y, x))
        shift = (round(to_y - y), round(to_x - x))
        if shift == (0, 0):
            return outline
        polygon = outline.polygon_yx_px + shift
        inside = polygon.clip((0, 0), (field_shape[0] - 1, field_shape[1] - 1)).astype(outline.polygon_yx_px.dtype)
        try:
            return make_outline(inside, field_shape)
        except OutlineShapeError:
            # It left the field whole: there is nothing of it to be seen.
            return outline

    def settling_yx_px(self, record: RegistrationRecord, z: int, at_yx: tuple[float, float]) -> tuple[int, int]:
        """Return how far a place of a slice moved between its first and its final place: whole pixels, (y, x)."""
        if z not in record.placed:
            return (0, 0)
        one = record.placed[z]
        pixel = _raw(record, one.first).inverse().point(at_yx)
        y, x = _raw(record, one.final).point(pixel)
        return (round(y - at_yx[0]), round(x - at_yx[1]))

    def transform(self, record: RegistrationRecord, z: int, before: Transform) -> Transform:
        """Return the transform of a slice: the final one, or what its message says where there is none."""
        return _transform(_raw(record, record.placed[z].final)) if z in record.placed else before

    def forget(self, record: RegistrationRecord, oldest_z: int) -> None:
        """Keep what may still be asked for, no more."""
        for z in [z for z in record.placed if z < oldest_z]:
            del record.placed[z]

    def _take(
        self, record: RegistrationRecord, z: int, message: OutlinesDetected | SliceAbsent
    ) -> list[SliceRegistered]:
        if isinstance(message, SliceAbsent):
            record.state, ready = skip(record.state, z, self._scaled(record))
            return self._told(record, ready)
        plane = self._plane(record, message)
        params = self._scaled(record)
        if self._solution is not None and self._solution.of(z, _digest_ref(message).sha256) is None:
            oldest_z = min((placed.z for placed in record.state.recent), default=z)
            record.replaced = (*(past for past in record.replaced if past >= oldest_z), z)
        links: tuple[Link, ...] = ()
        if plane is not None:
            links = link_slice(record.state, z, plane, lambda past: self._past(record, past), params.model)
        lever_px = max(1.0, math.hypot(*record.centre_yx))
        record.state, ready = place(record.state, z, links, params, lever_px)
        kept = needed(record.state)
        record.digests = {past: ref for past, ref in record.digests.items() if past in kept}
        self._planes = {ref.key: self._planes[ref.key] for ref in record.digests.values() if ref.key in self._planes}
        return self._told(record, ready)

    def _scaled(self, record: RegistrationRecord) -> RegistrationParams:
        assert self._params is not None
        return dataclasses.replace(self._params, jump_px=record.jump_px)

    def _plane(self, record: RegistrationRecord, message: OutlinesDetected) -> Registrable | None:
        """Return a slice ready to be registered; None where there is nothing in it, or it is unlike the others."""
        place = message.slice
        ref = _digest_ref(message)
        small = self._digest(ref)
        shape = (small.plane.shape[0], small.plane.shape[1])
        if record.shape_yx == (0, 0):
            record.acquisition_id, record.shape_yx, record.factor = place.acquisition_id, shape, small.factor
            record.jump_px = LEAST_JUMP_NM / (place.voxel_size.x_nm * small.factor)
        if (record.shape_yx, record.factor) != (shape, small.factor):
            return None
        record.digests[place.z] = ref
        return self._registrable(ref, small)

    def _past(self, record: RegistrationRecord, z: int) -> Registrable | None:
        ref = record.digests.get(z)
        if ref is None:
            return None
        return self._planes[ref.key] if ref.key in self._planes else self._registrable(ref, self._digest(ref))

    def _registrable(self, ref: ArtefactRef, small: SliceDigest) -> Registrable | None:
        try:
            self._planes[ref.key] = Registrable(small.plane)
        except EmptyPlaneError:
            self._planes[ref.key] = None
        return self._planes[ref.key]

    def _digest(self, ref: ArtefactRef) -> SliceDigest:
        try:
            return digest_from_bytes(self._store.get(ref))
        except DigestFormatError as error:
            raise PermanentError("damaged_digest", f"{ref.key}: {error}") from error

    def _told(self, record: RegistrationRecord, ready: Sequence[Registered]) -> list[SliceRegistered]:
        ready = [self._solved(record, one) for one in ready]
        record.placed |= {one.z: one for one in ready}
        return [
            SliceRegistered(
                acquisition_id=record.acquisition_id,
                z=one.z,
                first=_transform(_raw(record, one.first)),
                transform=_transform(_raw(record, one.final)),
                linked=one.linked,
                ncc=max(-1.0, min(1.0, one.ncc)),
                registration=self.registration or "",
            )
            for one in ready
        ]

    def _solved(self, record: RegistrationRecord, one: Registered) -> Registered:
        """Return a slice at its place by the solution, if there is one."""
        if self._solution is None:
            return one
        known = self._solution.slices.keys() - set(record.replaced)
        firsts = {placed.z: placed.first for placed in record.state.recent if placed.z in known and placed.z <= one.z}
        if not firsts:
            return one
        beside = max(firsts)
        final = Affine(*self._solution.slices[beside].place)
        if beside != one.z:
            final = final.after(firsts[beside].inverse().after(one.first))
        return dataclasses.replace(one, final=final)


def registration_params(model: str, trend: Trend, delay: int) -> RegistrationParams | None:
    """Return how slices are registered by the settings of the method; None for ``none``."""
    if model == "none":
        return None
    return RegistrationParams(model=cast("Model", model), trend=trend, delay=delay)


def _digest_ref(message: OutlinesDetected) -> ArtefactRef:
    if message.digest is None:
        raise PermanentError("no_digest", f"{message.identity} was detected without registration: detect it again")
    return message.digest


def _raw(record: RegistrationRecord, place: Affine) -> Affine:
    """Return a place that counts from the middle of reduced planes as one of the slices' own pixels."""
    return place.about(record.centre_yx).magnified(record.factor)


def _transform(place: Affine) -> Transform:
    return Transform(
        yy=place.yy, yx=place.yx, xy=place.xy, xx=place.xx, shift_y_px=place.shift_y, shift_x_px=place.shift_x
    )
