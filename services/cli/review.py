"""Verbs about pseudo-labels: propose labels for images that nobody annotated, look at them, accept, reject."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.console import ERR, OUT, progress_bar
from services.cli.options import voxel_size

if TYPE_CHECKING:
    from services.imaging.grey import GreyStatistics
    from services.inference.answers import Labeller
    from services.inference.pages import Plane
    from services.trainer.annotations.pseudo_labels import Answered
    from services.trainer.annotations.queues import Decision, ReviewQueue
    from services.trainer.annotations.reviewing import Standing

_PROPOSE_EXAMPLES = """Examples:

fibsem-nuclei annotations propose models/chromatin-0123456789ab slices/ --out queue

fibsem-nuclei annotations propose models slices/ --out queue --for annotated --limit 40

fibsem-nuclei annotations propose models stack.tif --out queue --voxel-nm 8,4,4 --least-confidence 0.8
"""
_REVIEW_EXAMPLES = """Examples:

fibsem-nuclei annotations review queue

fibsem-nuclei annotations review queue --json
"""
_ACCEPT_EXAMPLES = """Examples:

fibsem-nuclei annotations accept queue n3_z0040 n3_z0080 --by maria

fibsem-nuclei annotations accept queue n3_z0120 --by maria --corrected n3_z0120_labels.tif --reason 'nucleolus redrawn'

fibsem-nuclei annotations accept queue n3_z0160 n3_z0200 --by maria --corrected corrected/
"""

Queue = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of a review queue")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="images of the queue, by name or by file")]
By = Annotated[str, typer.Option("--by", help="who decides; goes into the record")]


def register_review(app: typer.Typer) -> None:
    """Add the verbs to `annotations`."""
    app.command(epilog=_PROPOSE_EXAMPLES)(propose)
    app.command(epilog=_REVIEW_EXAMPLES)(review)
    app.command(epilog=_ACCEPT_EXAMPLES)(accept)
    app.command(epilog="Example: fibsem-nuclei annotations reject queue n3_z0240 --by maria --reason 'out of focus'")(
        reject
    )


def propose(
    model: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="folder of a published network, or of several")
    ],
    images: Annotated[Path, typer.Argument(exists=True, help="a TIFF or a folder of TIFFs")],
    out: Annotated[Path, typer.Option(help="folder for the review queue")],
    voxel_nm: Annotated[str | None, typer.Option(help="voxel size Z,Y,X in nm, when it is not the network's")] = None,
    least_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="pixels of lower confidence are left unlabelled (255)")
    ] = 0.9,
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many images, spread evenly over all")] = None,
    dataset: Annotated[
        Path | None,
        typer.Option("--for", exists=True, file_okay=False, help="data set to extend: its images are not proposed for"),
    ] = None,
    name_pattern: Annotated[
        str | None, typer.Option(help="regular expression with (?P<nucleus>...) and (?P<z>...) for file names")
    ] = None,
) -> None:
    """Let networks propose labels for images that nobody annotated, into a queue that a person reviews.

    Nothing is learned from a proposal until it is accepted. Stopped and run again, it goes on; what is there stays.
    """
    from services.inference.answers import open_labeller
    from services.inference.prediction import image_paths
    from services.trainer.annotations.dataset import read_dataset
    from services.trainer.annotations.pseudo_labels import ProposalOrder
    from services.trainer.annotations.pseudo_labels import propose as propose_labels
    from services.trainer.annotations.queue_page import write_queue_page

    size = voxel_size(voxel_nm) if voxel_nm else None
    order = ProposalOrder(
        out=out,
        voxel_size=size,
        least_confidence=least_confidence,
        limit=limit,
        annotated=read_dataset(dataset) if dataset else None,
        name_pattern=name_pattern,
    )
    paths = image_paths(images)
    with open_labeller(model, paths, size) as labeller, progress_bar("proposing") as told:
        queue = propose_labels(order, _Proposer(labeller, paths), told)
    with progress_bar("drawing") as told:
        page = write_queue_page(queue, told)
    if queue.manifest.annotated:
        OUT.print(f"{queue.manifest.annotated} images are annotated and were left out")
    OUT.print(f"{len(queue.manifest.images)} proposals in {out}; look at {page}", soft_wrap=True)


def review(
    queue: Queue, as_json: Annotated[bool, typer.Option("--json", help="print JSON and nothing else")] = False
) -> None:
    """Show what waits for a decision and what was decided, and write the queue's page again."""
    from services.trainer.annotations.queue_page import write_queue_page
    from services.trainer.annotations.queues import read_queue
    from services.trainer.annotations.reviewing import standings

    opened = read_queue(queue)
    found = standings(opened)
    if as_json:
        OUT.print_json(json.dumps(_as_json(opened, found)))
        return
    with progress_bar("drawing") as told:
        page = write_queue_page(opened, told)
    _print_standings(opened, found)
    OUT.print(f"look at {page}", soft_wrap=True)


