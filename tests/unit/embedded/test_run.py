"""The whole pipeline in one process: the same results whatever the order, the kills and the outages."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.contracts.values import ArtefactRef
from services.embedded.progress import STATUS_FILE
from services.embedded.run import EmbeddedRun, Parts, RunInUseError
from services.embedded.settings import STATE, OtherRunError, settle
from services.ingest.requests import DeclareMissing, FinishAcquisition, RequestBox
from services.runtime.clock import ManualClock
from services.runtime.errors import TransientError
from services.runtime.store.directory import DirectoryStore
from services.runtime.store.port import ArtefactStore
from tests.support.grey_segmenter import GreySegmenter
from tests.support.toy_acquisition import FIELD, VOXEL_NM, Runner, slice_name, toy_settings, toy_slice, write_toy

PLANES = 30


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "slices", PLANES)


@pytest.fixture(scope="module")
def undisturbed(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    runner = Runner(tmp_path_factory.mktemp("undisturbed"), toy_settings(slices))
    runner.to_the_end()
    return runner


def watching(out: Path, folder: Path, **changes: object) -> Runner:
    parts = Parts(clock=ManualClock(), segmenter=GreySegmenter(VOXEL_NM))
    return Runner(out, toy_settings(folder, **changes), watch=True, parts=parts)


def turns(runner: Runner, run: EmbeddedRun, count: int) -> None:
    clock = runner.parts.clock
    assert isinstance(clock, ManualClock)
    for _ in range(count):
        clock.advance(1.0)
        run.turn()


def deliver_in_any_order(runner: Runner, run: EmbeddedRun, slices: Path, folder: Path, seed: int) -> None:
    """Copy slices into a watched folder, the first one first, the others as chance has it; turns pass between."""
    names = sorted(path.name for path in slices.iterdir())
    rest = names[1:]
    random.Random(seed).shuffle(rest)
    for name in [names[0], *rest]:
        shutil.copy(slices / name, folder / name)
        turns(runner, run, 2)


def finished(runner: Runner, run: EmbeddedRun) -> str:
    for _ in range(300):
        if run.complete:
            run.finish()
            return runner.manifest()
        turns(runner, run, 1)
    raise AssertionError(run.progress().line())


def ledger(runner: Runner) -> dict[int, str]:
    rows = (runner.out / "ledger.csv").read_text().splitlines()[1:]
    return {int(row.split(",")[0]): row.split(",")[1] for row in rows if row.split(",")[0]}


def test_both_nuclei_are_found_once_and_followed_through_the_stack(undisturbed: Runner) -> None:
    rows = pq.read_table(undisturbed.out / "nuclei.parquet").to_pylist()
    assert [row["nucleus_id"] for row in rows] == ["n0001", "n0002"]
    assert [row["clipped"] for row in rows] == ["Z_LAST,X_LAST", "Z_LAST"]


def test_watching_slices_that_arrive_in_any_order_gives_the_same_results(
    undisturbed: Runner, slices: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    runner = watching(tmp_path / "out", folder)
    run = runner.start()
    deliver_in_any_order(runner, run, slices, folder, seed=4)
    (folder / "ACQUISITION_FINISHED").touch()
    assert finished(runner, run) == undisturbed.manifest()
    run.close()


def test_watching_a_finished_folder_gives_the_same_results(undisturbed: Runner, slices: Path, tmp_path: Path) -> None:
    runner = watching(tmp_path / "out", slices)
    run = runner.start()
    turns(runner, run, 30)
    RequestBox(run.store, runner.settings.acquisition).leave(FinishAcquisition())
    assert finished(runner, run) == undisturbed.manifest()
    run.close()


class ProcessDiedError(BaseException):
    """Stands for a kill."""


class Dying:
    """A store whose process dies at the n-th put, before or after it is durable."""

    def __init__(self, store: DirectoryStore, at: int, *, durable: bool) -> None:
        self._store, self._left, self._durable = store, at, durable

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        self._left -= 1
        if self._left == 0 and not self._durable:
            raise ProcessDiedError
        ref = self._store.put(key, payload)
        if self._left == 0:
            raise ProcessDiedError
        return ref

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def dying(at: int, *, durable: bool) -> Callable[[DirectoryStore], ArtefactStore]:
    return lambda store: Dying(store, at, durable=durable)  # type: ignore[return-value]


def test_a_run_killed_again_and_again_ends_with_the_same_results(
    undisturbed: Runner, slices: Path, tmp_path: Path
) -> None:
    runner = Runner(tmp_path / "out", toy_settings(slices))
    for kill in range(12):
        parts = Parts(segmenter=GreySegmenter(VOXEL_NM), store=dying(9 * kill + 3, durable=kill % 2 == 0))
        try:
            Runner(runner.out, runner.settings, parts=parts).to_the_end()
        except ProcessDiedError:
            continue
    assert runner.to_the_end() == undisturbed.manifest()
    assert set(ledger(runner).values()) == {"ingested"}


@pytest.mark.slow
@given(kills=st.lists(st.tuples(st.integers(1, 300), st.booleans()), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_kill_point_changes_the_results(
    undisturbed: Runner, slices: Path, tmp_path_factory: pytest.TempPathFactory, kills: list[tuple[int, bool]]
) -> None:
    out = tmp_path_factory.mktemp("killed")
    for at, durable in kills:
        parts = Parts(segmenter=GreySegmenter(VOXEL_NM), store=dying(at, durable=durable))
        try:
            Runner(out, toy_settings(slices), parts=parts).to_the_end()
        except ProcessDiedError:
            continue
    assert Runner(out, toy_settings(slices)).to_the_end() == undisturbed.manifest()


class Full:
    """A store on a disk that is full for a while."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store, self._puts = store, 0

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        self._puts += 1
        if 30 <= self._puts < 60:
            raise TransientError("disk", "no space left on device")
        return self._store.put(key, payload)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def test_a_full_disk_pauses_the_run_and_loses_nothing(undisturbed: Runner, slices: Path, tmp_path: Path) -> None:
    parts = Parts(clock=ManualClock(), segmenter=GreySegmenter(VOXEL_NM), store=Full)  # type: ignore[arg-type]
    runner = Runner(tmp_path / "out", toy_settings(slices), parts=parts)
    run = runner.start()
    for _ in range(400):
        if run.complete:
            break
        turns(runner, run, 1)
    run.finish()
    run.close()
    assert runner.manifest() == undisturbed.manifest()


