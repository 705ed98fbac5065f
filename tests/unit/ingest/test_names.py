"""What a file's name says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.names import (
    DEFAULT_PATTERN,
    Candidate,
    Ignored,
    NameRules,
    PatternError,
    classify,
    compile_pattern,
    depth_um,
    shown,
)

RULES = NameRules(compile_pattern(DEFAULT_PATTERN))


@pytest.mark.parametrize(
    ("name", "z"),
    [
        ("slice_0042.tif", 42),
        ("roi_3_slice_0042.TIFF", 42),
        ("VK1_ROI1_4x4x8nm.0000.tif", 0),
        ("0007.ome.tif", 7),
        ("slice_12_final.tif", 12),
        ("overview.tif", None),
    ],
)
def test_z_is_the_last_number_before_the_extension(name: str, z: int | None) -> None:
    assert classify(name, RULES) == Candidate(z)


@pytest.mark.parametrize(
    ("name", "z"),
    [
        ("slice_-002.tif", -2),
        ("slice--002.tif", -2),
        ("-002.tif", -2),
        ("roi_z=-12.tif", -12),
        ("roi_\u22127.tif", -7),
    ],
)
def test_a_minus_before_the_number_is_not_lost(name: str, z: int) -> None:
    assert classify(name, RULES) == Candidate(None, z)


@pytest.mark.parametrize(
    "name", ["slice-002.tif", "a1-002.tif", "slice -002.tif", "roi (3)-002.tif", "slice_-.002.tif"]
)
def test_a_hyphen_between_two_words_is_no_sign(name: str) -> None:
    assert classify(name, RULES) == Candidate(2)


def test_a_pattern_that_takes_the_sign_in_says_what_it_means() -> None:
    assert classify("slice_-002.tif", NameRules(compile_pattern(r"slice_-(?P<z>\d+)"))) == Candidate(2)
    assert classify("slice_-002.tif", NameRules(compile_pattern(r"(?P<z>\d+)\.tif"))) == Candidate(None, -2)


@pytest.mark.parametrize(
    "depth",
    ["1.2100um", "-0.1200um", "-0,1200um", "1,2100um", "1.2100\xb5m", "1.2100\u03bcm", "1.2100\xc2\xb5m", "3um"],
)
def test_z_of_a_name_of_atlas_is_its_count_however_the_depth_is_written(depth: str) -> None:
    name = f"slice_00121_z={depth}.tif"
    assert classify(name, RULES) == Candidate(121)
    found = depth_um(name)
    assert found is not None
    assert found[1] == float(depth.rstrip("um\xb5\u03bc\xc2").replace(",", "."))
    lost = name.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
    assert classify(lost, RULES) == Candidate(121)


def test_the_time_of_day_in_a_name_of_janelia_is_no_z() -> None:
    assert classify("Merlin-6281_19-08-09_090426.dat", RULES) == Candidate(None)
    assert classify("slice_0042.dat", RULES) == Candidate(42)


def test_a_number_too_large_for_a_z_is_none() -> None:
    assert classify("image_20190809.tif", RULES) == Candidate(None, 20190809)
    assert classify("slice_" + "9" * 6000 + ".tif", RULES).impossible_z is not None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("pattern", "name", "z"),
    [
        (r"slice_(?P<z>\d+)_z=", "slice_00121_z=1.2100um.tif", 121),
        (r"^z(?P<z>\d+)-\d+", "z010-019.tif", 10),
        (r"(?:z(?P<z>\d+))?\.tif$", "lamella.tif", None),
        (r"(?P<z>[a-z]+)", "slice_0001.tif", None),
    ],
)
def test_where_z_stands_is_a_setting(pattern: str, name: str, z: int | None) -> None:
    assert classify(name, NameRules(compile_pattern(pattern))) == Candidate(z)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".slice_0001.tif", "unfinished"),
        (".slice_0001.tif.Xy12ab", "unfinished"),
        ("slice_0001.tif.tmp", "unfinished"),
        ("slice_0001.tif.part", "unfinished"),
        ("slice_0001.tif~", "unfinished"),
        ("ACQUISITION_FINISHED", "marker"),
        ("notes.txt", "extension"),
        ("slice_0001.json", "extension"),
        ("slice_0001", "extension"),
    ],
)
def test_what_nobody_meant_to_be_a_slice_is_ignored(name: str, reason: str) -> None:
    assert classify(name, RULES) == Ignored(reason)


def test_only_names_that_are_included_are_slices() -> None:
    rules = NameRules(compile_pattern(DEFAULT_PATTERN), include=("train_*.tif",))
    assert classify("train_003.tif", rules) == Candidate(3)
    assert classify("labels_003.tif", rules) == Ignored("not_included")


@pytest.mark.parametrize("pattern", ["(", r"slice_(\d+)"])
def test_a_pattern_that_names_no_z_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


@given(st.binary(min_size=1, max_size=40))
def test_any_name_a_file_system_can_hold_can_be_shown(name: bytes) -> None:
    text = name.decode("utf-8", "surrogateescape")
    assert shown(text).encode("utf-8")
    classify(text, RULES)
