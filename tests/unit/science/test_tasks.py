"""Every task trains networks that the trainer takes, in the time that there is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from services.contracts.classes import LabelClass
from services.contracts.model_card import RECOMMENDED_FUSION
from services.evaluation.manuscript import TABLE_1
from services.trainer.curves import Judgement, curves_csv
from services.trainer.networks import build_network, parameter_count
from services.trainer.recipes import NetworkRecipe, PhantomRecipe, read_recipe
from tests.benchmarks.science import curves, phantom, table1
from tests.benchmarks.science.__main__ import TASKS, task_named
from tests.benchmarks.science.recipes import Job

PHANTOM_TASKS = {"phantom": phantom.jobs(), "table1": table1.jobs()}


def read(job: Job, folder: Path) -> tuple[NetworkRecipe, PhantomRecipe]:
    path = folder / f"{job.name}.toml"
    path.write_text(job.recipe(100, 50))
    recipe = read_recipe(path)
    assert isinstance(recipe.data, PhantomRecipe)
    return recipe.networks[0], recipe.data


@pytest.mark.parametrize("name", PHANTOM_TASKS)
def test_the_trainer_takes_every_recipe(name: str, tmp_path: Path) -> None:
    jobs = PHANTOM_TASKS[name]
    assert [read(job, tmp_path)[0].name for job in jobs] == [job.name for job in jobs]
    assert len({job.name for job in jobs}) == len(jobs)
    assert sum(job.share for job in jobs) == pytest.approx(1.0)


@pytest.mark.parametrize("name", PHANTOM_TASKS)
def test_test_seeds_are_unseen(name: str, tmp_path: Path) -> None:
    for job in PHANTOM_TASKS[name]:
        data = read(job, tmp_path)[1]
        seen = {*data.training_seeds, *data.validation_seeds, *data.held_out_seeds}
        assert not seen & {*phantom.TEST_SEEDS, *table1.SEEDS}


def test_the_three_are_those_that_are_fused_and_have_as_long_as_the_one(tmp_path: Path) -> None:
    *three, one = phantom.jobs()
    assert {job.name for job in three} == set(RECOMMENDED_FUSION.networks)
    assert {job.folder for job in three} == {"model"}
    assert sum(job.share for job in three) == pytest.approx(one.share)
    assert read(one, tmp_path)[0].classes == tuple(int(label) for label in LabelClass)


def test_tables_of_classes_fold_what_the_manuscript_did_not_tell_apart() -> None:
    labels = np.array([LabelClass.NUCLEAR_MEMBRANE, LabelClass.SYNAPTONEMAL_COMPLEX, LabelClass.NUCLEOLUS])
    assert phantom.FOUR[labels].tolist() == [LabelClass.EXTERIOR, LabelClass.CHROMOSOME, LabelClass.NUCLEOLUS]
    assert phantom.FIVE[labels].tolist() == [
        LabelClass.EXTERIOR, LabelClass.SYNAPTONEMAL_COMPLEX, LabelClass.NUCLEOLUS,
    ]  # fmt: skip


def test_the_sweep_has_the_manuscripts_tunets_and_an_msdnet(tmp_path: Path) -> None:
    *tunets, dense = [read(job, tmp_path)[0] for job in table1.jobs()]
    printed = [(row.depth, row.base, row.growth) for row in TABLE_1[:5]]
    found = []
    for network in (*tunets, dense):
        assert network.architecture != "auto"
        if network.architecture.family == "dlsia.TUNet":
            found.append(
                (network.architecture.depth, network.architecture.base_channels, network.architecture.growth_rate)
            )
    assert found == printed
    assert dense.architecture != "auto"
    assert dense.architecture.family == "dlsia.MixedScaleDenseNetwork"
    first = tunets[0].architecture
    assert first != "auto"
    # As Table 1 prints it: 2.143 million.
    assert round(parameter_count(build_network(first, 4, 0)) / 1e6, 3) == 2.143


def test_the_published_network_of_the_sweep_is_chosen_by_its_newest_validations(tmp_path: Path) -> None:
    def validated(name: str, digest: str, time_s: int, *scores: float) -> None:
        folder = tmp_path / ".training" / f"{name}-{digest}"
        folder.mkdir(parents=True)
        history = [Judgement(step, 0.5, 0.5, score, 1e-3) for step, score in enumerate(scores)]
        (folder / "curves.csv").write_text(curves_csv(history))
        os.utime(folder / "curves.csv", (time_s, time_s))

    validated("wide", "0123456789ab", 20, 0.70, 0.80, 0.75)
    validated("deep", "0123456789ab", 10, 0.99)
    validated("deep", "ba9876543210", 20, 0.77, 0.79)
    assert curves.best_by_validation(tmp_path, ["deep", "wide"]) == "wide"


def test_every_task_says_its_parts() -> None:
    for name in TASKS:
        task = task_named(name, 0)
        assert task.title
        assert "est " in task.parts
