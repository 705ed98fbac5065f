from __future__ import annotations

import csv
import gc
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from services.simulator.__main__ import main
from services.simulator.artefacts import UnknownArtefactError, artefacts_from
from services.simulator.phantom import Phantom, PhantomSpec
from services.simulator.simulate import SpecError, simulate, spec_for
from services.simulator.truth import OtherAcquisitionError

MakeSpec = Callable[..., PhantomSpec]


class KilledError(Exception):
    """Stands for a kill."""


def run(directory: Path, spec: PhantomSpec, progress: Callable[[int, int], None] = lambda _done, _total: None) -> None:
    simulate(directory, spec, period_s=None, progress=progress, wait=lambda _seconds: None)


def contents(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def described(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / "truth" / "acquisition.json").read_text()))


def truth_array(directory: Path, name: str) -> zarr.Array[Any]:
    array = zarr.open_group(directory / "truth" / name, mode="r")["0"]
    assert isinstance(array, zarr.Array)
    return array


def test_slices_and_truth_are_those_of_the_phantom(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("jitter", n_slices=40)
    run(tmp_path, spec)
    phantom = Phantom(spec)
    assert (tmp_path / "slices" / "ACQUISITION_FINISHED").exists()
    for name in ("classes", "nuclei", "bivalents", "chromosomes"):
        array = truth_array(tmp_path, name)
        assert array.shape == phantom.shape_zyx
        for z in (0, 15, 16, 39):
            assert np.array_equal(array[z], getattr(phantom.truth(z), name))
    image = tifffile.imread(tmp_path / "slices" / "phantom_s5_64x64x64nm.0039.tif")
    assert np.array_equal(image, phantom.slice(39))


def test_truth_is_ome_zarr_in_nanometres(make_spec: MakeSpec, tmp_path: Path) -> None:
    run(tmp_path, make_spec(n_slices=3))
    ome: Any = zarr.open_group(tmp_path / "truth" / "nuclei", mode="r").attrs["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    assert [(axis["name"], axis["type"], axis["unit"]) for axis in multiscale["axes"]] == [
        (name, "space", "nanometer") for name in "zyx"
    ]
    assert multiscale["datasets"] == [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [64.0, 64.0, 64.0]}]}
    ]


def test_transforms_and_faults_are_told_slice_by_slice(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("all", n_slices=40)
    run(tmp_path, spec)
    phantom = Phantom(spec)
    with (tmp_path / "truth" / "transforms.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["k"]) for row in rows] == list(range(40))
    assert [float(row["dx_nm"]) for row in rows] == pytest.approx(phantom.stage.dx_nm.tolist(), rel=1e-6)
    flags = {int(row["k"]): row["flags"].split("+") for row in rows if row["flags"]}
    faults = {int(z): names for z, names in described(tmp_path)["faults"].items()}
    assert {
        z: [flag for flag in names if flag != "restart"] for z, names in flags.items() if names != ["restart"]
    } == faults
    missing = {z for z in range(40) if not (tmp_path / "slices" / f"phantom_s5_64x64x64nm.{z:04d}.tif").exists()}
    assert missing == set(phantom.faults.missed)


def test_an_out_of_order_slice_is_written_after_later_ones(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("out_of_order", n_slices=40)
    (z, delay), *_ = Phantom(spec).faults.late
    path = tmp_path / "slices" / f"phantom_s5_64x64x64nm.{z:04d}.tif"
    there: list[bool] = []
    run(tmp_path, spec, progress=lambda _done, _total: there.append(path.exists()))
    assert there.index(True) == min(z + delay, 39)


@pytest.fixture(scope="module")
def undisturbed(make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("undisturbed")
    run(directory, make_spec("all", n_slices=38))
    return contents(directory)


@pytest.mark.parametrize("stop", [1, 16, 30, 37])
def test_a_killed_simulation_goes_on_to_the_same_bytes(
    make_spec: MakeSpec, undisturbed: dict[str, str], tmp_path: Path, stop: int
) -> None:
    spec = make_spec("all", n_slices=38)

    def kill(done: int, _total: int) -> None:
        if done == stop:
            raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path, spec, progress=kill)
    # What a kill leaves behind: a torn line, and a file that had only begun to grow.
    with (tmp_path / "truth" / "transforms.csv").open("a") as file:
        file.write("16,10")
    if stop not in Phantom(spec).faults.missed:
        (tmp_path / "slices" / f"phantom_s5_64x64x64nm.{stop:04d}.tif").write_bytes(b"II")
    run(tmp_path, spec)
    assert contents(tmp_path) == undisturbed


def test_a_finished_simulation_is_left_as_it_is(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(n_slices=20)
    run(tmp_path, spec)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "slices").glob("*.tif")}
    (tmp_path / "slices" / "phantom_s5_64x64x64nm.0003.tif").unlink()
    run(tmp_path, spec)
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "slices").glob("*.tif")}
    assert {path.name[-8:] for path in times if times[path] != again[path]} == {"0003.tif"}


