"""Networks are swapped between two nuclei and never within one, by a decision; and swapped back by another."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.contracts.messages import CropExtracted, NucleusOpened
from services.contracts.model_card import ModelSet
from services.contracts.values import ArtefactRef
from services.embedded.amending import prepare
from services.embedded.run import EmbeddedRun, Parts
from services.embedded.settings import STATE
from services.embedded.swaps import MisfitError, ModelDesk, NoEarlierModelsError, SwapWaitsError
from services.ingest.requests import FinishAcquisition, RequestBox, UseModels
from services.runtime.bus.replay import replay_messages
from services.runtime.clock import ManualClock
from services.runtime.deployment import SHIPPED_MODELS
from services.runtime.segmenter.port import Segmenter
from services.runtime.segmenter.shelf import UnknownModelError
from services.runtime.store.directory import DirectoryStore
from tests.support.grey_networks import GreyNetwork, write_grey_network
from tests.support.shipped_networks import altered
from tests.support.toy_acquisition import PLANES, VOXEL_NM, Runner, toy_settings, write_repeating_toy

# Two nuclei one after the other in z, at each of two places.
COUNT = 2 * PLANES
SWAP_Z = PLANES


@dataclass
class Lab:
    """An acquisition, the networks it was set up with, and those of a candidate."""

    root: Path
    slices: Path
    deployed: ModelSet
    candidate: ModelSet

    def segmenter(self, model_set: ModelSet) -> GreyNetwork:
        return GreyNetwork(model_set, takes_chromosomes_for_nucleoli=model_set == self.candidate)

    def open_set(self, digest: str) -> Segmenter:
        (found,) = (known for known in (self.deployed, self.candidate) if known.digest == digest)
        return self.segmenter(found)

    def runner(self, out: Path, slices: Path, first: ModelSet | None = None, *, watch: bool = False) -> Runner:
        parts = Parts(clock=ManualClock(), segmenter=self.segmenter(first or self.deployed), open_set=self.open_set)
        return Runner(out, toy_settings(slices, models=self.root / "deployed"), watch=watch, parts=parts)

    def desk(self, run: EmbeddedRun) -> ModelDesk:
        return ModelDesk(run.store, run.bus, "toy", self.root / "deployed")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("lab")
    slices = write_repeating_toy(root / "slices", COUNT)
    deployed = write_grey_network(root / "deployed", VOXEL_NM)
    candidate = write_grey_network(root / "trained", VOXEL_NM, licence="another")
    return Lab(root, slices, deployed, candidate)


@dataclass
class Live:
    """A run while slices come."""

    lab: Lab
    runner: Runner
    run: EmbeddedRun
    folder: Path

    def slices_come(self, first: int, last: int) -> None:
        """Write slices, and have everything done about them."""
        for path in sorted(self.lab.slices.iterdir())[first:last]:
            shutil.copy(path, self.folder)
        self.turns()

    def turns(self, count: int = 60) -> None:
        clock = self.runner.parts.clock
        assert isinstance(clock, ManualClock)
        idle = 0
        while idle < count:
            clock.advance(2.0)
            idle = 0 if self.run.turn() else idle + 1

    def restart(self) -> None:
        self.run.close()
        self.run = self.runner.start()

    @property
    def desk(self) -> ModelDesk:
        return self.lab.desk(self.run)

    def use(self, chosen: ModelSet, z_first: int | None = None) -> None:
        wanted = UseModels(model_set=chosen.digest, z_first=z_first, decided_by="biologist", reason="finds more")
        self.desk.use(chosen, wanted)

    def finish(self) -> str:
        RequestBox(self.run.store, "toy").leave(FinishAcquisition())
        self.turns()
        assert self.run.complete
        self.run.finish()
        return self.runner.manifest()


@pytest.fixture
def live(lab: Lab, tmp_path: Path) -> Iterator[Live]:
    (tmp_path / "live").mkdir()
    runner = lab.runner(tmp_path / "out", tmp_path / "live", watch=True)
    live = Live(lab, runner, runner.start(), tmp_path / "live")
    yield live
    live.run.close()


def of_nuclei(manifest: str, names: set[str]) -> set[str]:
    """Return the lines of a manifest that are about the volumes of some nuclei."""
    return {line for line in manifest.splitlines() if any(f"nuclei/{name}/" in line for name in names)}


@pytest.fixture(scope="module")
def runs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runner]:
    """Return runs with one set from beginning to end."""
    root = tmp_path_factory.mktemp("undisturbed")
    sets = {"deployed": lab.deployed, "candidate": lab.candidate}
    runs = {name: lab.runner(root / name, lab.slices, found) for name, found in sets.items()}
    for runner in runs.values():
        runner.to_the_end()
    return runs


@pytest.fixture(scope="module")
def undisturbed(runs: dict[str, Runner]) -> dict[str, str]:
    """Return their manifests."""
    return {name: runner.manifest() for name, runner in runs.items()}


@pytest.mark.slow
def test_nuclei_before_a_swap_are_those_of_the_old_networks_and_nuclei_after_it_those_of_the_new(
    live: Live, undisturbed: dict[str, str]
) -> None:
    live.slices_come(0, SWAP_Z - 20)
    live.desk.publish(live.lab.root / "trained" / live.lab.candidate.names[0])
    # In the middle of two nuclei, for those that come after them: what is open keeps its networks.
    live.use(live.desk.with_networks([live.lab.candidate.names[0]]))
    live.restart()
    live.slices_come(SWAP_Z - 20, COUNT - 30)
    live.restart()
    live.slices_come(COUNT - 30, COUNT)
    manifest = live.finish()
    opened = {
        message.nucleus_id: message.model_set
        for message in replay_messages(live.run.bus, ("nuclei",))
        if isinstance(message, NucleusOpened)
    }
    before = {name for name, digest in opened.items() if digest == live.lab.deployed.digest}
    after = {name for name, digest in opened.items() if digest == live.lab.candidate.digest}
    assert (before, after) == ({"n0001", "n0002"}, {"n0003", "n0004"})
    assert of_nuclei(manifest, before) == of_nuclei(undisturbed["deployed"], before)
    assert of_nuclei(manifest, after) == of_nuclei(undisturbed["candidate"], after)
    assert of_nuclei(manifest, after) != of_nuclei(undisturbed["deployed"], after)
    pinned = defaultdict(set)
    for message in replay_messages(live.run.bus, ("crops",)):
        if isinstance(message, CropExtracted):
            pinned[message.nucleus_id].add(message.model_set)
    assert {name: len(found) for name, found in pinned.items()} == dict.fromkeys(opened, 1)
    (swap,) = json.loads((live.runner.out / "provenance.json").read_text())["swaps"]
    assert (swap["z_first"], swap["networks"]) == (SWAP_Z - 20, list(live.lab.candidate.names))


def test_a_roll_back_is_a_decision_like_any_other(live: Live) -> None:
    live.slices_come(0, 20)
    with pytest.raises(NoEarlierModelsError):
        live.desk.earlier()
    live.desk.publish(live.lab.root / "trained" / live.lab.candidate.names[0])
    live.use(live.lab.candidate)
    with pytest.raises(SwapWaitsError, match="waits for ingest"):
        live.use(live.lab.deployed)
    live.turns()
    live.use(live.desk.earlier())
    live.turns()
    live.use(live.desk.earlier())
    live.turns()
    # All before one slice: none is lost, the last one holds.
    assert [swap.z_first for swap in live.desk.swaps()] == [20, 20, 20]
    sets = [swap.model_set for swap in live.desk.swaps()]
    assert sets == [live.lab.candidate, live.lab.deployed, live.lab.candidate]
    assert live.desk.current() == live.lab.candidate


class Noting:
    """A store that notes what is put."""

    def __init__(self, store: DirectoryStore, noted: list[str]) -> None:
        self._store, self._noted = store, noted

    def put(self, key: str, payload: bytes) -> ArtefactRef:
        self._noted.append(key)
        return self._store.put(key, payload)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.mark.slow
def test_a_backfill_computes_what_depends_on_networks_and_nothing_before_it(
    lab: Lab, runs: dict[str, Runner], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    again = lab.runner(tmp_path / "again", lab.slices, lab.candidate)
    again.settings = prepare(runs["deployed"].out, again.out, lab.root / "trained")
    noted: list[str] = []
    again.parts = replace(again.parts, store=lambda store: Noting(store, noted))  # type: ignore[arg-type, return-value]
    assert again.to_the_end() == undisturbed["candidate"]
    kinds = {key.split("/")[3].partition("-")[0] if "/nuclei/" in key else key.split("/")[1] for key in noted}
    assert {"planes", "volume"} <= kinds
    assert "outlines" not in kinds
    # Crops are cut again, to the same bytes: no other crop is there than those of the earlier version.
    stores = [runner.out / STATE / "store" / "toy" / "nuclei" for runner in (runs["deployed"], again)]
    crops = [sorted(path.relative_to(root) for path in root.glob("*/crops/*")) for root in stores]
    assert crops[0] == crops[1]


def test_slices_that_were_handed_on_are_not_taken_back(live: Live) -> None:
    live.slices_come(0, 20)
    live.desk.publish(live.lab.root / "trained" / live.lab.candidate.names[0])
    live.use(live.lab.candidate, z_first=10)
    live.turns()
    (why,) = RequestBox(live.run.store, "toy").refusals().values()
    assert "up to z 19" in why
    assert live.desk.swaps() == []


def test_a_network_that_nobody_published_cannot_be_used(live: Live) -> None:
    with pytest.raises(UnknownModelError, match="0 published networks"):
        live.desk.with_networks([live.lab.candidate.names[0]])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"torch_version": "9.9.9"}, "one process runs one torch"),
        ({"voxel_size_nm": 8.0}, "must share voxel size"),
        ({"normalisation": {"kind": "fixed", "mean": 1.0, "sd": 1.0}}, "normalises by constants"),
        ({"classes": ({"name": "a", "class_id": 0}, {"name": "b", "class_id": 1})}, "does not know the class"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    live: Live, tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    desk = ModelDesk(live.run.store, live.run.bus, "toy", SHIPPED_MODELS)
    address = altered(tmp_path / "misfit", "chromatin", **changes)
    desk.publish(tmp_path / "misfit" / address)
    with pytest.raises(MisfitError, match=why):
        desk.with_networks([address])


def test_networks_take_the_places_of_their_namesakes(live: Live, tmp_path: Path) -> None:
    desk = ModelDesk(live.run.store, live.run.bus, "toy", SHIPPED_MODELS)
    address = altered(tmp_path / "other", "complex", licence="another")
    desk.publish(tmp_path / "other" / address)
    before = desk.current()
    chosen = desk.with_networks([address])
    assert set(chosen.names) - set(before.names) == {address}
    assert chosen.fusion == before.fusion
    # Whoever is to segment with it finds every network of it.
    desk.put(chosen)
    assert desk.shelf.read_set(chosen.digest) == chosen
    desk.shelf.bring_set(chosen.digest, tmp_path / "brought")
    assert {path.name for path in (tmp_path / "brought").iterdir()} == set(chosen.names)
    # A name that the set does not know takes no place.
    stranger = altered(tmp_path / "other", "membrane", name="mitochondria")
    desk.publish(tmp_path / "other" / stranger)
    with pytest.raises(UnknownModelError, match="the set has no network called mitochondria"):
        desk.with_networks([stranger])
