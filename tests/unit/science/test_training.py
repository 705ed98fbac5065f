"""A task is trained within its time, by turns, and a stop costs nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.values import VoxelSize
from services.inference.prediction import predict_folder
from services.runtime.segmenter.cards import read_card
from services.simulator.phantom import Phantom
from services.trainer.keeping import Progress
from services.trainer.recipes import read_recipe
from services.trainer.runs import Workplace
from tests.benchmarks.science.budget import VALIDATIONS, Steps, Watch, planned, steps_within
from tests.benchmarks.science.pictures import Division, Edges, Picture, write_dataset, write_split, write_tiffs
from tests.benchmarks.science.recipes import Job, toml_value
from tests.benchmarks.science.task import annotated, output
from tests.benchmarks.science.turns import Ledger, train_by_turns

STEPS, EVERY = 24, 6
CLASSES = {"background": 0, "disc": 1}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def disc(z: int) -> Picture:
    rng = np.random.default_rng(z)
    y, x = np.mgrid[:48, :40]
    inside = np.hypot(y - rng.integers(15, 33), x - rng.integers(12, 28)) < 9
    grey = np.where(inside, 90, 170) + rng.normal(0, 8, inside.shape)
    return Picture(f"z{z:03}", "toy", z, grey.astype(np.uint8), inside.astype(np.uint8))


def job(name: str, folder: str = "model", seed: int = 1) -> Job:
    return Job(
        name,
        annotated("toy"),
        [output("background", 0), output("disc", 1)],
        {"family": "dlsia.TUNet", "depth": 2, "base_channels": 4},
        {"seed": seed, "batch_crops": 2, "patch_px": 32, "learning_rate": 0.01, "warp_share": 0.0},
        0.5,
        1000,
        folder,
    )


def plan(*jobs: Job) -> dict[str, Steps]:
    return {
        each.name: Steps(job=each.digest, steps=STEPS, validate_every=EVERY, step_s=0.1, validation_s=0.1)
        for each in jobs
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    pictures = [disc(z) for z in range(12)]
    write_dataset(tmp_path / "data" / "toy", pictures, CLASSES, Edges(50.0, 10.0, 10.0))
    division = Division(frozenset(range(8)), frozenset({9}), frozenset({11}), distance_planes=1)
    write_split(tmp_path / "data" / "toy.split.json", division.split(pictures))
    return tmp_path


def grown(_seed: int, _voxel_nm: float, _nuclei: int) -> Phantom:
    raise AssertionError("annotated data grow no phantom")


def workplace(place: Path, said: list[Progress]) -> Workplace:
    return Workplace(place, place / ".training", grown, said.append, accelerator="cpu")


@pytest.mark.slow
def test_turns_interleave_and_end_with_what_each_alone_ends_with(place: Path) -> None:
    jobs = (job("first"), job("second", "baseline", seed=2))
    said: list[Progress] = []
    models = train_by_turns(jobs, plan(*jobs), place, workplace(place, said), Ledger(place / "spent.json"), 0.0)
    order = [name for name, _ in itertools.groupby(progress.network for progress in said)]
    assert order == ["first", "second"] * (STEPS // EVERY)
    assert [models["first"].parent.name, models["second"].parent.name] == ["model", "baseline"]
    weights = {name: read_card(model).weights_sha256 for name, model in models.items()}

    for left in ("plan.json", "spent.json"):
        (place / left).unlink(missing_ok=True)
    alone = replace(workplace(place, []), work=place / ".again")
    again = train_by_turns(jobs, plan(*jobs), place, alone, Ledger(place / "spent.json"), math.inf)
    assert {name: read_card(model).weights_sha256 for name, model in again.items()} == weights


@pytest.mark.slow
def test_a_stop_costs_nothing(place: Path) -> None:
    """Killed after the second validation, the training goes on from there to the same weights."""
    whole = train_by_turns(
        (job("toy"),),
        plan(job("toy")),
        place,
        replace(workplace(place, []), work=place / ".whole"),
        Ledger(place / "a"),
    )
    expected = read_card(whole["toy"]).weights_sha256

    class KilledError(Exception):
        pass

    seen: list[int] = []

    def killer(progress: Progress) -> None:
        seen.append(progress.step)
        if len(seen) == 2:
            raise KilledError

    stopped = replace(workplace(place, []), report=killer)
    with pytest.raises(KilledError):
        train_by_turns((job("toy"),), plan(job("toy")), place, stopped, Ledger(place / "spent.json"))
    assert seen == [EVERY, 2 * EVERY]
    said: list[Progress] = []
    resumed = train_by_turns(
        (job("toy"),), plan(job("toy")), place, workplace(place, said), Ledger(place / "spent.json")
    )
    assert [progress.step for progress in said] == [3 * EVERY, STEPS]
    assert read_card(resumed["toy"]).weights_sha256 == expected
    assert Ledger(place / "spent.json").spent.turns == {"toy": 2}


@pytest.mark.slow
def test_the_published_folder_labels_plain_tiffs(place: Path) -> None:
    train_by_turns((job("toy"),), plan(job("toy")), place, workplace(place, []), Ledger(place / "spent.json"))
    images = write_tiffs(place / "images", [("a", disc(11).grey_yx), ("b", disc(30).grey_yx[:29, :33])])
    assert predict_folder(place / "model", images, place / "labels") == 2
    # Images of finer pixels come back at their own; the border is nowhere a staircase of the network's pixels.
    finer = write_tiffs(place / "finer", [("a", np.kron(disc(11).grey_yx, np.ones((4, 4), np.uint8)))])
    predict_folder(place / "model", finer, place / "finer-labels", VoxelSize(z_nm=50, y_nm=2.5, x_nm=2.5))
    coarse, fine = (tifffile.imread(place / which / "a.tif") for which in ("labels", "finer-labels"))
    assert fine.shape == (4 * 48, 4 * 40)
    assert (fine == np.kron(coarse, np.ones((4, 4), np.uint8))).mean() > 0.9
    assert set(np.unique(fine)) <= {0, 1}


@pytest.mark.slow
def test_a_plan_is_measured_once_and_kept(place: Path) -> None:
    jobs = (job("first"),)
    here = workplace(place, [])
    found = planned(place / "plan.json", jobs, place, here, seconds=0.5)
    assert found["first"].step_s > 0
    assert planned(place / "plan.json", jobs, place, here, seconds=900.0) == found
    # Another job is planned anew.
    other = planned(place / "plan.json", (job("first", seed=5),), place, here, seconds=0.5)
    assert other["first"].job != found["first"].job


@pytest.mark.slow
def test_a_trial_leaves_nothing_behind(place: Path) -> None:
    before = {path.name for path in place.iterdir()}
    planned(place / "plan.json", (job("first"),), place, workplace(place, []), seconds=0.5)
    assert {path.name for path in place.iterdir()} - before <= {"plan.json", ".training"}
    assert not list((place / ".training").iterdir())


@given(st.floats(10, 4000), st.floats(0.01, 5), st.floats(0, 60), st.integers(50, 50_000))
def test_planned_steps_fit_the_time(seconds: float, step_s: float, validation_s: float, most: int) -> None:
    steps, every = steps_within(seconds, step_s, validation_s, most)
    assert 1 <= every <= steps
    assert steps <= most
    if steps > 40:
        # Whatever time is over, a twelfth of the validations' cadence is the least.
        assert steps * step_s <= seconds
    assert steps / every >= VALIDATIONS - 1 or every == 1 or steps < 2 * VALIDATIONS


def test_a_watch_tells_steps_from_validations() -> None:
    watch = Watch(starts=[0.0, 5.0, 6.0, 7.0, 8.0, 9.0], ends=[14.0])
    assert watch.measured() == (1.0, 4.0)


def test_a_ledger_adds_up_over_stops(tmp_path: Path) -> None:
    times = iter([0.0, 10.0, 12.0, 15.0, 100.0, 200.0, 207.0])
    ledger = Ledger(tmp_path / "spent.json", clock=lambda: next(times), processor=lambda: 0.0)
    ledger.begin("net")
    ledger.enter("net")
    ledger.enter("net")
    # Killed here; what came after the last entry is lost, and counts for nobody.
    again = Ledger(tmp_path / "spent.json", clock=lambda: next(times), processor=lambda: 0.0)
    again.begin("net")
    again.enter("net")
    assert again.spent.wall_s == {"net": 2.0 + 3.0 + 7.0}
    assert again.spent.turns == {"net": 2}


def test_a_recipe_is_one_that_the_trainer_reads(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(job("toy").recipe(120, 30))
    (network,) = read_recipe(path).networks
    assert (network.name, network.optimiser.steps, network.optimiser.validate_every) == ("toy", 120, 30)
    assert network.profile == "recommended"


def test_toml_tells_strings_from_numbers() -> None:
    assert toml_value({"a": 'say "x"', "b": [1, 0.5, False]}) == '{ a = "say \\"x\\"", b = [1, 0.5, false] }'
