"""What a deployed system computed is brought into a folder, and amended there as if it had been computed there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from services.contracts.method import Method
from services.deployed.collecting import bring_computed, collect
from services.deployed.stack import Stack
from services.embedded.amending import NothingToAmendError, prepare
from services.embedded.run import Parts
from services.embedded.settings import BUS, COLLECTED, STATE, STORE, load
from services.ingest.settings import AcquisitionSettings
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.segmenter.port import Normalisation, Plane, Segmented
from services.runtime.store.directory import DirectoryStore
from tests.support.grey_segmenter import GreySegmenter
from tests.support.moved_toy import write_moved_toy
from tests.support.toy_acquisition import VOXEL_NM, Runner, toy_settings
from tests.unit.deployed.conftest import NOWHERE


class CountingSegmenter(GreySegmenter):
    """Counts the crops it is given."""

    crops = 0

    def segment(self, crops: Sequence[Plane], normalisation: Normalisation) -> Sequence[Segmented]:
        self.crops += len(crops)
        return super().segment(crops, normalisation)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A run whose bus and store are those of the deployed system."""
    root = tmp_path_factory.mktemp("deployed")
    settings = toy_settings(write_moved_toy(root / "slices"), registration="translation", registration_trend="zero")
    runner = Runner(root / "out", settings)
    runner.to_the_end()
    return runner


@pytest.fixture
def stack(whole: Runner) -> Iterator[Stack]:
    method = Method.model_validate({name: getattr(whole.settings, name) for name in Method.model_fields})
    deployment = NOWHERE.model_copy(update={"method": method, "models": SHIPPED_MODELS})
    with ExitStack() as opened:
        store = opened.enter_context(closing(DirectoryStore(whole.out / STATE / STORE, reference_files=True)))
        bus = opened.enter_context(closing(SqliteBus(whole.out / STATE / BUS)))
        yield Stack(deployment, store, bus)


def acquisition_of(whole: Runner) -> AcquisitionSettings:
    return AcquisitionSettings.model_validate(
        {name: getattr(whole.settings, name) for name in AcquisitionSettings.model_fields}
    )


def results_of(manifest: str) -> list[str]:
    """Return the lines of a manifest but that of the networks, which a segmenter of tests has none of."""
    return [line for line in manifest.splitlines() if "provenance.json" not in line]


def collected(stack: Stack, settings: AcquisitionSettings, out: Path) -> list[tuple[int, int]]:
    """Collect an acquisition with what it computed; return what was told of how far that is."""
    told: list[tuple[int, int]] = []
    collect(stack, settings, out)
    bring_computed(stack, settings.acquisition, out, lambda done, count: told.append((done, count)))
    return told


def amended(before: Path, after: Path, *, refine: bool = False, **changes: object) -> tuple[str, int]:
    """Return the manifest of an amended version, and how many crops were segmented for it."""
    segmenter = CountingSegmenter(VOXEL_NM)
    settings = prepare(before, after, changes=changes, refine=refine)
    return Runner(after, settings, parts=Parts(segmenter=segmenter)).to_the_end(), segmenter.crops


def test_what_was_computed_elsewhere_is_amended_here_and_not_computed_again(
    whole: Runner, stack: Stack, tmp_path: Path
) -> None:
    told = collected(stack, acquisition_of(whole), tmp_path / "here")
    assert results_of((tmp_path / "here" / "MANIFEST.sha256").read_text()) == results_of(whole.manifest())
    assert told[-1][0] == told[-1][1] == len(told)
    here = amended(tmp_path / "here", tmp_path / "kept", registration_trend="kept")
    assert here == amended(whole.out, tmp_path / "kept-there", registration_trend="kept")
    assert here[0] != whole.manifest()
    assert here[1] == 0


def test_places_of_an_acquisition_that_was_collected_are_refined_by_all_its_slices(
    whole: Runner, stack: Stack, tmp_path: Path
) -> None:
    collected(stack, acquisition_of(whole), tmp_path / "here")
    here = amended(tmp_path / "here", tmp_path / "refined", refine=True)
    assert here == amended(whole.out, tmp_path / "refined-there", refine=True)
    assert here[1] == 0


def test_an_interrupted_collection_goes_on(whole: Runner, stack: Stack, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int, _count: int) -> None:
        if done == 20:
            raise StoppedError

    out = tmp_path / "here"
    collect(stack, acquisition_of(whole), out)
    with pytest.raises(StoppedError):
        bring_computed(stack, whole.settings.acquisition, out, stop)
    store = out / STATE / COLLECTED / STORE
    first = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    assert len(first) >= 20
    collected(stack, acquisition_of(whole), out)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert amended(out, tmp_path / "kept", registration_trend="kept")[1] == 0


def test_slices_may_lie_elsewhere_than_where_ingest_read_them(whole: Runner, stack: Stack, tmp_path: Path) -> None:
    moved = tmp_path / "share" / "ROI1"
    shutil.copytree(whole.settings.slices[0], moved)
    elsewhere = acquisition_of(whole).model_copy(update={"slices": (tmp_path / "as-ingest-sees-it",)})
    collect(stack, elsewhere, tmp_path / "here")
    with pytest.raises(NothingToAmendError, match=r"as-ingest-sees-it.*--slices"):
        prepare(tmp_path / "here", tmp_path / "kept")
    collect(stack, elsewhere, tmp_path / "here", [moved])
    settings = load(tmp_path / "here")
    assert settings is not None
    assert settings.slices == (moved,)


def test_results_without_what_was_computed_are_not_refined(whole: Runner, stack: Stack, tmp_path: Path) -> None:
    collect(stack, acquisition_of(whole), tmp_path / "here")
    with pytest.raises(NothingToAmendError, match="collect --computed"):
        prepare(tmp_path / "here", tmp_path / "refined", refine=True)
