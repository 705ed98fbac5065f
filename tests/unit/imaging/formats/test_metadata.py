"""What files say about themselves, in every dialect, and how it is held against the settings."""

from __future__ import annotations

import contextlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from services.imaging.formats.dat_writing import dat_bytes
from services.imaging.formats.dialects import length_nm, read_atlas, read_ome, read_smartsem, read_thermo
from services.imaging.formats.faults import FormatError
from services.imaging.formats.metadata import SliceMetadata, VoxelSizeMismatchError, check_voxel_size, read_metadata
from services.imaging.formats.opening import open_slice
from tests.support.instrument_files import ATLAS, SMARTSEM, THERMO, tagged
from tests.support.tiff_corpus import plane, written


def said(payload: bytes) -> SliceMetadata:
    return read_metadata(open_slice(payload))


@pytest.mark.parametrize("pixel", ["5.000 nm", "0.005 µm", "0.005 Âµm", "5.000e-3 ?m", "5000 pm"])
def test_smartsem_says_its_pixel_in_any_unit_even_a_garbled_one(pixel: str) -> None:
    found = said(tagged(34118, SMARTSEM.format(pixel=pixel, corrected="Off")))
    assert found.dialect == "zeiss_smartsem"
    assert (found.pixel_y_nm, found.pixel_x_nm) == (5.0, 5.0)
    assert (found.tilt_deg, found.tilt_corrected) == (54.0, False)
    assert (found.detectors, found.machine) == (("InLens",), "Crossbeam-12-34")
    assert found.voxel_y_nm == pytest.approx(5.0 / np.sin(np.deg2rad(54)))


def test_smartsem_is_understood_as_tifffile_understands_it() -> None:
    payload = tagged(34118, SMARTSEM.format(pixel="5.000 nm", corrected="On"))
    with tifffile.TiffFile(BytesIO(payload)) as file:
        theirs = file.sem_metadata
    assert theirs is not None
    assert theirs["ap_pixel_size"][1:] == (5.0, "nm")
    ours = said(payload)
    assert (ours.pixel_x_nm, ours.tilt_corrected) == (theirs["ap_pixel_size"][1], True)
    assert ours.foreshortening == 1.0


@pytest.mark.parametrize(("tag", "rows", "bar"), [(34682, 30, 7), (34680, 37, 0), (34682, 5, 0), (34682, 90, 0)])
def test_thermo_says_its_pixel_in_metres_and_how_many_rows_are_image(tag: int, rows: int, bar: int) -> None:
    found = said(tagged(tag, THERMO.format(corrected="no", tilt=0.0, rows=rows)))
    assert (found.dialect, found.machine) == ("thermo_fei", "Helios 77")
    assert (found.pixel_y_nm, found.pixel_x_nm) == (4.0, 4.0)
    assert found.data_bar_px == bar


def test_a_tilted_face_is_foreshortened_unless_the_scan_was_corrected() -> None:
    tilt = float(np.deg2rad(52))
    short = said(tagged(34682, THERMO.format(corrected="no", tilt=tilt, rows=37)))
    assert short.foreshortening == pytest.approx(0.788, abs=1e-3)
    assert short.voxel_y_nm == pytest.approx(5.076, abs=1e-3)
    assert said(tagged(34682, THERMO.format(corrected="yes", tilt=tilt, rows=37))).voxel_y_nm == 4.0


def test_thermos_third_generation_writes_xml() -> None:
    xml = "<Metadata><BinaryResult><PixelSize><X unit='m'>3e-09</X><Y unit='m'>6e-09</Y></PixelSize></BinaryResult>"
    found = said(tagged(34683, xml))
    assert (found.pixel_y_nm, found.pixel_x_nm) == (6.0, 3.0)
    assert (found.tilt_deg, found.tilt_corrected) == (None, None)


