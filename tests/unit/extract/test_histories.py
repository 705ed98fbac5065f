"""What is kept of nuclei for forecasts: thinned, restored as it was, and never in the way of following."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from services.contracts.messages import AcquisitionOpened
from services.contracts.values import GreyMapping, VoxelSize
from services.extract.events import Event
from services.extract.following import advance, finish
from services.extract.histories import MOST_SEEN, Histories, Open, Seen
from services.extract.outlines import Outline, make_outline
from services.extract.outlook import Outlook, histories_key, read_histories
from services.extract.settings import expected_sizes
from services.extract.tracks import FollowerState, FollowingParams, OutlineRef
from services.imaging.forecasting.advising import advise
from services.imaging.forecasting.notices import NoticeKind
from services.imaging.forecasting.sizes import ANYTHING, GERM_LINE
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.directory import DirectoryStore

VOXEL_NM = 40.0
PARAMS = FollowingParams(voxel_zyx_nm=(VOXEL_NM, VOXEL_NM, VOXEL_NM))
FIELD = (300, 400)
RADIUS_PX = 51.0
LEAST_PX = 31.0
OPENED = AcquisitionOpened(
    acquisition_id="roi1",
    voxel_size=VoxelSize(z_nm=VOXEL_NM, y_nm=VOXEL_NM, x_nm=VOXEL_NM),
    height_px=FIELD[0],
    width_px=FIELD[1],
    bits=8,
    z_first=0,
    grey=GreyMapping(low=0, high=255, mean=127, sd=32),
)


def section(z: int, middle: tuple[float, float, float]) -> Outline | None:
    """Return the outline of a ball of 2040 nm in one slice, clipped to the field."""
    radius = math.sqrt(max(0.0, RADIUS_PX**2 - (z - middle[0]) ** 2))
    if radius < LEAST_PX:
        return None
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    points = np.stack([middle[1] + radius * np.sin(angle), middle[2] + radius * np.cos(angle)], axis=1)
    return make_outline(np.clip(np.rint(points), 0, np.subtract(FIELD, 1)).astype(np.int32), FIELD)


class Followed:
    """Follows balls slice by slice, with what is kept of them."""

    def __init__(self, *middles: tuple[float, float, float]) -> None:
        self.middles = middles
        self.state = FollowerState()
        self.outlines: dict[int, list[Outline]] = {}
        self.histories = Histories(voxel_zyx_nm=(VOXEL_NM,) * 3, field_yx_px=FIELD)

    def outline(self, ref: OutlineRef) -> Outline:
        return self.outlines[ref.z][ref.index]

    def step(self, z: int) -> tuple[FollowerState, Sequence[Event]]:
        self.outlines[z] = [found for middle in self.middles if (found := section(z, middle)) is not None]
        self.state, events = advance(self.state, z, self.outlines[z], PARAMS)
        return self.state, events

    def to(self, z_last: int) -> Followed:
        for z in range(max(0, self.state.next_z), z_last + 1):
            self.histories.take(*self.step(z), self.outline, PARAMS)
        return self

    def end(self) -> None:
        self.state, events = finish(self.state, PARAMS)
        self.histories.take(self.state, events, self.outline, PARAMS)


def test_an_open_nucleus_is_forecast_to_end_where_it_does() -> None:
    advice = advise(Followed((60, 150, 200)).to(80).histories.situation())
    (forecast,) = advice.open
    assert forecast.nucleus_id == "n0001"
    true_end_nm = (60 + RADIUS_PX) * VOXEL_NM
    assert forecast.end.quantile_nm(0.05) < true_end_nm < forecast.end.quantile_nm(0.95)


def test_a_nucleus_that_was_closed_is_complete_and_teaches_its_size() -> None:
    followed = Followed((60, 150, 200)).to(140)
    assert [ended.nucleus_id for ended in followed.histories.ended] == ["n0001"]
    assert followed.histories.open == []
    assert followed.histories.ended[0].half_height_nm == pytest.approx(RADIUS_PX * VOXEL_NM, rel=0.03)
    assert advise(followed.histories.situation()).complete == ("n0001",)


def test_a_nucleus_the_field_cuts_is_said_to_be_cut_and_not_waited_for() -> None:
    followed = Followed((60, 150, 385)).to(80)
    assert followed.histories.open[0].cut_by == ["x_max"]
    assert all(seen.is_cut for seen in followed.histories.open[0].sections)
    advice = advise(followed.histories.situation())
    assert (advice.cut, advice.open) == (("n0001",), ())


def test_a_nucleus_that_was_there_in_the_first_slice_is_cut() -> None:
    assert advise(Followed((10, 150, 200)).to(30).histories.situation()).cut == ("n0001",)


def test_a_nucleus_that_the_end_cuts_is_not_complete() -> None:
    followed = Followed((60, 150, 200)).to(70)
    followed.end()
    assert followed.histories.ended[0].cut_by == ["z_max"]
    assert advise(followed.histories.situation()).complete == ()


def test_being_lost_is_kept_and_forgotten_when_it_is_found_again() -> None:
    followed = Followed((60, 150, 200)).to(105)
    (nucleus,) = followed.histories.open
    assert nucleus.last is not None
    assert nucleus.last.z == 100
    assert nucleus.missed_to_z == 105
    assert Followed((60, 150, 200)).to(90).histories.open[0].missed_to_z is None


def test_long_nuclei_are_thinned_evenly_and_keep_their_first_and_last_section() -> None:
    nucleus = Open(nucleus_id="n0001")
    for z in range(7, 2000):
        nucleus.take(Seen(z=z, area_px=1.0, box_yx_px=(0, 0, 1, 1)))
    zs = [seen.z for seen in nucleus.sections]
    assert (zs[0], zs[-1]) == (7, 1999)
    assert MOST_SEEN / 2 - 2 <= len(zs) <= MOST_SEEN + 1
    assert len({after - before for before, after in itertools.pairwise(zs[1:-1])}) == 1


def test_what_was_written_down_goes_on_as_if_nothing_had_happened() -> None:
    through, stopped = Followed((60, 150, 200)).to(75), Followed((60, 150, 200)).to(50)
    stopped.histories = Histories.model_validate_json(stopped.histories.model_dump_json())
    assert stopped.to(75).histories == through.histories


def test_a_nucleus_whose_closing_was_missed_is_closed_all_the_same() -> None:
    followed = Followed((60, 150, 200)).to(80)
    before = followed.histories.model_copy(deep=True)
    followed.to(140)
    before.take(followed.state, (), followed.outline, PARAMS)
    assert [ended.nucleus_id for ended in before.ended] == ["n0001"]


def test_the_outlook_is_kept_measured_and_read_again(tmp_path: Path) -> None:
    store, metrics, followed = DirectoryStore(tmp_path), RecordingMetrics(), Followed((60, 150, 200))
    outlook = Outlook(store, metrics, OPENED, GERM_LINE, 4.8)
    for z in range(81):
        followed.to(z)
    outlook._histories = followed.histories
    outlook.keep()
    assert read_histories(store, "roi1") == followed.histories
    assert metrics.value("fibsem_nuclei_complete", acquisition="roi1") == 0
    assert metrics.value("fibsem_forecast_nuclei_unfinished", acquisition="roi1") == 1
    assert 31 <= metrics.value("fibsem_forecast_slices_to_go", acquisition="roi1") <= 36
    assert metrics.value("fibsem_forecast_field_exit_ratio", acquisition="roi1") < 0.01
    assert metrics.value("fibsem_forecast_field_shift_meters", acquisition="roi1", direction="x") == 0
    store.put(histories_key("roi1"), json.dumps({"of": "another version"}).encode())
    assert read_histories(store, "roi1") is None
    store.close()


def test_what_is_kept_of_a_later_slice_is_no_part_of_a_new_start(tmp_path: Path) -> None:
    store, followed = DirectoryStore(tmp_path), Followed((60, 150, 200)).to(80)
    store.put(histories_key("roi1"), followed.histories.model_dump_json().encode())
    outlook, state = Outlook(store, RecordingMetrics(), OPENED, GERM_LINE, 4.8), FollowerState()
    state, events = advance(state, 0, (), PARAMS)
    outlook.take(state, events, followed.outline, PARAMS)
    outlook.keep()
    kept = read_histories(store, "roi1")
    assert kept is not None
    assert (kept.next_z, kept.open, kept.ended) == (1, [], [])
    store.close()


def test_what_happens_to_a_nucleus_is_noticed_once_even_if_the_follower_starts_again_with_every_slice(
    tmp_path: Path,
) -> None:
    store, followed = DirectoryStore(tmp_path), Followed((60, 150, 200))
    for z in range(150):
        outlook = Outlook(store, RecordingMetrics(), OPENED, GERM_LINE, 4.8)
        outlook.take(*followed.step(z), followed.outline, PARAMS)
        outlook.keep()
    kept = read_histories(store, "roi1")
    assert kept is not None
    assert [notice.kind for notice in kept.notices] == [NoticeKind.END_FORECAST, NoticeKind.COMPLETE]
    told, complete = kept.notices
    assert told.end_z is not None
    assert told.end_z[0] <= 60 + RADIUS_PX <= told.end_z[2]
    # Said near the middle, and when it was certain that there is no more of it.
    assert 55 <= told.z <= 75
    assert 90 <= complete.z <= 130
    store.close()


def test_sizes_are_the_germ_lines_unless_the_settings_look_for_others() -> None:
    assert expected_sizes("recommended") == GERM_LINE
    assert expected_sizes("hela-40nm") == ANYTHING
    assert expected_sizes("recommended", (2.0, 90.0)) == ANYTHING
