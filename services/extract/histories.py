"""What was seen of every nucleus so far, thinned: enough to forecast from, small enough to keep with every slice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.extract.events import Closed, Crop, Event
from services.extract.outlines import Outline
from services.extract.tracks import FollowerState, FollowingParams, OutlineRef
from services.imaging.forecasting.advising import ClosedSoFar, OpenSoFar, Situation
from services.imaging.forecasting.ends import Section, forecast_end
from services.imaging.forecasting.field import Place
from services.imaging.forecasting.notices import Notice
from services.imaging.forecasting.sizes import GERM_LINE, NucleusSize, SizePrior

# A nucleus of more is thinned to half of them; forecasts use 32.
MOST_SEEN = 64


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Seen(_Kept):
    """A nucleus in one slice: its area in pixels (of the whole circle where the border cuts it) and its box."""

    z: Annotated[int, Field(ge=0)]
    area_px: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    box_yx_px: tuple[int, int, int, int]
    is_cut: bool = False


class Open(_Kept):
    """A nucleus that is followed; of its sections every `stride`-th is kept, and the last."""

    nucleus_id: str
    seen: list[Seen] = []
    last: Seen | None = None
    stride: Annotated[int, Field(ge=1)] = 1
    missed_to_z: int | None = None
    cut_by: list[str] = []

    @property
    def sections(self) -> list[Seen]:
        """What is kept of it, in z order."""
        return (
            self.seen
            if self.last is None or (self.seen and self.seen[-1].z == self.last.z)
            else [*self.seen, self.last]
        )

    def take(self, seen: Seen) -> None:
        """Take in the next section."""
        self.last, self.missed_to_z = seen, None
        if seen.z % self.stride == 0 or not self.seen:
            self.seen.append(seen)
        if len(self.seen) > MOST_SEEN:
            self.stride *= 2
            first, *others = self.seen
            self.seen = [first, *(one for one in others if one.z % self.stride == 0)]


class Ended(_Kept):
    """A nucleus that was closed; sizes are those of the fitted ellipsoid."""

    nucleus_id: str
    z_end: int
    half_height_nm: float
    radius_nm: float
    cut_by: list[str] = []


class Histories(_Kept):
    """What was seen of the nuclei of one acquisition, up to `next_z`.

    Attributes
    ----------
    voxel_zyx_nm, field_yx_px
        Of the acquisition.
    least_area_nm2
        Smallest section that detection finds.
    radius_nm, radius_spread, aspect_spread
        Sizes expected before any nucleus was complete.
    next_z
        First slice that is not in it.
    open, ended
        Its nuclei.
    notices
        What was said about them so far, each thing once: a few for every nucleus.
    """

    voxel_zyx_nm: tuple[float, float, float]
    field_yx_px: tuple[int, int]
    least_area_nm2: float = 4.8e6
    radius_nm: float = GERM_LINE.radius_nm
    radius_spread: float = GERM_LINE.spread
    aspect_spread: float = GERM_LINE.aspect_spread
    next_z: int = 0
    open: list[Open] = []
    ended: list[Ended] = []
    notices: list[Notice] = []

    @property
    def prior(self) -> SizePrior:
        """Sizes expected before any nucleus was complete."""
        return SizePrior(self.radius_nm, self.radius_spread, aspect_spread=self.aspect_spread)

    def take(
        self,
        state: FollowerState,
        events: Sequence[Event],
        outline_of: Callable[[OutlineRef], Outline],
        params: FollowingParams,
    ) -> None:
        """Take in what following a slice gave.

        Parameters
        ----------
        state, events
            Its result.
        outline_of
            Gives an outline that an event names.
        params
            What it was followed with.
        """
        by_id = {nucleus.nucleus_id: nucleus for nucleus in self.open}
        for event in events:
            if isinstance(event, Crop) and event.kind == "detected":
                nucleus = by_id.setdefault(event.nucleus_id, Open(nucleus_id=event.nucleus_id))
                nucleus.take(_seen(event.z, outline_of(event.source.before)))
        closed = {event.nucleus_id: event for event in events if isinstance(event, Closed)}
        tracks = {track.nucleus_id: track for track in state.tracks if track.nucleus_id}
        self.next_z = state.next_z
        self.open = []
        for nucleus_id, nucleus in sorted(by_id.items()):
            track = tracks.get(nucleus_id)
            if track is None:
                clipped = closed[nucleus_id].clipped if nucleus_id in closed else nucleus.cut_by
                self._end(nucleus, clipped)
                continue
            nucleus.cut_by = list(track.sides)
            present = max((past.z for past in state.past if not past.reason), default=-1)
            nucleus.missed_to_z = present if present > track.last.ref.z else None
            self.open.append(nucleus)

    def _end(self, nucleus: Open, cut_by: Sequence[str]) -> None:
        if not nucleus.sections:
            return
        size = forecast_end(self._sections(nucleus), self.prior).size
        self.ended.append(
            Ended(
                nucleus_id=nucleus.nucleus_id,
                z_end=nucleus.sections[-1].z,
                half_height_nm=round(size.half_height_nm, 1),
                radius_nm=round(size.radius_nm, 1),
                cut_by=list(cut_by),
            )
        )

    def _sections(self, nucleus: Open) -> tuple[Section, ...]:
        z_nm, y_nm, x_nm = self.voxel_zyx_nm
        return tuple(Section(one.z * z_nm, one.area_px * y_nm * x_nm, one.is_cut) for one in nucleus.sections)

    def _places(self, nucleus: Open) -> tuple[Place, ...]:
        z_nm, y_nm, x_nm = self.voxel_zyx_nm
        return tuple(
            Place(one.z * z_nm, (one.box_yx_px[0] * y_nm, one.box_yx_px[1] * x_nm),
                  (one.box_yx_px[2] * y_nm, one.box_yx_px[3] * x_nm))
            for one in nucleus.sections
        )  # fmt: skip

    def situation(self) -> Situation:
        """Return it as forecasts want it."""
        z_nm, y_nm, x_nm = self.voxel_zyx_nm
        open_ = [
            OpenSoFar(
                nucleus.nucleus_id,
                self._sections(nucleus),
                self._places(nucleus),
                None if nucleus.missed_to_z is None else nucleus.missed_to_z * z_nm,
                tuple(nucleus.cut_by),
            )
            for nucleus in self.open
            if nucleus.sections
        ]
        closed = [
            ClosedSoFar(ended.nucleus_id, NucleusSize(ended.half_height_nm, ended.radius_nm), tuple(ended.cut_by))
            for ended in self.ended
        ]
        return Situation(
            now_nm=max(0, self.next_z - 1) * z_nm,
            voxel_zyx_nm=self.voxel_zyx_nm,
            field_yx_nm=(self.field_yx_px[0] * y_nm, self.field_yx_px[1] * x_nm),
            open=tuple(open_),
            closed=tuple(closed),
            least_area_nm2=self.least_area_nm2,
            prior=self.prior,
        )


def _seen(z: int, outline: Outline) -> Seen:
    is_cut = outline.touches_border
    longer, shorter = outline.semi_axes_px
    area = math.pi * longer * shorter if is_cut else outline.area_px
    return Seen(z=z, area_px=round(max(area, 1.0), 1), box_yx_px=outline.bbox_yx_px, is_cut=is_cut)
