"""A few slices through the whole chain, with what the rest will cost: for tuning, before days are spent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.embedded.run import Outcome, Surroundings, run_to_the_end
from services.embedded.settings import RunSettings, settle
from services.imaging.formats.opening import open_slice
from services.ingest.names import DEFAULT_PATTERN, Candidate, NameRules, classify, compile_pattern


class NothingToPreviewError(ValueError):
    """The folder holds no slice."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What all slices will cost, from what a few of them did.

    Attributes
    ----------
    slices
        Slices in the folder.
    seconds
        Time for all of them on this machine.
    disk_bytes
        Space for state and results.
    """

    slices: int
    seconds: float
    disk_bytes: int


def preview_window(folder: Path, count: int, pattern: str | None, include: str | None) -> tuple[int, int, int]:
    """Return first and last z of `count` slices from the middle of a folder, and how many it holds.

    Raises
    ------
    NothingToPreviewError
        If no file name gives a z.
    """
    rules = NameRules(compile_pattern(pattern or DEFAULT_PATTERN), (include or "*",))
    found = [(path, classify(path.name, rules)) for path in folder.iterdir() if path.is_file()]
    slices = [(path, name.z or 0) for path, name in found if isinstance(name, Candidate)]
    zs = sorted({z for _, z in slices})
    if len(slices) == 1:
        with slices[0][0].open("rb") as stack:
            zs = [zs[0] + page for page in range(len(open_slice(stack).description.pages))]
    if not zs:
        raise NothingToPreviewError(f"no file in {folder} is named like a slice: see --file-pattern")
    first = max(0, (len(zs) - count) // 2)
    chosen = zs[first : first + count]
    return chosen[0], chosen[-1], len(zs)


def preview(out: Path, settings: RunSettings, count: int, around: Surroundings) -> tuple[Path, Outcome, Estimate]:
    """Run `count` slices from the middle into a folder of their own beside `out`; estimate the rest."""
    first, last, total = preview_window(settings.slices[0], count, settings.file_pattern, settings.include)
    folder = out / f"preview-z{first:06d}-z{last:06d}"
    settled = settle(folder, settings.model_copy(update={"first_z": first, "last_z": last}), joined=False)
    outcome = run_to_the_end(folder, settled, around, watch=False)
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    share = total / (last - first + 1)
    # What loading and the report cost once is counted with every slice: the estimate is on the safe side.
    return folder, outcome, Estimate(total, outcome.progress.elapsed_s * share, round(used * share))
