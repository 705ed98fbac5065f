"""An amended version of a run: its slices changed after they were decided, and what that touches is worked on again.

A version is never changed in place: the amended one is a run of its own that begins with what the first one
computed per slice and crop. Keys say what an artefact depends on (design decision 1), so that whatever the change does
not touch is found and not computed again, and the result is that of a run that had every slice from the start.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from services.contracts.keys import places_key
from services.embedded.settings import BUS, STATE, STORE, RunSettings, kept_in, load, settle
from services.evaluation.metrics import count_pairs
from services.evaluation.reading import PredictedNucleus, read_prediction
from services.evaluation.windows import covered, placed, slabs, volume, whole
from services.extract.places import Solution
from services.extract.registering import registration_params
from services.extract.solving import NothingToSolveError, solve
from services.runtime.bus.replay import replay_messages
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.store.directory import DirectoryStore

IDENTITIES = "identities.csv"
# What depends on slices, settings and networks alone, never on how far a run was.
REUSED = ("outlines", "digests", "quality", "places", "nuclei/*/crops", "nuclei/*/planes")


class NothingToAmendError(ValueError):
    """The folder holds no finished run."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What became of one object, or of a whole nucleus (object 0), from one version to the next.

    Attributes
    ----------
    nucleus_before, object_before
        Names in the earlier version; empty and 0 for what is new.
    nucleus_after, object_after
        Names in the amended version; empty and 0 for what is gone.
    shared_voxels
        Voxels that both versions give it.
    """

    nucleus_before: str
    object_before: int
    nucleus_after: str
    object_after: int
    shared_voxels: int


def prepare(
    before: Path,
    after: Path,
    models: Path | None = None,
    changes: Mapping[str, object] | None = None,
    *,
    refine: bool = False,
) -> RunSettings:
    """Set an amended version up: the settings of a finished run, and what it computed, linked.

    Parameters
    ----------
    before
        Results of the earlier version.
    after
        Folder of the amended one.
    models
        Folder of other networks, if those are what is amended.
    changes
        Other settings, if those are: of registration, or of the thickness of slices, by which planes are put together
        and measured anew, and none is segmented again; of repairs, by which only what they change is.
    refine
        Whether final places are found anew, with all slices of the earlier version at once.

    Returns
    -------
    RunSettings
        What to run; gaps that are still there are declared.

    Raises
    ------
    NothingToAmendError
        If `before` holds no finished run, its slices are not there, or one without registration is to be refined.
    OtherRunError
        If `after` holds a run of something else.
    """
    settings = load(before)
    if settings is None or not (before / "MANIFEST.sha256").exists():
        raise NothingToAmendError(f"{before} holds no finished run: finish it first (`fibsem-nuclei finish`)")
    _require_slices(before, settings)
    amended: dict[str, object] = {"gaps": "declare"} | ({} if models is None else {"models": models})
    amended |= changes or {}
    if any(name.startswith("registration") for name in amended):
        # Other settings give other places than those that were solved for.
        amended["registration_solution"] = None
    wanted = RunSettings.model_validate(settings.model_dump() | amended)
    solution = _solution(before, wanted) if refine else None
    if solution is not None:
        wanted = wanted.model_copy(update={"registration_solution": solution.name})
    settled = settle(after, wanted, joined=True)
    source, target = (folder / STORE / settings.acquisition for folder in (kept_in(before), after / STATE))
    for pattern in REUSED:
        for folder in sorted(source.glob(pattern)):
            _link_tree(folder, target / folder.relative_to(source))
    if solution is not None:
        with closing(DirectoryStore(after / STATE / STORE, reference_files=True)) as kept:
            kept.put(places_key(settings.acquisition, solution.name), solution.to_bytes())
    return settled


def _require_slices(before: Path, settings: RunSettings) -> None:
    for folder in settings.slices:
        if not folder.is_dir():
            raise NothingToAmendError(
                f"the slices of {before} are not at {folder}: have them there, or, if it was collected from a deployed "
                "system, collect it again and say where they are with --slices"
            )


def _solution(before: Path, wanted: RunSettings) -> Solution:
    """Return where all slices of a run lie by all they have to say of one another; the run stays as it is."""
    params = registration_params(wanted.registration, wanted.registration_trend, wanted.registration_delay)
    if params is None:
        raise NothingToAmendError(f"{before} was run without registration: say how slices are laid, --registration")
    if not (kept_in(before) / BUS).exists():
        raise NothingToAmendError(f"{before} holds results alone: bring what was computed too, `collect --computed`")
    with ExitStack() as opened:
        bus = opened.enter_context(closing(SqliteBus(kept_in(before) / BUS)))
        store = opened.enter_context(closing(DirectoryStore(kept_in(before) / STORE, reference_files=True)))
        try:
            return solve(replay_messages(bus, ("outlines",)), store, params)
        except NothingToSolveError as error:
            raise NothingToAmendError(
                f"{before}: {error}; amend it with --registration first, then refine what that gave"
            ) from error


def _link_tree(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir() or place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, place)
        except OSError:
            # Another file system, or one without links.
            shutil.copyfile(path, place)


def identities(before: Path, after: Path) -> list[Identity]:
    """Return what every nucleus and object of one version is in another, by the voxels they share.

    An object becomes the one that it shares most voxels with, of equal ones that with the lower number. Several may
    become one, where a slice that came joins them, and of several that one became the others are new.
    """
    old, new = read_prediction(before), read_prediction(after)
    found: list[Identity] = []
    seen: set[tuple[str, int]] = set()
    for nucleus in old:
        shared = {other.nucleus_id: _shared(nucleus, other) for other in new}
        for identity in _successors(nucleus, shared):
            seen.add((identity.nucleus_after, identity.object_after))
            found.append(identity)
    for nucleus in new:
        fresh = (number for number in (0, *sorted(_numbers(nucleus))) if (nucleus.nucleus_id, number) not in seen)
        found.extend(Identity("", 0, nucleus.nucleus_id, number, 0) for number in fresh)
    return found


def _successors(nucleus: PredictedNucleus, shared: dict[str, Counter[tuple[int, int]]]) -> Iterator[Identity]:
    totals = {name: sum(pairs.values()) for name, pairs in shared.items() if pairs}
    home = max(sorted(totals), key=lambda name: totals[name]) if totals else ""
    yield Identity(nucleus.nucleus_id, 0, home, 0, totals.get(home, 0))
    best: dict[int, tuple[int, int]] = {}
    for (number, other), count in sorted(shared.get(home, Counter()).items()):
        if count > best.get(number, (0, 0))[1]:
            best[number] = (other, count)
    for number in sorted(_numbers(nucleus)):
        other, count = best.get(number, (0, 0))
        yield Identity(nucleus.nucleus_id, number, home if other else "", other, count)


def _numbers(nucleus: PredictedNucleus) -> set[int]:
    """Return the numbers of a nucleus's objects."""
    if nucleus.objects is None:
        return set()
    numbers: set[int] = set()
    for box in slabs(whole(nucleus.objects.grids)):
        numbers |= {int(n) for n in np.unique(nucleus.objects.read(placed(nucleus.objects.grids, box)))}
    return numbers - {0}


def _shared(first: PredictedNucleus, second: PredictedNucleus) -> Counter[tuple[int, int]]:
    """Count the voxels that objects of two nuclei share."""
    pairs: Counter[tuple[int, int]] = Counter()
    if first.objects is None or second.objects is None:
        return pairs
    common = covered(first.objects.grids, second.objects.grids)
    if volume(common) == 0:
        return pairs
    for box in slabs(common):
        target = placed(first.objects.grids, box)
        pairs.update(count_pairs(first.objects.read(target), second.objects.read(target)))
    return Counter({pair: count for pair, count in pairs.items() if min(pair) > 0})


def write_identities(before: Path, after: Path) -> Path:
    """Write what became of every identity into the amended version; return the table's path."""
    path = after / IDENTITIES
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(field.name for field in fields(Identity))
        table.writerows(astuple(identity) for identity in identities(before, after))
    part.replace(path)
    return path
