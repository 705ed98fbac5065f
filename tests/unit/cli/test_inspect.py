"""`inspect` for a person and for a program, and what keeps a run from starting."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.cli.console import OUT
from services.contracts.topics import TOPICS
from services.embedded.settings import STATE, settle
from services.imaging.formats.dat_writing import dat_bytes
from services.ingest.watcher import Ingest, IngestPorts
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.clock import ManualClock
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.directory import DirectoryStore
from tests.support.instrument_files import ATLAS, SMARTSEM, THERMO, tagged
from tests.support.tiff_corpus import plane, written
from tests.support.toy_acquisition import toy_settings, write_toy
from tests.support.volume_files import VOLUME, as_hdf5, as_mrc


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OUT, "_width", 500)


def told(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)], catch_exceptions=False)


def facts(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(*arguments, "--json").stdout)
    return found


def put(folder: Path, name: str, payload: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(payload)
    return path


def two_detectors(number: int = 1, **fields: int | float | str) -> bytes:
    said = {"PixelSize": 4.0, "DetA": "InLens", "DetB": "ESB", "FIBSliceNum": number, "Restart": 1, **fields}
    return dat_bytes(np.stack([plane(1, 16), plane(2, 16)]), said)


def test_a_dat_file_is_told_with_its_detectors_and_its_telemetry(tmp_path: Path) -> None:
    path = put(tmp_path, "Merlin-6281_19-08-09_120426_0-0-0.dat", two_detectors(77))
    found = facts(path, "--channel", "1")
    assert (found["format"], found["dialect"], found["z"]) == ("dat", "janelia_dat", 77)
    assert (found["height_px"], found["width_px"], found["bits"], found["channels"]) == (37, 23, 16, 2)
    assert found["detectors"] == ["InLens", "ESB"]
    assert found["voxel_yx_nm"] == [4.0, 4.0]
    assert found["telemetry"]["restart"] is True
    assert found["refused"] == []
    assert found["findings"] == []


def test_without_a_channel_the_error_names_the_detectors(tmp_path: Path) -> None:
    result = told(put(tmp_path, "slice_0001.dat", two_detectors()))
    assert result.exit_code == 1
    assert "channel_not_named" in result.stdout
    assert "0 InLens, 1 ESB" in result.stdout


def test_a_voxel_size_that_the_file_denies_is_told_with_both_values(tmp_path: Path) -> None:
    path = put(tmp_path, "slice_0001.tif", tagged(34118, SMARTSEM.format(pixel="5.000 nm", corrected="Off")))
    result = told(path, "--voxel-nm", "5")
    assert result.exit_code == 1
    assert "the settings say y 5, x 5 nm; the file says y 6.18034, x 5 nm" in result.stdout
    assert "foreshortened by 0.809 at a tilt of 54 degrees" in result.stdout
    assert told(path, "--voxel-nm", "10,6.18,5").exit_code == 0


def test_a_data_bar_of_the_metadata_is_told(tmp_path: Path) -> None:
    found = facts(put(tmp_path, "slice_0001.tif", tagged(34682, THERMO.format(corrected="no", tilt=0.0, rows=30))))
    assert found["data_bar_px"] == 7


def test_a_file_that_cannot_be_read_is_told_with_its_reason(tmp_path: Path) -> None:
    result = told(put(tmp_path, "slice_0001.tif", written([plane()])[:100]), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["refused"][0]["reason"].startswith("truncated")


def test_a_folder_is_told_with_its_gaps_its_doubles_and_what_differs(tmp_path: Path) -> None:
    folder = tmp_path / "slices"
    for z in (3, 4, 7):
        put(folder, f"a_{z:04d}.tif", written([plane(z)]))
    put(folder, "b_0004.tif", written([plane(4, 8, (20, 23))]))
    put(folder, "notes.txt", b"x")
    found = facts(folder)
    assert (found["files"], found["z_first"], found["z_last"]) == (4, 3, 7)
    assert (found["z_missing"], found["z_twice"], found["ignored"]) == ([5, 6], [4], {"extension": 1})
    assert {finding["reason"] for finding in found["findings"]} == {"z_twice", "several_shapes"}
    assert "b_0004.tif: tiff, 20 x 23, 8 bit" in told(folder).stdout


def test_two_microscopes_in_one_folder_are_told(tmp_path: Path) -> None:
    for number, machine in enumerate(("Jeiss1", "Jeiss6", "Jeiss6")):
        put(tmp_path, f"slice_{number:04d}.dat", two_detectors(MachineID=machine))
    (finding,) = [f for f in facts(tmp_path, "--channel", "0")["findings"] if f["reason"] == "several_machines"]
    assert finding["detail"].startswith("files name several instruments: Jeiss6 (2), Jeiss1 (1)")


def test_depths_in_the_names_of_atlas_show_what_was_milled_and_not_imaged(tmp_path: Path) -> None:
    for z, depth in ((120, "1.2000"), (121, "1.2100"), (122, "1.2400"), (123, "1.2500")):
        put(tmp_path, f"slice_{z:05d}_z={depth}um.tif", written([plane(z)]))
    found = facts(tmp_path)
    assert found["depth_step_um"] == pytest.approx(0.01)
    (jump,) = found["depth_jumps"]
    assert (jump["z_before"], jump["z_behind"], jump["step_um"]) == (121, 122, pytest.approx(0.03))
    assert "from z 121 to 122 names go 30 nm deeper, usually 10 nm" in told(tmp_path).stdout


def test_depths_may_be_counted_downwards(tmp_path: Path) -> None:
    for z, depth in ((120, "-0,1200"), (121, "-0,1300"), (122, "-0,1400"), (123, "-0,1700")):
        put(tmp_path, f"slice_{z:05d}_z={depth}µm.tif", written([plane(z)]))
    found = facts(tmp_path)
    assert (found["z_first"], found["z_last"], found["depth_step_um"]) == (120, 123, pytest.approx(0.01))
    assert "from z 122 to 123 names go 30 nm deeper, usually 10 nm" in told(tmp_path).stdout


TILTED = ATLAS.replace("</Fibics>", "<Stage><Tilt units='deg'>54</Tilt></Stage></Fibics>")


def test_a_tilt_of_which_the_correction_is_unknown_is_told(tmp_path: Path) -> None:
    for z in range(3):
        put(tmp_path, f"slice_{z:04d}.tif", tagged(51023, TILTED))
    for path in (tmp_path, tmp_path / "slice_0001.tif"):
        (finding,) = facts(path, "--voxel-nm", "10")["findings"]
        assert (finding["level"], finding["reason"]) == ("warning", "tilt_unknown")
        assert "y is taken as stated, 10 nm. If it was not corrected, y is 12.36 nm" in finding["detail"]
    corrected = TILTED.replace("<Dwell", "<TiltCorrection>1</TiltCorrection><Dwell")
    assert facts(put(tmp_path / "other", "slice_0001.tif", tagged(51023, corrected)))["findings"] == []


def test_numbers_that_go_up_by_more_than_one_are_told_with_what_to_do(tmp_path: Path) -> None:
    for z in (0, 10, 20, 40):
        put(tmp_path / "tens", f"slice_{z:04d}.tif", written([plane(z)]))
        put(tmp_path / "pages", f"stack_{z:04d}.tif", written([plane(z)] * 10))
    (finding,) = facts(tmp_path / "tens")["findings"]
    assert (finding["level"], finding["reason"]) == ("warning", "stride")
    assert "numbers go up by 10 (0, 10, 20, ...)" in finding["detail"]
    assert "--file-pattern" in finding["detail"]
    assert facts(tmp_path / "pages")["findings"] == []
    for z in (1, 2, 3, 4):
        put(tmp_path / "tens", f"slice_{z:04d}.tif", written([plane(z)]))
    assert facts(tmp_path / "tens")["findings"] == []


def test_a_bar_that_somebody_decided_on_is_not_told_again(tmp_path: Path) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (100, 60)).astype(np.uint8)
    grey[85:] = 40
    grey[90:93, ::2] = 255
    slices, out = tmp_path / "slices", tmp_path / "out"
    for z in range(3):
        put(slices, f"slice_{z:04d}.tif", written([grey]))
    options = ("--out", out, "--voxel-nm", "8", "--models", tmp_path / "none")
    assert "--data-bar-px 15" in run(slices, *options).output
    for decided in ("15", "0"):
        assert "data_bar" not in run(slices, *options, "--data-bar-px", decided).output


def test_tiles_of_a_mosaic_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    for tile in ("0-0-0", "0-0-1", "0-1-0", "0-1-1"):
        put(tmp_path, f"Merlin-6281_19-08-09_120426_{tile}.dat", two_detectors())
    result = told(tmp_path, "--channel", "0")
    assert result.exit_code == 1
    assert "mosaic_tiles: names say tiles of 2 rows and 2 columns" in result.stdout
    assert told(tmp_path, "--channel", "0", "--include", "*_0-0-0.dat").exit_code == 0


def channels(folder: Path, count: int = 3) -> Path:
    """Write slices of two channels as Atlas does, each into a folder of its own."""
    folder.mkdir()
    for name in ("Ch0_ESB", "Ch1_InLens"):
        for z in range(count):
            put(folder / name, f"slice_{z:05d}_z={z / 100:.4f}um.tif", tagged(51023, ATLAS))
    return folder


def test_of_channels_in_folders_below_one_must_be_named(tmp_path: Path) -> None:
    folder = channels(tmp_path / "atlas")
    result = told(folder)
    assert result.exit_code == 1
    expected = f"slices lie in folders below: Ch0_ESB (3), Ch1_InLens (3); name one of them, as {folder / 'Ch0_ESB'}"
    assert f"slices_below: {expected}" in result.stdout
    assert facts(folder)["slices_below"] == {"Ch0_ESB": 3, "Ch1_InLens": 3}
    assert told(folder / "Ch0_ESB").exit_code == 0
    for watch in ((), ("--watch",)):
        refused = run(folder, "--out", tmp_path / "out", *watch)
        assert expected in str(refused.exception)
        assert not (tmp_path / "out").exists()


def test_slices_by_day_are_found_below_and_hidden_folders_and_links_are_left_alone(tmp_path: Path) -> None:
    days = tmp_path / "images"
    for day in ("D13", "D14"):
        (days / "Y2022" / "M07" / day).mkdir(parents=True)
        put(days / "Y2022" / "M07" / day, "slice_0001.tif", written([plane()]))
    put(days, "notes.txt", b"")
    put(days / ".trash", "slice_0002.tif", written([plane()]))
    (days / "again").symlink_to(days / "Y2022", target_is_directory=True)
    assert facts(days)["slices_below"] == {"Y2022/M07/D13": 1, "Y2022/M07/D14": 1}


def test_a_folder_of_slices_is_taken_whatever_few_lie_below(tmp_path: Path) -> None:
    folder = channels(tmp_path / "roi", 1)
    for z in range(3):
        put(folder, f"slice_{z:04d}.tif", written([plane(z)]))
    assert [finding["reason"] for finding in facts(folder)["findings"]] == []
    for z in range(9):
        put(folder / "Ch0_ESB", f"slice_{z:04d}.tif", written([plane(z)]))
    (finding,) = facts(folder)["findings"]
    assert (finding["level"], finding["reason"]) == ("warning", "slices_below")


def test_inverted_contrast_is_declared(tmp_path: Path) -> None:
    grey = np.full((200, 150), 70, np.uint8)
    grey[::20] = grey[:, ::25] = 170
    noise = np.random.default_rng(1).integers(0, 9, grey.shape).astype(np.uint8)
    for z in range(3):
        put(tmp_path, f"slice_{z:04d}.tif", written([grey + noise]))
    (finding,) = facts(tmp_path)["findings"]
    assert (finding["level"], finding["reason"]) == ("warning", "inverted_contrast")
    assert "--contrast inverted" in finding["detail"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


def test_a_run_does_not_start_against_what_all_files_say(tmp_path: Path) -> None:
    slices, out = tmp_path / "slices", tmp_path / "out"
    for z in range(3):
        put(slices, f"slice_{z:04d}.tif", tagged(34682, THERMO.format(corrected="yes", tilt=0.0, rows=37)))
    result = run(slices, "--out", out, "--voxel-nm", "8")
    assert result.exception is not None
    assert "the settings say y 8, x 8 nm; the file says y 4, x 4 nm" in str(result.exception)
    assert "--metadata ignore" in str(result.exception)
    assert not out.exists()


@pytest.mark.parametrize(("channel", "reason"), [((), "unequal_channels"), (("--channel", "3"), "no_such_channel")])
def test_a_run_does_not_start_where_the_channel_is_none(tmp_path: Path, channel: tuple[str, ...], reason: str) -> None:
    slices, out = tmp_path / "slices", tmp_path / "out"
    for z in range(3):
        put(slices, f"slice_{z}.tif", written([np.stack([plane(z), plane(z), plane(z + 9)], -1)], photometric="rgb"))
    result = run(slices, "--out", out, "--voxel-nm", "8", *channel)
    assert f"{reason}: 3 of 3 files" in str(result.exception)
    assert not out.exists()


def test_numbers_below_0_are_no_z_and_start_no_run(tmp_path: Path) -> None:
    slices, out = tmp_path / "slices", tmp_path / "out"
    for z in (-3, -2, -1):
        put(slices, f"slice_{z:04d}.tif", written([plane(-z)]))
    result = run(slices, "--out", out, "--voxel-nm", "8")
    assert "z -1 is below 0: name the number that counts slices with --file-pattern" in str(result.exception)
    assert not out.exists()
    put(slices, "slice_0000.tif", written([plane(4)]))
    for z in range(1, 5):
        put(slices, f"slice_{z:04d}.tif", written([plane(z)]))
    (finding,) = facts(slices)["findings"]
    assert (finding["level"], finding["reason"]) == ("warning", "z_out_of_range")


def test_a_run_says_which_size_the_files_state_when_it_is_told_none(tmp_path: Path) -> None:
    put(tmp_path / "slices", "slice_0.tif", tagged(34682, THERMO.format(corrected="yes", tilt=0.0, rows=37)))
    result = run(tmp_path / "slices", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "--voxel-nm Z,4,4" in result.output.replace("\n", " ")


def test_the_voxel_size_is_that_of_the_slices_meant_and_not_of_others_beside_them(tmp_path: Path) -> None:
    slices = tmp_path / "slices"
    put(slices, "ROI1_0_4x4x4nm.tif", written([plane()]))
    one = put(slices, "ROI2_0.tif", written([plane()]))
    put(slices, "notes_8x8x8nm.txt", b"")
    for arguments in ((one,), (slices, "--include", "ROI2*")):
        result = run(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert "--voxel-nm Z,Y,X" in " ".join(result.output.replace("│", " ").split())
    put(slices, "ROI0_0.tif", tagged(34682, THERMO.format(corrected="yes", tilt=0.0, rows=37)))
    assert "--voxel-nm Z,4,4" not in run(one, "--out", tmp_path / "out").output


def test_a_single_file_is_found_whatever_letters_its_name_has(tmp_path: Path) -> None:
    payload = tagged(34682, THERMO.format(corrected="yes", tilt=0.0, rows=37))
    path = put(tmp_path / "slices", "roi[1]_8x8x8nm_0*.tif", payload)
    result = run(path, "--out", tmp_path / "out")
    assert "the settings say y 8, x 8 nm; the file says y 4, x 4 nm" in str(result.exception)


def test_a_finished_volume_is_told_with_its_voxel(tmp_path: Path) -> None:
    path = as_hdf5(tmp_path / "volume.h5", VOLUME)
    found = facts(f"{path}:/raw")
    assert (found["format"], found["shape_zyx"], found["dtype"]) == ("HDF5", [5, 6, 7], "|u1")
    assert found["voxel_zyx_nm"] == [8.0, 4.0, 5.0]


def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    result = told(tmp_path / "nowhere.h5:/raw")
    assert result.exit_code == 2
    # The box breaks a long path wherever its line ends.
    assert "nowhere.h5doesnotexist" in "".join(result.output.replace("│", "").split())


def test_a_volume_that_denies_the_voxel_size_starts_no_run(tmp_path: Path) -> None:
    path = as_hdf5(tmp_path / "volume.h5", VOLUME)
    result = run(path, "--out", tmp_path / "out", "--voxel-nm", "8,8,8")
    assert result.exit_code == 2
    said = " ".join(result.output.replace("│", " ").split())
    assert "the volume states z, y, x of 8, 4, 5 nm" in said
    assert "--metadata ignore" in said
    assert run(path, "--out", tmp_path / "out", "--watch").exit_code == 2


def test_what_a_volume_wrongly_states_can_be_ignored(tmp_path: Path) -> None:
    path = as_mrc(tmp_path / "volume.mrc", VOLUME)
    options = ("--voxel-nm", "8,8,8", "--metadata", "ignore", "--models", tmp_path / "none")
    result = run(path, "--out", tmp_path / "out", *options)
    # Nothing but the networks is missing.
    assert "none" in str(result.exception)
    assert len(list((tmp_path / "out" / STATE / "slices").glob("*.tif"))) == 5


def test_a_volume_that_states_no_voxel_is_not_laid_out_for_nothing(tmp_path: Path) -> None:
    path = as_mrc(tmp_path / "volume.mrc", VOLUME, (0.0, 0.0, 0.0))
    result = run(path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "the volume states no voxel size" in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_finished_volume_is_held_against_what_a_run_would_refuse(tmp_path: Path) -> None:
    path = as_mrc(tmp_path / "volume.mrc", VOLUME.astype(np.float32))
    result = told(path, "--voxel-nm", "8")
    assert result.exit_code == 1
    assert "unsupported_dtype: voxels are float32: slices have 8 or 16 bits; convert the volume first" in result.stdout
    assert "voxel_size_mismatch: --voxel-nm 8: the volume states z, y, x of 8, 4, 5 nm" in result.stdout
    assert told(as_mrc(tmp_path / "grey.mrc", VOLUME), "--voxel-nm", "8,4,5").exit_code == 0


def test_the_contrast_of_a_finished_volume_is_told(tmp_path: Path) -> None:
    grey = np.full((200, 150), 70, np.uint8)
    grey[::20] = grey[:, ::25] = 170
    grey += np.random.default_rng(1).integers(0, 9, grey.shape).astype(np.uint8)
    found = facts(as_hdf5(tmp_path / "volume.h5", np.stack([grey] * 3)))
    assert found["contrast"] == "metal_bright"
    (finding,) = found["findings"]
    assert (finding["level"], finding["reason"]) == ("warning", "inverted_contrast")


@pytest.fixture
def ingested(tmp_path: Path) -> Callable[[bool], Path]:
    """Take three slices in, into a store that copies them or only refers to them; give the folder of the run."""

    def ingest(referring: bool) -> Path:
        slices, out = write_toy(tmp_path / "slices", planes=3), tmp_path / "out"
        settings = settle(out, toy_settings(slices), joined=True)
        with closing(DirectoryStore(out / STATE / "store", reference_files=referring)) as store:
            clock = ManualClock()
            with closing(SqliteBus(out / STATE / "bus.sqlite", clock=clock)) as bus:
                bus.create_topics(TOPICS)
                ports = IngestPorts(bus.producer(), store, clock, RecordingMetrics())
                watcher = Ingest(settings.ingest(watch=False), ports)
                while not watcher.is_done:
                    clock.advance(1.0)
                    while watcher.step():
                        pass
        return out

    return ingest


def copied(out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["copies", str(out), *arguments], catch_exceptions=False)


def test_copies_are_proven_and_nothing_is_removed(ingested: Callable[[bool], Path], tmp_path: Path) -> None:
    out = ingested(False)
    names = sorted(path.name for path in (tmp_path / "slices").iterdir())
    result = copied(out, "--json")
    assert result.exit_code == 0
    told_of = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [line["file"] for line in told_of] == names
    assert {line["state"] for line in told_of} == {"copied"}
    assert sorted(path.name for path in (tmp_path / "slices").iterdir()) == names


def test_a_source_that_changed_or_is_only_referred_to_is_no_copy(
    ingested: Callable[[bool], Path], tmp_path: Path
) -> None:
    out = ingested(False)
    first = min((tmp_path / "slices").iterdir())
    first.write_bytes(first.read_bytes() + b"more")
    result = copied(out)
    assert result.exit_code == 1
    assert f"changed: {first.name}" in result.stdout


def test_a_slice_that_was_not_taken_in_is_named_and_what_is_no_slice_is_not(
    ingested: Callable[[bool], Path], tmp_path: Path
) -> None:
    out = ingested(False)
    put(tmp_path / "slices", "ACQUISITION_FINISHED", b"")
    assert copied(out).exit_code == 0
    put(tmp_path / "slices", "late_0009.tif", written([plane()]))
    result = copied(out)
    assert result.exit_code == 1
    assert "unread: late_0009.tif" in result.stdout
    assert "ACQUISITION_FINISHED" not in result.stdout


def test_a_local_run_refers_to_its_slices(ingested: Callable[[bool], Path]) -> None:
    result = copied(ingested(True))
    assert result.exit_code == 1
    assert "referenced          3" in result.stdout


@pytest.mark.parametrize("verb", ["inspect", "copies"])
def test_the_verb_has_help_with_an_example(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert f"fibsem-nuclei {verb}" in result.output.replace("\n", " ")
