"""A folder in which everything goes wrong gives the deployed system the results, and the ledger, of a local run.

The stage is unsteady, and slices are registered: where they lie depends on no order either.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import tifffile

from services.contracts.messages import DeadLettered
from services.embedded.run import Parts
from services.ingest.names import FINISH_MARKER
from services.runtime.bus.replay import replay_messages
from services.runtime.deployment import SHIPPED_MODELS
from tests.support.moved_toy import moved_slice, stage_yx_px, write_moved_toy
from tests.support.toy_acquisition import FIELD, Runner, slice_name, toy_settings, toy_slice
from tests.system.deployed import System
from tests.system.invariants import states, torn_artefacts
from tests.system.matrix import Rows
from tests.system.servers.process import LOOK_EVERY_S

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

TRUNCATED, NOTHING, NO_TIFF, MISFIT, BLANK, MISSING, LATE = 9, 13, 26, 33, 20, 37, 44
TWICE, CONFLICTING, HALF_WRITTEN = 5, 7, 30
FIRST = range(4)
# What comes second for a z sorts behind the first as well: the order decides which of two is the one that counts.
AGAIN, OTHER = "zz_again_0005.tif", "zz_other_0007.tif"


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of every trouble, complete, with its finish marker."""
    folder = write_moved_toy(tmp_path_factory.mktemp("messy") / "slices")
    good = (folder / slice_name(3)).read_bytes()
    (folder / slice_name(TRUNCATED)).write_bytes(good[: len(good) // 2])
    (folder / slice_name(NOTHING)).write_bytes(b"")
    (folder / slice_name(NO_TIFF)).write_bytes(b"this is no TIFF at all, not even nearly")
    tifffile.imwrite(folder / slice_name(MISFIT), moved_slice(MISFIT, stage_yx_px())[: FIELD[0] // 2])
    tifffile.imwrite(folder / slice_name(BLANK), moved_slice(BLANK, stage_yx_px()) * 0)
    (folder / slice_name(MISSING)).unlink()
    shutil.copy(folder / slice_name(TWICE), folder / AGAIN)
    tifffile.imwrite(folder / OTHER, toy_slice(CONFLICTING, seed=1))
    (folder / "notes.txt").write_text("the stage was warm")
    (folder / "overview.tif").write_bytes(good)
    (folder / FINISH_MARKER).touch()
    return folder


@pytest.fixture(scope="module")
def expected(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Return the same folder as a local run sees it: all there, in order."""
    settings = toy_settings(messy, models=SHIPPED_MODELS, registration="translation", registration_trend="zero")
    runner = Runner(tmp_path_factory.mktemp("messy-local"), settings, parts=Parts())
    runner.to_the_end()
    return runner


def arrivals(names: Sequence[str]) -> Iterator[str]:
    """Yield names in an order that is none, but for what settles the beginning and who comes second."""
    first = [slice_name(z) for z in FIRST]
    last = [AGAIN, OTHER, slice_name(LATE), FINISH_MARKER]
    rest = [name for name in names if name not in (*first, *last)]
    random.Random(20_261_123).shuffle(rest)
    yield from (*first, *rest, *last)


def write_slowly(source: Path, target: Path) -> None:
    """Write a file as a microscope does: it is there before it is whole."""
    content = source.read_bytes()
    with target.open("wb") as file:
        file.write(content[: len(content) // 3])
        file.flush()
        time.sleep(4.0)  # noqa: TID251 (longer than ingest takes for two looks)
        file.write(content[len(content) // 3 :])


def deliver(source: Path, target: Path, system: System) -> None:
    """Deliver every file; ingest is killed on the way, and starts again."""
    names = sorted(path.name for path in source.iterdir())
    for place, name in enumerate(arrivals(names)):
        if name == slice_name(HALF_WRITTEN):
            write_slowly(source / name, target / name)
        else:
            shutil.copy(source / name, target / name)
        if place == len(names) // 2:
            system.processes["ingest-0"].kill()
            system.start("ingest", wait=True)
        time.sleep(LOOK_EVERY_S)  # noqa: TID251 (a microscope takes its time)


def test_a_folder_of_every_trouble_gives_the_results_and_the_ledger_of_a_local_run(
    system: System, messy: Path, expected: Runner, tmp_path: Path, rows: Rows
) -> None:
    system.slices, system.watch = tmp_path / "slices", True
    system.slices.mkdir()
    system.extra |= {"FIBSEM_METHOD__REGISTRATION": "translation", "FIBSEM_METHOD__REGISTRATION_TREND": "zero"}
    system.start_all()
    deliver(messy, system.slices, system)
    system.await_complete()
    out = tmp_path / "out"
    manifest = system.collect(out)
    assert (out / "ledger.csv").read_text() == (expected.out / "ledger.csv").read_text()
    assert manifest == expected.manifest()
    assert "transforms.csv" in manifest
    assert states(out) == {
        "ingested": 60 - 6, "blank": 1, "missing": 1, "dead_lettered": 5, "duplicate": 1, "conflict": 1,
    }  # fmt: skip
    with system.stack() as stack:
        assert torn_artefacts(stack) == []
        letters = [m for m in replay_messages(stack.bus, ("dead-letters",)) if isinstance(m, DeadLettered)]
    assert {(letter.service, letter.z) for letter in letters} == {
        # The last one is `overview.tif`, whose name says no z.
        ("ingest", z)
        for z in (TRUNCATED, NOTHING, NO_TIFF, MISFIT, None)
    }
    rows.add(
        "duplicate, conflicting, late, shuffled, missing, truncated, empty, corrupt, misshapen, blank and half-written "
        "slices, registered, ingest killed on the way",
        "I1 (ledger equal) I2 I3",
    )