@pytest.mark.parametrize(("switch", "corrected"), [("true", True), ("false", False), (None, None)])
def test_the_xml_of_thermo_says_the_tilt_and_whether_it_was_corrected(
    switch: str | None, corrected: bool | None
) -> None:
    optics = "" if switch is None else f"<SampleTiltCorrectionOn>{switch}</SampleTiltCorrectionOn>"
    xml = (
        f"<Metadata><Optics>{optics}</Optics><StageSettings><StagePosition><X unit='m'>1</X><Tilt>"
        "<Alpha unit='rad'>0.9075712</Alpha><Beta unit='rad'>0</Beta></Tilt></StagePosition></StageSettings>"
        "<BinaryResult><PixelSize><X unit='m'>4e-09</X><Y unit='m'>4e-09</Y></PixelSize></BinaryResult></Metadata>"
    )
    found = said(tagged(34683, xml))
    assert (found.tilt_deg, found.tilt_corrected) == (52.0, corrected)
    assert found.foreshortening == (pytest.approx(0.788, abs=1e-3) if corrected is False else 1.0)
    assert found.doubtful_foreshortening == (pytest.approx(0.788, abs=1e-3) if corrected is None else None)


OME = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>'


@pytest.mark.parametrize(
    ("attributes", "edges"),
    [
        ('PhysicalSizeX="0.004" PhysicalSizeXUnit="µm" PhysicalSizeY="0.005" PhysicalSizeYUnit="µm"', (5.0, 4.0)),
        ('PhysicalSizeX="4" PhysicalSizeXUnit="nm" PhysicalSizeY="5" PhysicalSizeYUnit="nm"', (5.0, 4.0)),
        ('PhysicalSizeX="0.004" PhysicalSizeXUnit="&#181;m" PhysicalSizeY="0.005"', (5.0, 4.0)),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" PhysicalSizeYUnit="pixel"', (None, None)),
        ('PhysicalSizeX="0.004" PhysicalSizeXUnit="µm"', (None, None)),
        ('SizeX="23"', (None, None)),
    ],
)
def test_an_ome_tiff_says_its_pixel_with_its_unit(attributes: str, edges: tuple[float | None, float | None]) -> None:
    description = f'{OME}<Pixels ID="Pixels:0" {attributes}><TiffData/></Pixels></Image></OME>'.encode()
    found = said(written([plane()], description=description))
    assert (found.pixel_y_nm, found.pixel_x_nm) == edges
    assert found.dialect == ("tiff" if edges[0] is None else "ome_tiff")


def test_an_ome_tiff_is_understood_as_tifffile_writes_it() -> None:
    file = BytesIO()
    said_of = {"axes": "YX", "PhysicalSizeX": 4.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.008}
    tifffile.imwrite(file, plane(), ome=True, metadata=said_of)
    found = said(file.getvalue())
    assert (found.pixel_y_nm, found.pixel_x_nm) == (8.0, 4.0)


def test_atlas_says_its_field_of_view() -> None:
    found = said(tagged(51023, ATLAS))
    assert (found.dialect, found.pixel_y_nm, found.pixel_x_nm) == ("zeiss_atlas", 10.0, 10.0)
    assert (found.machine, found.detectors) == ("Crossbeam 550", ("ESB",))
    assert found.telemetry["dwell_ns"] == 5000.0


def test_an_image_of_fiji_says_its_pixel_by_the_unit_of_its_description() -> None:
    file = BytesIO()
    tifffile.imwrite(file, plane(), imagej=True, resolution=(1 / 0.008, 1 / 0.004), metadata={"unit": "um"})
    found = said(file.getvalue())
    assert found.dialect == "imagej"
    assert (found.pixel_y_nm, found.pixel_x_nm) == pytest.approx((4.0, 8.0))


def test_a_resolution_of_a_screen_says_nothing() -> None:
    assert said(written([plane()], resolution=(96, 96), resolutionunit="INCH")).pixel_x_nm is None
    assert said(written([plane()], resolution=(2.5e6, 1.25e6), resolutionunit="CENTIMETER")).pixel_x_nm == 4.0


def test_a_dat_file_says_what_its_header_says() -> None:
    machine: dict[str, int | float | str] = {"FIBSliceNum": 31, "MachineID": "Jeiss6", "DetA": "InLens"}
    found = said(dat_bytes(plane()[None], {**machine, "PixelSize": 4.0, "StageT": 52.0}))
    assert (found.dialect, found.pixel_x_nm, found.z_index, found.machine) == ("janelia_dat", 4.0, 31, "Jeiss6")
    assert found.detectors == ("InLens",)
    assert found.foreshortening == 1.0