def test_another_acquisition_is_not_written_over(make_spec: MakeSpec, tmp_path: Path) -> None:
    run(tmp_path, make_spec(n_slices=3))
    before = contents(tmp_path)
    with pytest.raises(OtherAcquisitionError, match="another acquisition"):
        run(tmp_path, make_spec("drift", n_slices=3))
    assert contents(tmp_path) == before


def test_nuclei_are_described_with_what_cuts_them(make_spec: MakeSpec, tmp_path: Path) -> None:
    run(tmp_path, replace(make_spec(n_slices=100), neighbours=True))
    nuclei = described(tmp_path)["nuclei"]
    assert len(nuclei) > 1
    assert nuclei[0]["whole"]
    assert nuclei[0]["cut_by"] == []
    assert nuclei[0]["last_z"] - nuclei[0]["first_z"] == pytest.approx(64, abs=10)
    assert nuclei[0]["volume_um3"] == pytest.approx(38, rel=0.2)
    assert len(nuclei[0]["sc_lengths_nm"]) == 6
    assert len(nuclei[0]["chromosome_volumes_um3"]) == 12
    for neighbour in nuclei[1:]:
        assert set(neighbour["cut_by"]) & {"y0", "y1", "x0", "x1"}


def test_few_slices_cut_the_nuclei_in_z_and_say_so(make_spec: MakeSpec, tmp_path: Path) -> None:
    run(tmp_path, make_spec(n_slices=8))
    nuclei = described(tmp_path)["nuclei"]
    assert nuclei[0]["cut_by"] == ["z0", "z1"]
    assert (nuclei[0]["first_z"], nuclei[0]["last_z"]) == (0, 7)
    assert (np.asarray(truth_array(tmp_path, "nuclei")) == 1).any(axis=(1, 2)).all()


def test_a_nucleus_that_drift_moves_over_the_border_is_cut(make_spec: MakeSpec, tmp_path: Path) -> None:
    run(tmp_path, make_spec("jitter=60", n_slices=100))
    nuclei = described(tmp_path)["nuclei"]
    assert not nuclei[0]["whole"]


@pytest.mark.parametrize(("nuclei", "slices"), [(0, 2), (1, 1), (1, 700), (5, 10), (12, 3)])
def test_any_number_of_nuclei_and_slices_goes_together(nuclei: int, slices: int) -> None:
    spec = replace(spec_for(2, 64.0, nuclei, slices), neighbours=False)
    phantom = Phantom(spec)
    assert phantom.shape_zyx[0] == slices == spec.n_slices
    assert len(phantom.nuclei) == nuclei
    size_nm = np.array(phantom.shape_zyx[1:]) * 64.0
    for nucleus in phantom.nuclei:
        assert (nucleus.box_nm[0, 1:] > 0).all()
        assert (nucleus.box_nm[1, 1:] < size_nm).all()
    assert phantom.truth(slices // 2).nuclei.max() == nuclei


def test_more_nuclei_have_a_larger_field() -> None:
    sizes = [np.prod(spec_for(1, nuclei=n).shape_yx_px or ()) for n in (1, 3, 6, 12)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"seed": -1}, "seed"),
        ({"voxel_nm": 0.0}, "voxel size"),
        ({"voxel_nm": float("nan")}, "voxel size"),
        ({"nuclei": -1}, "nuclei"),
        ({"slices": 0}, "at least one slice"),
    ],
)
def test_numbers_that_no_phantom_can_have_are_refused(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        spec_for(**{"seed": 1, **wrong})  # type: ignore[arg-type]


def test_artefacts_reach_the_spec_and_unknown_ones_are_refused() -> None:
    assert spec_for(1, artefacts=("drift=2",)).artefacts == artefacts_from(["drift=2"])
    with pytest.raises(UnknownArtefactError):
        spec_for(1, artefacts=("dirft",))


def test_the_command_line_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--artefact", "wobble"]) == 2
    assert "no artefact is called 'wobble'; there are: all, spoilt, noise" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_line_simulates(tmp_path: Path) -> None:
    assert main([str(tmp_path), "--voxel-nm", "100", "--nuclei", "1", "--slices", "2", "--format", "rgb8"]) == 0
    names = sorted(path.name for path in (tmp_path / "slices").iterdir())
    assert names == ["ACQUISITION_FINISHED", "phantom_s1_100x100x100nm.0000.tif", "phantom_s1_100x100x100nm.0001.tif"]


def test_memory_does_not_grow_with_the_number_of_slices(make_spec: MakeSpec, tmp_path: Path) -> None:
    def peak_bytes(n_slices: int) -> int:
        spec = make_spec(n_slices=n_slices)
        gc.collect()
        tracemalloc.start()
        try:
            run(tmp_path / str(n_slices), spec)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(20)
    few, many = peak_bytes(40), peak_bytes(200)
    # The stage's table has eleven numbers per slice; nothing else may depend on how many slices there are.
    assert many - few < 160 * 1000
