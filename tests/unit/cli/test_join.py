"""`join` makes slices of mosaics: the same bytes whatever happens, and never a slice with a hole."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.cli.console import OUT
from services.imaging.mosaics.placing import TilesApartError, regular
from services.ingest.joining import (
    LAYOUT_FROM,
    Joiner,
    JoiningElsewhereError,
    JoinSettings,
    NoMosaicError,
    OtherMosaicsError,
    only_one,
)
from services.ingest.names import PatternError
from services.ingest.tiles import PositionsNotStatedError
from tests.support.mosaic_tiles import OVERLAP_YX, TILE_YX, cut, specimen, tile_bytes, tile_file
from tests.support.tiff_corpus import written

GRID = (1, 2)
CELLS = [(0, 0), (0, 1)]
SLICE_SHAPE = regular(dict.fromkeys(CELLS, TILE_YX), OVERLAP_YX).shape_yx


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OUT, "_width", 500)


def acquire(folder: Path, slices: int = 3, **options: Any) -> list[Path]:
    """Write mosaics of one row and two columns; return the tiles."""
    folder.mkdir(exist_ok=True)
    image = specimen(1)
    for number in range(slices):
        for cell, plane in cut(image, number, grid=GRID, **options)[0].items():
            (folder / tile_file(number, cell)).write_bytes(tile_bytes(plane, number + 40, cell))
    return sorted(folder.iterdir())


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    acquire(tmp_path / "tiles")
    return tmp_path / "tiles"


def join(tiles: Path, out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["join", str(tiles), "--out", str(out), *options], catch_exceptions=False)


def contents(out: Path) -> dict[str, bytes]:
    """Return what a joining leaves for others: slices and the table."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.is_file()}


