"""The verb `train`: networks from a recipe, with bars, curves, and a training that goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from services.cli.console import OUT

if TYPE_CHECKING:
    from services.trainer.keeping import Progress as TrainingProgress


class UnfitMachineError(ValueError):
    """A recipe asks for devices or a precision that this machine does not have."""


def train(
    recipe: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="recipe (TOML)")],
    out: Annotated[Path, typer.Option(help="folder to publish the networks in")],
    cpu: Annotated[bool, typer.Option("--cpu", help="train on the CPU even where there is a GPU")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="threads of a CPU; the same number, the same weights")
    ] = None,
) -> None:
    """Train the networks of a recipe and publish them; a training that was stopped goes on.

    Each network's folder gets a page with its curves and how it does on the test part, report.html.
    """
    from services.cli.model_page import write_pages
    from services.simulator.phantom import Phantom, PhantomSpec
    from services.trainer.runs import Workplace
    from services.trainer.runs import train as train_recipe

    def grow(seed: int, voxel_nm: float, nuclei: int) -> Phantom:
        return Phantom(PhantomSpec(seed=seed, voxel_nm=voxel_nm, n_nuclei=nuclei))

    work = out / ".training"
    OUT.print(f"curves: tensorboard --logdir {work}", markup=False, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with misfits_in_plain_words(), Progress(*columns, console=OUT) as bars:
        report = _Bars(bars)
        place = Workplace(out, work, grow, report, accelerator="cpu" if cpu else "auto", remark=report.say)
        published = train_recipe(recipe, place, threads)
    for model in published:
        OUT.print(f"published {model}")
    with OUT.status("scoring for the report"):
        pages = write_pages(recipe, place, published)
    for page in pages:
        OUT.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def misfits_in_plain_words() -> Iterator[None]:
    """Have what Lightning refuses as no fit for this machine be an error of the recipe, rather than a stack trace."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    try:
        yield
    except MisconfigurationException as misfit:
        raise UnfitMachineError(f"this machine cannot train as the recipe says: {misfit}") from misfit


class _Bars:
    """A bar for each network; says what each validation found, and once when training and validation part."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._warned: set[str] = set()

    def say(self, said: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(said, markup=False, highlight=False, soft_wrap=True)

    def __call__(self, progress: TrainingProgress) -> None:
        name = progress.network
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=progress.steps)
        said = (
            f"{name}: loss {progress.loss:.3f}, validation loss {progress.validation_loss:.3f}, "
            f"macro F1 {progress.validation_score:.3f}"
        )
        self._bars.update(self._tasks[name], completed=progress.step, description=said)
        if progress.warning and name not in self._warned:
            self._warned.add(name)
            self._bars.console.print(f"{name}: {progress.warning}", markup=False, highlight=False)