def accept(
    queue: Queue,
    names: Names,
    by: By,
    corrected: Annotated[
        Path | None, typer.Option(exists=True, help="label image to accept instead, or a folder with one for each name")
    ] = None,
    reason: Annotated[str, typer.Option(help="goes into the record")] = "",
) -> None:
    """Accept proposals, as they are or corrected; a recorded decision that a later one may change.

    A proposal that was changed in the queue's own file is accepted as corrected.
    """
    from services.trainer.annotations.queues import read_queue
    from services.trainer.annotations.reviewing import Reviewer
    from services.trainer.annotations.reviewing import accept as accept_proposals

    opened = read_queue(queue)
    before = opened.standing()
    made = accept_proposals(opened, names, Reviewer(by, datetime.now(UTC), reason), corrected)
    _print_decisions(made, before)


def reject(
    queue: Queue, names: Names, by: By, reason: Annotated[str, typer.Option(help="goes into the record")]
) -> None:
    """Reject proposals, for a reason; a recorded decision that a later one may change."""
    from services.trainer.annotations.queues import read_queue
    from services.trainer.annotations.reviewing import Reviewer
    from services.trainer.annotations.reviewing import reject as reject_proposals

    opened = read_queue(queue)
    before = opened.standing()
    made = reject_proposals(opened, names, Reviewer(by, datetime.now(UTC), reason))
    _print_decisions(made, before)


@dataclass(frozen=True, eq=False)
class _Proposer:
    """Open networks, as whoever writes a queue asks them."""

    labeller: Labeller
    paths: Sequence[Path]

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(card.address for card in self.labeller.cards)

    @property
    def class_ids(self) -> Mapping[str, int]:
        return self.labeller.class_ids

    @property
    def voxel_size_nm(self) -> float:
        return self.labeller.cards[0].voxel_size_nm

    @property
    def grey(self) -> GreyStatistics:
        return self.labeller.grey

    @property
    def files(self) -> Mapping[Path, int]:
        from services.inference.pages import page_count

        return {path: page_count(path) for path in self.paths}

    def image(self, path: Path, page: int) -> Plane:
        from services.inference.pages import mapped_page

        return mapped_page(path, page, self.labeller.grey)

    def answers(self, wanted: Callable[[Path, int], bool]) -> Iterator[Answered]:
        from services.trainer.annotations.pseudo_labels import Answered

        for path, page, answer in self.labeller.answers(wanted):
            yield Answered(path, page, self.image(path, page), answer.classes_yx, answer.confidence_yx)


def _as_json(queue: ReviewQueue, found: Sequence[Standing]) -> dict[str, object]:
    return {
        "queue": queue.manifest.model_dump(mode="json", exclude={"images", "sources"}),
        "without_proposal": len(queue.manifest.images) - len(found),
        "images": [
            {
                "name": one.proposal.name,
                "state": one.state,
                "doubt": one.proposal.doubt,
                "unlabelled_share": round(one.proposal.unlabelled_share, 6),
                "nucleus": one.proposal.nucleus,
                "z": one.proposal.z,
                "decisions": [decision.model_dump(mode="json") for decision in one.decisions],
            }
            for one in found
        ],
    }


def _print_standings(queue: ReviewQueue, found: Sequence[Standing]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("image", "state", "doubt", "unlabelled", "by", "when", "why", box=None)
    for one in found:
        last = one.decisions[-1] if one.decisions else None
        said = (last.by, f"{last.at:%Y-%m-%d %H:%M}", last.reason) if last else ("", "", "")
        state = one.state + (", corrected" if last and last.corrected else "")
        shares = (f"{one.proposal.doubt:.1%}", f"{one.proposal.unlabelled_share:.1%}")
        table.add_row(*(Text(cell) for cell in (one.proposal.name, state, *shares, *said)))
    OUT.print(table)
    counts = Counter(one.state for one in found)
    missing = len(queue.manifest.images) - len(found)
    left = f"; {missing} images have no proposal yet: run `annotations propose` again" if missing else ""
    OUT.print(
        f"{counts['waiting']} waiting, {counts['accepted']} accepted, {counts['rejected']} rejected{left}",
        highlight=False,
        soft_wrap=True,
    )


def _print_decisions(made: Sequence[Decision], before: Mapping[str, Decision]) -> None:
    for decision in made:
        corrected = ", corrected" if decision.corrected else ""
        earlier = before.get(decision.name)
        said = f" ({earlier.verdict} by {earlier.by} before, which stays on record)" if earlier else ""
        OUT.print(
            f"{decision.name}: {decision.verdict}{corrected}{said}", markup=False, highlight=False, soft_wrap=True
        )
    if any(decision.corrected for decision in made):
        ERR.print("corrected: the labels that were accepted are not those that the networks proposed", style="yellow")