def test_a_run_goes_on_where_it_cannot_write_how_far_it_is(undisturbed: Runner, slices: Path, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "out", toy_settings(slices))
    run = runner.start()
    # A folder of that name stands in the way of the file, as a full disk does.
    (runner.out / STATE / f"{STATUS_FILE}.tmp").mkdir()
    run.keep_state()
    assert runner.complete(run) == undisturbed.manifest()
    run.close()


def test_the_bus_is_rebuilt_from_the_store_alone(slices: Path, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "out", toy_settings(slices))
    manifest = runner.to_the_end()
    for path in (runner.out / STATE).glob("bus.sqlite*"):
        path.unlink()
    run = runner.start(from_start=True)
    assert runner.complete(run) == manifest
    run.close()


def with_gap(folder: Path, missing: tuple[int, ...], planes: int = PLANES) -> Path:
    write_toy(folder, planes)
    for z in missing:
        (folder / slice_name(z)).unlink()
    return folder


def test_a_finished_folders_gap_is_declared_and_never_merged_across_silently(tmp_path: Path) -> None:
    runner = Runner(tmp_path / "out", toy_settings(with_gap(tmp_path / "slices", (12, 13))))
    runner.to_the_end()
    assert [z for z, state in ledger(runner).items() if state == "missing"] == [12, 13]
    nuclei = pq.read_table(runner.out / "nuclei.parquet").to_pylist()
    assert [row["absent_planes"] for row in nuclei] == [2, 2]
    objects = pq.read_table(runner.out / "objects.parquet").to_pylist()
    assert any(row["bridged"] for row in objects)


