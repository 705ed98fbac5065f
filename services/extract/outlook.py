"""What is known of the nuclei of a running acquisition, kept in the store and measured: advice, no result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from pydantic import ValidationError

from services.contracts.keys import REGISTER
from services.contracts.messages import AcquisitionOpened
from services.extract.events import Event
from services.extract.histories import Histories
from services.extract.outlines import Outline
from services.extract.tracks import FollowerState, FollowingParams, OutlineRef
from services.imaging.forecasting.advising import Advice, advise
from services.imaging.forecasting.notices import notices
from services.imaging.forecasting.sizes import SizePrior
from services.runtime.metrics.port import Metrics
from services.runtime.store.port import ArtefactStore
from services.runtime.store.rewritten import read_latest

log = structlog.get_logger()

# Forecasts are made anew after so much was milled; they cost some hundredths of a second a nucleus.
MEASURED_EVERY_NM = 40.0


def histories_key(acquisition_id: str) -> str:
    """Key of what is known of the nuclei of an acquisition; the artefact is replaced as it goes on."""
    return f"{REGISTER}/{acquisition_id}/nuclei.json"


def read_histories(store: ArtefactStore, acquisition_id: str) -> Histories | None:
    """Return what the follower wrote last, or None where there is nothing that this program reads.

    Raises
    ------
    TransientError
        If the store cannot be read now.
    """
    content = read_latest(store, histories_key(acquisition_id))
    if content is None:
        return None
    try:
        return Histories.model_validate_json(content)
    except ValidationError as error:
        log.warning("histories_unreadable", acquisition=acquisition_id, faults=error.error_count())
        return None


class Outlook:
    """Keeps what is known of the nuclei of one acquisition.

    After a crash it goes on from what was kept. That may lack a slice or two, which a forecast does not notice; no
    result depends on it.

    Parameters
    ----------
    store, metrics
        Where it is kept and measured.
    opened
        The acquisition.
    sizes, least_area_um2
        Sizes of nuclei expected before any is complete, and the smallest section that detection finds.
    """

    def __init__(
        self,
        store: ArtefactStore,
        metrics: Metrics,
        opened: AcquisitionOpened,
        sizes: SizePrior,
        least_area_um2: float,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._acquisition_id = opened.acquisition_id
        self._new = Histories(
            voxel_zyx_nm=opened.voxel_size.zyx_nm,
            field_yx_px=(opened.height_px, opened.width_px),
            least_area_nm2=1e6 * least_area_um2,
            radius_nm=sizes.radius_nm,
            radius_spread=sizes.spread,
            aspect_spread=sizes.aspect_spread,
        )
        self._histories = read_histories(store, opened.acquisition_id) or self._new.model_copy(deep=True)
        self._measured_z = -1

    def take(
        self,
        state: FollowerState,
        events: Sequence[Event],
        outline_of: Callable[[OutlineRef], Outline],
        params: FollowingParams,
    ) -> None:
        """Take in what following a slice gave."""
        if self._histories.next_z > state.next_z:
            # What is kept comes from a later slice: this acquisition is followed anew.
            self._histories = self._new.model_copy(deep=True)
        self._histories.take(state, events, outline_of, params)

    def keep(self) -> None:
        """Write it down, measure what follows from it, and say what is new.

        Raises
        ------
        TransientError
            If the store takes nothing now.
        """
        known = self._histories
        every = max(1, round(MEASURED_EVERY_NM / known.voxel_zyx_nm[0]))
        if self._measured_z < 0 or known.next_z >= self._measured_z + every:
            self._measured_z = known.next_z
            advice = advise(known.situation())
            self._measure(advice)
            self._say(advice)
        self._store.put(histories_key(self._acquisition_id), known.model_dump_json().encode())

    def _say(self, advice: Advice) -> None:
        new = notices(advice, self._histories.notices)
        self._histories.notices += new
        for notice in new:
            log.info(
                "advice", acquisition=self._acquisition_id, z=notice.z, kind=notice.kind.value, text=notice.text,
                nucleus=notice.nucleus_id,
            )  # fmt: skip

    def _measure(self, advice: Advice) -> None:
        name, metrics = self._acquisition_id, self._metrics
        now, until = advice.stops[0], advice.until
        worst = max((side.chance for forecast in advice.open for side in forecast.sides), default=0.0)
        metrics.set("fibsem_nuclei_complete", len(advice.complete), acquisition=name)
        metrics.set("fibsem_forecast_nuclei_unfinished", len(advice.open) - now.expected, acquisition=name)
        metrics.set("fibsem_forecast_slices_to_go", advice.slices_to(until.z_nm) if until else 0, acquisition=name)
        metrics.set("fibsem_forecast_field_exit_ratio", worst, acquisition=name)
        shift = {"y": advice.shift.y_nm, "x": advice.shift.x_nm}
        for direction, shift_nm in shift.items():
            metrics.set("fibsem_forecast_field_shift_meters", 1e-9 * shift_nm, acquisition=name, direction=direction)
