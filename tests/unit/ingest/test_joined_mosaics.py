"""Ingest takes the slices that mosaics were joined into as any others, with gaps where tiles lack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from services.imaging.mosaics.placing import Cell
from services.ingest.joining import LAYOUT_FROM, Joiner, JoinSettings
from tests.support.ingest_bench import Bench
from tests.support.mosaic_tiles import cut, specimen, tile_bytes, tile_file

SLICES = LAYOUT_FROM + 4
FIRST_Z = 40
# Behind the first 16, which ingest waits for to settle its grey.
LATE = (17, (0, 1))


def tile_payload(number: int, cell: Cell) -> bytes:
    return tile_bytes(cut(specimen(1), number, grid=(1, 2))[0][cell], FIRST_Z + number, cell)


def acquire(tiles: Path, number: int, *, without: tuple[int, Cell] | None = None) -> None:
    """Write the tiles of a slice, but one."""
    tiles.mkdir(exist_ok=True)
    for cell in ((0, 0), (0, 1)):
        if (number, cell) != without:
            (tiles / tile_file(number, cell)).write_bytes(tile_payload(number, cell))


def eight_nm(bench: Bench) -> dict[str, Any]:
    return {"voxel_size": bench.settings().voxel_size.model_copy(update={"x_nm": 8.0, "y_nm": 8.0})}


@contextmanager
def another_bench() -> Iterator[Bench]:
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        yield bench
        bench.close()


def test_slices_are_ingested_while_their_mosaics_are_joined_and_a_late_tile_holds_up_its_slice_only(
    bench: Bench, tmp_path: Path
) -> None:
    tiles = tmp_path / "tiles"
    joiner = Joiner(JoinSettings(tiles, bench.folder))
    ingest = bench.ingest(watch=True, first_z=FIRST_Z, **eight_nm(bench))
    for number in range(SLICES):
        acquire(tiles, number, without=LATE)
        joiner.look(is_final=False)
        bench.turn(ingest, polls=2)
    joiner.look(is_final=False)
    bench.turn(ingest, polls=3)
    late_z = FIRST_Z + LATE[0]
    assert set(bench.ingested()) == set(range(FIRST_Z, FIRST_Z + SLICES)) - {late_z}
    (tiles / tile_file(*LATE)).write_bytes(tile_payload(*LATE))
    (tiles / "ACQUISITION_FINISHED").touch()
    for _ in range(2):
        joiner.look(is_final=False)
    joiner.look(is_final=True)
    bench.run(ingest)
    assert sorted(bench.ingested()) == list(range(FIRST_Z, FIRST_Z + SLICES))
    assert bench.letters() == {}
    assert bench.absent() == {}
    with another_bench() as replayed:
        Joiner(JoinSettings(tiles, replayed.folder)).look(is_final=True)
        replayed.run(replayed.ingest(**eight_nm(replayed)))
        assert {z: message.raw.sha256 for z, message in replayed.ingested().items()} == {
            z: message.raw.sha256 for z, message in bench.ingested().items()
        }


def test_a_mosaic_that_lacks_a_tile_is_a_gap_and_never_a_hole(bench: Bench, tmp_path: Path) -> None:
    tiles = tmp_path / "tiles"
    for number in range(SLICES):
        acquire(tiles, number, without=LATE)
    Joiner(JoinSettings(tiles, bench.folder)).look(is_final=True)
    bench.run(bench.ingest(**eight_nm(bench)))
    assert bench.absent() == {FIRST_Z + LATE[0]: "MISSING"}