def test_a_gap_too_long_to_bridge_ends_the_nucleus_and_its_continuation_names_it(tmp_path: Path) -> None:
    runner = Runner(tmp_path / "out", toy_settings(with_gap(tmp_path / "slices", tuple(range(26, 31)), 54)))
    runner.to_the_end()
    nuclei = pq.read_table(runner.out / "nuclei.parquet").to_pylist()
    assert {row["continues"] for row in nuclei} == {None, "n0001", "n0002"}


def test_while_watching_a_gap_is_waited_for_until_somebody_declares_it(tmp_path: Path) -> None:
    runner = watching(tmp_path / "out", with_gap(tmp_path / "slices", (20,)))
    run = runner.start()
    turns(runner, run, 60)
    assert "20" in run.progress().waiting_for
    assert run.progress().followed == 20
    requests = RequestBox(run.store, runner.settings.acquisition)
    requests.leave(DeclareMissing(z_first=20, z_last=20, reason="milling stopped"))
    turns(runner, run, 20)
    requests.leave(FinishAcquisition())
    finished(runner, run)
    run.close()
    assert ledger(runner)[20] == "missing"
    assert "milling stopped" in (runner.out / "events.jsonl").read_text()


def test_bad_slices_are_refused_with_a_reason_and_later_slices_flow(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "slices", PLANES)
    good = (folder / slice_name(3)).read_bytes()
    (folder / slice_name(4)).write_bytes(b"")
    (folder / slice_name(9)).write_bytes(good[: len(good) // 2])
    (folder / slice_name(14)).write_bytes(b"this is no TIFF at all, not even nearly")
    tifffile.imwrite(folder / slice_name(19), toy_slice(19)[:40])
    tifffile.imwrite(folder / slice_name(24), toy_slice(24) * 0)
    runner = Runner(tmp_path / "out", toy_settings(folder))
    runner.to_the_end()
    states = ledger(runner)
    assert [z for z, state in states.items() if state == "dead_lettered"] == [4, 9, 14, 19]
    assert states[24] == "blank"
    nuclei = pq.read_table(runner.out / "nuclei.parquet").to_pylist()
    assert [row["absent_planes"] for row in nuclei] == [5, 5]
    assert all(row["z_last"] == PLANES - 1 for row in nuclei)


def test_a_second_folder_of_the_same_name_is_joined(undisturbed: Runner, slices: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, zs in ((first, range(15)), (second, range(15, PLANES))):
        folder.mkdir()
        for z in zs:
            shutil.copy(slices / slice_name(z), folder / slice_name(z))
    runner = watching(tmp_path / "out", first)
    run = runner.start()
    turns(runner, run, 30)
    run.close()
    joined = Runner(runner.out, toy_settings(second))
    joined.to_the_end()
    ours = dict(line.split("  ")[::-1] for line in joined.manifest().splitlines())
    theirs = dict(line.split("  ")[::-1] for line in undisturbed.manifest().splitlines())
    assert {name for name in theirs if ours[name] != theirs[name]} <= {"ledger.csv"}


def test_an_output_folder_of_another_acquisition_is_refused(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "slices", 2)
    settle(tmp_path / "out", toy_settings(folder), joined=False)
    with pytest.raises(OtherRunError, match="choose another --out"):
        settle(tmp_path / "out", toy_settings(folder, acquisition="other"), joined=True)
    with pytest.raises(OtherRunError, match="--acquisition toy"):
        settle(tmp_path / "out", toy_settings(tmp_path), joined=False)


def test_two_processes_cannot_work_on_one_folder(slices: Path, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "out", toy_settings(slices))
    run = runner.start()
    with pytest.raises(RunInUseError, match="another process"):
        runner.start()
    run.close()


def test_the_whole_field_is_one_region(tmp_path: Path) -> None:
    runner = Runner(tmp_path / "out", toy_settings(write_toy(tmp_path / "slices", 3), whole_field=True))
    runner.to_the_end()
    (region,) = pq.read_table(runner.out / "nuclei.parquet").to_pylist()
    assert (region["z_first"], region["z_last"]) == (0, 2)
    assert toy_slice(0).shape == FIELD
