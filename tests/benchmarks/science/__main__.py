"""The proof on real data: `python -m tests.benchmarks.science TASK` trains from scratch, and says how good it became.

    python -m tests.benchmarks.science epfl6|hela|mito|membranes|phantom|table1|baseline|leakage [--out out/science]
        [--data FOLDER] [--minutes 60] [--fold 0] [--cpu] [--threads N]

Stopped and started again, it goes on from the trainer's checkpoint. `OUT/TASK/model` holds the published network as
`fibsem-nuclei train --out` leaves it; `OUT/TASK/result.md` and `result.json` what was measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from services.cli.model_page import write_pages
from services.runtime.segmenter.cards import read_card
from services.simulator.phantom import Phantom, PhantomSpec
from services.trainer.keeping import Progress
from services.trainer.runs import Workplace
from tests.benchmarks.science.baseline import Baseline
from tests.benchmarks.science.budget import Steps, planned
from tests.benchmarks.science.epfl6 import FOLDS, Epfl6
from tests.benchmarks.science.hela import Hela
from tests.benchmarks.science.leakage import Leakage
from tests.benchmarks.science.membranes import Membranes
from tests.benchmarks.science.mito import Mito
from tests.benchmarks.science.phantom import PhantomTask
from tests.benchmarks.science.recipes import Job
from tests.benchmarks.science.results import Result, machine, markdown, write
from tests.benchmarks.science.table1 import Table1
from tests.benchmarks.science.task import Task
from tests.benchmarks.science.turns import Ledger, Spent, train_by_turns

ROOT = Path(__file__).resolve().parents[3]
TASKS = ("epfl6", "hela", "mito", "membranes", "phantom", "table1", "baseline", "leakage")
TRAINING_SHARE = 0.85
"""Of the minutes; the rest is for data, trials, publishing and scores."""


def task_named(name: str, fold: int) -> Task:
    """Return a task."""
    if name == "epfl6":
        return Epfl6(fold)
    plain: dict[str, Task] = {
        "hela": Hela(), "mito": Mito(), "membranes": Membranes(), "phantom": PhantomTask(), "table1": Table1(),
        "baseline": Baseline(), "leakage": Leakage(),
    }  # fmt: skip
    return plain[name]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a task."""
    given = _parser().parse_args(arguments)
    task = task_named(given.task, given.fold)
    place: Path = given.out / (given.task if not given.fold else f"{given.task}-fold{given.fold}")
    (place / ".training").mkdir(parents=True, exist_ok=True)
    if not given.data.is_dir() and given.task not in {"phantom", "table1"}:
        raise SystemExit(f"the real data is not at {given.data}: name its folder with --data")
    print(f"{task.title}\n{task.parts}\n{machine()}", flush=True)
    if given.threads:
        torch.set_num_threads(given.threads)
    print(markdown(performed(task, place, given)))


def performed(task: Task, place: Path, given: argparse.Namespace) -> Result:
    """Prepare, plan, train, score; every phase is entered in the ledger."""
    ledger = Ledger(place / "spent.json")
    ledger.begin("data")
    jobs = task.prepare(given.data, place)
    ledger.enter("data")
    workplace = Workplace(place, place / ".training", _grown, _said, accelerator="cpu" if given.cpu else "auto")
    ledger.begin("trials")
    plan = planned(place / "plan.json", jobs, place, workplace, 60 * given.minutes * TRAINING_SHARE)
    ledger.enter("trials")
    for name, steps in plan.items():
        print(f"{name}: {steps.steps} steps of {steps.step_s:.2f} s, judged every {steps.validate_every}", flush=True)
    models = train_by_turns(jobs, plan, place, workplace, ledger, task.turn_s)
    ledger.begin("scores")
    for job in jobs:
        write_pages(place / f"{job.name}.toml", workplace, [models[job.name]])
    outcome = task.measure(given.data, place, models)
    ledger.enter("scores")
    networks = {job.name: _network(job, models[job.name], plan, ledger.spent) for job in jobs}
    minutes = sum(ledger.spent.wall_s.values()) / 60
    result = Result(
        task.title, task.parts, outcome.scores, networks, machine(), minutes, outcome.remarks, outcome.tables
    )
    write(result, place)
    return result


def _network(job: Job, model: Path, plan: Mapping[str, Steps], spent: Spent) -> dict[str, Any]:
    card = read_card(model)
    return {
        "folder": str(model),
        "parameters": card.parameters,
        "seed": card.training.seed,
        "steps": card.training.steps,
        "patches": card.training.steps * card.training.batch_crops,
        "patch_px": card.training.patch_px,
        "voxel_nm": card.voxel_size_nm,
        "wall_s": spent.wall_s[job.name],
        "processor_s": spent.processor_s[job.name],
        "turns": spent.turns[job.name],
        "step_s": plan[job.name].step_s,
        "card_scores": [score.model_dump() for score in card.scores.classes],
    }


def _said(progress: Progress) -> None:
    print(
        f"{progress.network} {progress.step}/{progress.steps}: loss {progress.loss:.4f}, "
        f"validation {progress.validation_loss:.4f}, macro F1 {progress.validation_score:.4f}",
        flush=True,
    )


def _grown(seed: int, voxel_nm: float, nuclei: int) -> Phantom:
    return Phantom(PhantomSpec(seed=seed, voxel_nm=voxel_nm, n_nuclei=nuclei))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.science", description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "science")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real data")
    parser.add_argument("--minutes", type=float, default=60.0, help="for everything, on the machine that trains")
    parser.add_argument("--fold", type=int, choices=range(len(FOLDS)), default=0, help="of epfl6")
    parser.add_argument("--cpu", action="store_true", help="train on the CPU even where there is a GPU")
    parser.add_argument("--threads", type=int, help="of a CPU")
    return parser


if __name__ == "__main__":
    main()