def test_a_pixel_size_that_no_microscope_has_is_none() -> None:
    assert said(dat_bytes(plane()[None], {"PixelSize": 0.0})).pixel_x_nm is None
    assert read_smartsem("AP_PIXEL_SIZE\nPixel Size = 0.000 nm").pixel_x_nm is None
    assert read_thermo("[Scan]\nPixelWidth=nan\nPixelHeight=1e99").pixel_y_nm is None
    assert read_atlas("<Image><Width>0</Width></Image><Scan><FOV_X>2</FOV_X></Scan>").pixel_x_nm is None


@pytest.mark.parametrize(("y_nm", "x_nm"), [(4.05, 4.0), (4.0, 8.0), (2.0, 2.0)])
def test_a_disagreement_of_more_than_1_percent_names_both_values(y_nm: float, x_nm: float) -> None:
    metadata = SliceMetadata(pixel_y_nm=4.0, pixel_x_nm=4.0)
    with pytest.raises(VoxelSizeMismatchError, match=f"settings say y {y_nm:g}, x {x_nm:g} nm; the file says y 4, x 4"):
        check_voxel_size(metadata, y_nm, x_nm)


def test_what_agrees_or_says_nothing_passes() -> None:
    check_voxel_size(SliceMetadata(pixel_y_nm=4.03, pixel_x_nm=3.97), 4.0, 4.0)
    check_voxel_size(SliceMetadata(), 4.0, 4.0)


def test_a_foreshortened_face_agrees_with_its_true_pixel_and_not_with_the_apparent_one() -> None:
    metadata = SliceMetadata(pixel_y_nm=4.0, pixel_x_nm=4.0, tilt_deg=52.0, tilt_corrected=False)
    check_voxel_size(metadata, 5.076, 4.0)
    with pytest.raises(VoxelSizeMismatchError, match=r"foreshortened by 0.788 at a tilt of 52 degrees"):
        check_voxel_size(metadata, 4.0, 4.0)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "nan", "9" * 400])
def test_numbers_beyond_all_numbers_are_none(number: str) -> None:
    found = read_thermo(f"[Image]\nResolutionY={number}\n[Stage]\nStageT={number}\nStageX={number}\n")
    assert (found.image_rows, found.tilt_deg) in {(None, None), (2**31, found.tilt_deg)}
    assert all(np.isfinite(value) for value in found.telemetry.values() if isinstance(value, float))


@given(st.text(max_size=300))
def test_no_text_makes_a_reader_of_a_dialect_fail(text: str) -> None:
    for read in (read_smartsem, read_thermo, read_atlas):
        read(text)
        read(f"[Scan]\nPixelWidth={text}\n<Image><Width>{text}</Width></Image>\nAP_PIXEL_SIZE\nPixel Size = {text}")
    length_nm(text)
    read_ome(text)
    read_ome(f'<OME><Pixels PhysicalSizeX="{text}" PhysicalSizeY="4" PhysicalSizeYUnit="{text}"/></OME>')


@given(st.sampled_from([34118, 34682, 34683, 51023]), st.binary(max_size=200), st.integers(0, 400))
def test_damage_in_private_tags_is_a_refusal_or_less_metadata(tag: int, damage: bytes, at: int) -> None:
    payload = bytearray(tagged(tag, SMARTSEM.format(pixel="5 nm", corrected="On") + THERMO + ATLAS))
    payload[at : at + len(damage)] = damage
    with contextlib.suppress(FormatError):
        assert said(bytes(payload)).dialect


@pytest.mark.data
def test_the_real_file_of_thermo_says_its_pixel_and_its_data_bar(real_data: Path) -> None:
    path = real_data / "fei_tif" / "fei-sem-rbc.tif"
    found = said(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        theirs = file.fei_metadata
    assert theirs is not None
    assert found.pixel_x_nm == pytest.approx(theirs["Scan"]["PixelWidth"] * 1e9)
    assert found.pixel_y_nm == pytest.approx(theirs["Scan"]["PixelHeight"] * 1e9)
    assert found.pixel_x_nm == pytest.approx(7.708, abs=1e-3)
    assert found.data_bar_px == 1094 - 1024
    assert (found.tilt_deg, found.tilt_corrected, found.detectors) == (0.0, False, ("ETD",))