def table(out: Path) -> list[dict[str, str]]:
    with (out / "tiles.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def states(out: Path) -> list[str]:
    return [row["state"] for row in table(out)]


def slice_name(number: int) -> str:
    return f"Merlin-6281_19-08-09_12{number:02d}26_0_z{number + 40:06d}.tif"


def test_mosaics_become_slices_that_inspect_finds_nothing_against(tiles: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in tiles.iterdir()}
    out = tmp_path / "slices"
    result = join(tiles, out)
    assert result.exit_code == 0
    assert "3 of 3 mosaics joined; tiles: 6 joined" in result.stdout
    assert sorted(contents(out)) == [*(slice_name(number) for number in range(3)), "tiles.csv"]
    assert {path.name: path.read_bytes() for path in tiles.iterdir()} == before
    looked = CliRunner().invoke(app, ["inspect", str(out), "--voxel-nm", "8"], catch_exceptions=False)
    assert looked.exit_code == 0
    assert "z_first" in looked.stdout
    assert "40" in looked.stdout


def test_a_slice_shows_the_specimen_without_a_seam(tiles: Path, tmp_path: Path) -> None:
    join(tiles, tmp_path / "slices")
    for number in range(3):
        _, truth = cut(specimen(1), number, grid=GRID)
        found = tifffile.imread(tmp_path / "slices" / slice_name(number))
        assert found.shape == SLICE_SHAPE
        first = table(tmp_path / "slices")[2 * number]
        y, x = (truth[0, 0][axis] - int(first[name]) for axis, name in enumerate(("y_px", "x_px")))
        inner = (slice(16, -16), slice(16, -16))
        off = found[inner].astype(float) - specimen(1)[y : y + found.shape[0], x : x + found.shape[1]][inner]
        # The noise of the tiles is left, and one brightness of the whole.
        assert off.std() < 4.6
        halves = off[:, : off.shape[1] // 2].mean() - off[:, off.shape[1] // 2 :].mean()
        # Levels are whole: each tile may be half of one off.
        assert abs(halves) < 1.1


def test_the_table_says_of_every_tile_what_became_of_it(tiles: Path, tmp_path: Path) -> None:
    (tiles / "notes.txt").write_text("restarted at noon")
    (tiles / "Merlin-6281_19-08-09_125926_0-0-0.dat.part").write_bytes(b"\xd3")
    result = join(tiles, tmp_path / "slices")
    assert "left alone: 1 unfinished, 1 no_tile" in result.stdout
    rows = table(tmp_path / "slices")
    assert [row["file"] for row in rows] == sorted(path.name for path in tiles.glob("*.dat"))
    assert {row["placed_by"] for row in rows} == {"overlap"}
    for row in rows:
        assert float(row["ncc"]) > 0.6
        assert float(row["step_after"]) <= min(1.0, max(0.5, float(row["step_before"])))
        assert len(row["sha256"]) == 64


def test_brightness_is_left_alone_on_request(tiles: Path, tmp_path: Path) -> None:
    join(tiles, tmp_path / "slices", "--brightness", "as-is")
    assert {row["levels_added"] for row in table(tmp_path / "slices")} == {"0"}
    with pytest.raises(OtherMosaicsError, match="choose another --out"):
        join(tiles, tmp_path / "slices")


def test_a_mosaic_without_one_of_its_tiles_is_no_slice_until_the_tile_comes(tiles: Path, tmp_path: Path) -> None:
    join(tiles, tmp_path / "all")
    late = tiles / tile_file(1, (0, 1))
    payload = late.read_bytes()
    late.unlink()
    result = join(tiles, tmp_path / "slices")
    assert result.exit_code == 1
    assert "not joined missing_tile: Merlin-6281_19-08-09_120126_0: tile (0, 1) is not there" in result.stdout
    assert slice_name(1) not in contents(tmp_path / "slices")
    assert states(tmp_path / "slices") == ["joined", "joined", "incomplete", "missing", "joined", "joined"]
    late.write_bytes(payload)
    assert join(tiles, tmp_path / "slices").exit_code == 0
    assert states(tmp_path / "slices") == ["joined"] * 6
    assert contents(tmp_path / "slices") == contents(tmp_path / "all")


def test_tiles_that_come_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    files = acquire(tmp_path / "tiles", LAYOUT_FROM + 2)
    join(tmp_path / "tiles", tmp_path / "finished")
    order = np.random.default_rng(3).permutation(len(files))
    live = tmp_path / "live"
    live.mkdir()
    joiner = Joiner(JoinSettings(live, tmp_path / "watched"))
    for number in order:
        shutil.copy2(files[number], live)
        if number % 4 == 0:
            look = joiner.look(is_final=False)
    assert look.joined < LAYOUT_FROM + 2
    for _ in range(3):
        look = joiner.look(is_final=False)
    assert (look.joined, look.is_moving) == (LAYOUT_FROM + 2, False)
    joiner.look(is_final=True)
    assert contents(tmp_path / "watched") == contents(tmp_path / "finished")


class KilledError(BaseException):
    """Stands for a kill."""


def test_a_joining_that_is_killed_at_any_file_goes_on_to_the_same_bytes(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(tiles, tmp_path / "whole")
    wanted, really = contents(tmp_path / "whole"), os.fsync
    # A layout, three records with three slices, a table.
    for kill_at in range(8):
        out, left = tmp_path / f"killed{kill_at}", [kill_at]

        def fsync(file: int, left: list[int] = left) -> None:
            if left[0] == 0:
                os.ftruncate(file, 3)
                raise KilledError
            left[0] -= 1
            really(file)

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(KilledError):
            join(tiles, out)
        monkeypatch.setattr(os, "fsync", really)
        assert join(tiles, out).exit_code == 0
        assert contents(out) == wanted


def test_what_is_joined_is_not_joined_again(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "slices"
    join(tiles, out)
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()}
    join(tiles, out)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.is_file()} == times


def test_a_tile_that_is_replaced_leaves_its_slice_as_it_was_until_somebody_decides(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "slices"
    join(tiles, out)
    before = contents(out)[slice_name(0)]
    plane = cut(specimen(2), 0, grid=GRID)[0][0, 1]
    (tiles / tile_file(0, (0, 1))).write_bytes(tile_bytes(plane, 40, (0, 1)))
    result = join(tiles, out)
    assert result.exit_code == 1
    assert f"was replaced: remove {slice_name(0)} to join its slice anew" in result.stdout
    assert (contents(out)[slice_name(0)], states(out)[1]) == (before, "changed")
    (out / slice_name(0)).unlink()
    assert join(tiles, out).exit_code == 0
    assert contents(out)[slice_name(0)] != before


def damage(kind: str) -> Callable[[Path], None]:
    """Return what spoils the second tile of slice 1."""

    def spoil(tiles: Path) -> None:
        path = tiles / tile_file(1, (0, 1))
        plane = cut(specimen(1), 1, grid=GRID)[0][0, 1]
        if kind == "truncated_pixels":
            path.write_bytes(path.read_bytes()[:-1])
        elif kind == "not_a_tiff":
            path.write_bytes(b"a table of numbers")
        elif kind == "other_grid":
            path.write_bytes(tile_bytes(plane[:, :-7], 41, (0, 1)))
        elif kind == "other_machine":
            path.write_bytes(tile_bytes(plane, 41, (0, 1), MachineID="Jeiss1"))
        elif kind == "pixel_size_mismatch":
            path.write_bytes(tile_bytes(plane, 41, (0, 1), PixelSize=4.0))
        else:
            path.write_bytes(tile_bytes(plane, 99, (0, 1)))

    return spoil


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("truncated_pixels", ["incomplete", "refused"]),
        ("not_a_tiff", ["incomplete", "refused"]),
        ("other_grid", ["incomplete", "refused"]),
        ("other_machine", ["incomplete", "refused"]),
        ("pixel_size_mismatch", ["incomplete", "refused"]),
        ("slice_number_differs", ["refused", "refused"]),
    ],
)
def test_trouble_with_one_tile_costs_its_mosaic_only(
    kind: str, expected: list[str], tiles: Path, tmp_path: Path
) -> None:
    damage(kind)(tiles)
    result = join(tiles, tmp_path / "slices")
    assert result.exit_code == 1
    assert f"not joined {kind}: " in result.stdout
    assert states(tmp_path / "slices") == ["joined", "joined", *expected, "joined", "joined"]
    assert {row["reason"] for row in table(tmp_path / "slices")} == {"", kind}


def test_a_tile_of_another_grid_is_refused(tiles: Path, tmp_path: Path) -> None:
    extra = tiles / tile_file(2, (1, 0))
    shutil.copy(tiles / tile_file(2, (0, 0)), extra)
    assert join(tiles, tmp_path / "slices").exit_code == 1
    (row,) = [row for row in table(tmp_path / "slices") if row["file"] == extra.name]
    assert (row["state"], row["reason"]) == ("refused", "other_grid")


def test_a_tile_that_grows_is_waited_for(tiles: Path, tmp_path: Path) -> None:
    join(tiles, tmp_path / "slices")
    path = tiles / tile_file(3, (0, 0))
    for cell, plane in cut(specimen(1), 3, grid=GRID)[0].items():
        (tiles / tile_file(3, cell)).write_bytes(tile_bytes(plane, 43, cell))
    payload = path.read_bytes()
    path.write_bytes(payload[:2000])
    joiner = Joiner(JoinSettings(tiles, tmp_path / "slices"))
    for _ in range(3):
        look = joiner.look(is_final=False)
    assert look.states == {"joined": 6, "waiting": 2}
    path.write_bytes(payload)
    joiner.look(is_final=False)
    assert joiner.look(is_final=False).states == {"joined": 8}


def test_two_mosaics_of_one_slice_become_two_files_that_the_run_decides_on(tiles: Path, tmp_path: Path) -> None:
    for cell, plane in cut(specimen(1), 9, grid=GRID)[0].items():
        (tiles / tile_file(9, cell)).write_bytes(tile_bytes(plane, 40, cell))
    join(tiles, tmp_path / "slices")
    names = sorted(name for name in contents(tmp_path / "slices") if name.endswith("_z000040.tif"))
    assert names == [slice_name(0), "Merlin-6281_19-08-09_120926_0_z000040.tif"]


def test_tiles_that_say_no_place_need_to_be_told_their_overlap(tmp_path: Path) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for cell, plane in cut(specimen(1), 0, grid=GRID)[0].items():
        (tiles / tile_file(0, cell)).write_bytes(tile_bytes(plane, 40, cell, None))
    with pytest.raises(PositionsNotStatedError, match="give --overlap-px Y,X"):
        join(tiles, tmp_path / "slices")
    assert join(tiles, tmp_path / "slices", "--overlap-px", "40,50").exit_code == 0
    assert join(tiles, tmp_path / "slices", "--overlap-px", "fifty").exit_code == 2
    assert join(tiles, tmp_path / "slices", "--overlap-px", "1,-1").exit_code == 2


def test_tiles_without_texture_lie_where_they_say_and_the_table_says_so(tmp_path: Path) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for cell in CELLS:
        plane = np.random.default_rng(cell[1]).integers(90, 110, TILE_YX).astype(np.uint8)
        (tiles / tile_file(0, cell)).write_bytes(tile_bytes(plane, 40, cell))
    assert join(tiles, tmp_path / "slices").exit_code == 0
    rows = table(tmp_path / "slices")
    assert [(row["placed_by"], row["y_px"], row["x_px"]) for row in rows] == [("grid", "0", "0"), ("grid", "0", "100")]


def test_tiles_apart_and_single_tiles_are_no_mosaic(tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    for cell, plane in cut(specimen(1), 0, grid=GRID)[0].items():
        (tmp_path / "apart" / tile_file(0, cell)).write_bytes(tile_bytes(plane, 40, cell, (80, 160)))
    with pytest.raises(TilesApartError, match="lie 10 px apart"):
        join(tmp_path / "apart", tmp_path / "slices")
    for path in (tmp_path / "apart").glob("*_0-0-1.dat"):
        path.unlink()
    with pytest.raises(NoMosaicError):
        join(tmp_path / "apart", tmp_path / "slices")
    with pytest.raises(OtherMosaicsError, match="holds the tiles"):
        join(tmp_path / "apart", tmp_path / "apart")


@pytest.mark.parametrize("trouble", ["loop", "io"])
@pytest.mark.parametrize("watched", [False, True])
def test_a_tile_that_the_system_cannot_read_costs_its_slice_only(tmp_path: Path, trouble: str, watched: bool) -> None:
    tiles, out = tmp_path / "tiles", tmp_path / "slices"
    acquire(tiles, LAYOUT_FROM + 2)
    bad, whole = tiles / tile_file(LAYOUT_FROM, (0, 1)), (tiles / tile_file(LAYOUT_FROM, (0, 1))).read_bytes()
    bad.unlink()
    # Links that lead to themselves cannot be followed; where a process has no memory the system says EIO.
    bad.symlink_to(bad if trouble == "loop" else "/proc/self/mem")
    joiner = Joiner(JoinSettings(tiles, out))
    looks = [joiner.look(is_final=not watched) for _ in range(2)]
    assert looks[-1].joined == LAYOUT_FROM + 1
    ((_, reason, detail),) = looks[-1].faults
    assert reason == "unreadable"
    assert bad.name in detail
    bad.unlink()
    bad.write_bytes(whole)
    joiner.look(is_final=False)
    assert joiner.look(is_final=True).joined == LAYOUT_FROM + 2
    assert states(out) == ["joined"] * 2 * (LAYOUT_FROM + 2)


def test_a_folder_of_tiles_that_went_away_is_no_fault_of_theirs(tiles: Path, tmp_path: Path) -> None:
    joiner = Joiner(JoinSettings(tiles, tmp_path / "slices"))
    joiner.look(is_final=False)
    tiles.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        joiner.look(is_final=False)


def test_tiles_of_any_names_are_joined_by_a_pattern(tmp_path: Path) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for number in range(2):
        for (row, column), plane in cut(specimen(1), number, grid=GRID)[0].items():
            (tiles / f"s{number:04d}_r{row}_c{column}.tif").write_bytes(written([plane]))
    pattern = r"s(?P<z>\d+)_r(?P<row>\d+)_c(?P<column>\d+)"
    assert join(tiles, tmp_path / "slices", "--overlap-px", "40,50", "--tile-pattern", pattern).exit_code == 0
    assert sorted(contents(tmp_path / "slices")) == ["slice_z000000.tif", "slice_z000001.tif", "tiles.csv"]
    with pytest.raises(PatternError):
        join(tiles, tmp_path / "other", "--tile-pattern", r"(?P<z>\d+)")


def test_watching_ends_where_the_acquisition_does_and_says_so_to_the_run(tiles: Path, tmp_path: Path) -> None:
    (tiles / "ACQUISITION_FINISHED").touch()
    result = join(tiles, tmp_path / "slices", "--watch", "--poll-s", "0.01")
    assert result.exit_code == 0
    assert (tmp_path / "slices" / "ACQUISITION_FINISHED").exists()
    assert "3 of 3 mosaics joined" in result.stdout


def test_two_joinings_into_one_folder_keep_out_of_each_others_way(tiles: Path, tmp_path: Path) -> None:
    with only_one(tmp_path / "slices"), pytest.raises(JoiningElsewhereError):
        join(tiles, tmp_path / "slices")


def test_inspect_and_run_say_which_command_joins_tiles(tiles: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["inspect", str(tiles)], catch_exceptions=False)
    command = f"fibsem-nuclei join {tiles} --out tiles-slices"
    assert told.exit_code == 1
    assert command in told.stdout
    refused = CliRunner().invoke(app, ["run", str(tiles), "--out", str(tmp_path / "out"), "--voxel-nm", "8"])
    assert command in str(refused.exception)
    assert not (tmp_path / "out").exists()
