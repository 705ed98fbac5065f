"""The pure parts of an import, and the data set on disk, apart from any file format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydantic import ValidationError

from services.trainer.annotations.checks import TRANSFORMS, jpeg_damage, swapped_classes, wrong_orientation
from services.trainer.annotations.class_map import ClassMapError, Keys, parse_class_map, translate
from services.trainer.annotations.dataset import (
    AnnotatedDataset,
    DatasetClass,
    Manifest,
    Origin,
    Pair,
    new_dataset,
    pixel_hash,
    read_dataset,
    verify,
)
from services.trainer.annotations.duplicates import candidate_pairs, fingerprint, likeness
from services.trainer.annotations.exterior import derive_exterior, enclosed_by
from services.trainer.annotations.findings import FindingKind, NotADatasetError, warning
from services.trainer.annotations.names import key_of, partners, place_of, safe_name
from services.trainer.annotations.overlays import overlay
from services.trainer.annotations.page import write_page

CLASSES = {"nucleoplasm": 1, "chromosome": 2}


def made(folder: Path, names: tuple[str, ...] = ("a", "b")) -> AnnotatedDataset:
    """A data set of small random images."""
    with new_dataset(folder, CLASSES) as draft:
        entries = []
        for number, name in enumerate(names):
            rng = np.random.default_rng(number)
            image = rng.integers(0, 255, (20, 30), np.uint8)
            labels = rng.choice(np.array([1, 2, 255], np.uint8), (20, 30))
            entries.append(draft.add(Pair(name, image, labels), Origin(f"{name}.tif", f"{name}.png", z=number)))
        classes = tuple(DatasetClass(class_id=class_id, name=name) for name, class_id in CLASSES.items())
        draft.finish(Manifest(classes=classes, images=tuple(entries)))
    return read_dataset(folder)


# The data set


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    dataset = made(tmp_path / "set")
    pair = dataset.load("b")
    assert pixel_hash(pair.image_yx) == dataset.entry("b").image_sha256
    assert pixel_hash(pair.labels_yx) == dataset.entry("b").label_sha256
    assert dataset.entry("b").pixels["unlabelled"] == int((pair.labels_yx == 255).sum())
    assert dataset.entry("b").labelled_px == int((pair.labels_yx != 255).sum())
    assert [found.name for found in dataset.pairs()] == ["a", "b"]
    assert list(verify(dataset)) == []


def test_changed_pixels_strange_labels_missing_and_stray_files_are_found(tmp_path: Path) -> None:
    dataset = made(tmp_path / "set", ("a", "b", "c", "d"))
    labels = dataset.load("a").labels_yx.copy()
    labels[0, 0] = 2 if labels[0, 0] == 1 else 1
    tifffile.imwrite(dataset.folder / "labels" / "a.tif", labels)
    tifffile.imwrite(dataset.folder / "labels" / "b.tif", np.full((20, 30), 9, np.uint8))
    (dataset.folder / "images" / "c.tif").unlink()
    tifffile.imwrite(dataset.folder / "images" / "new.tif", labels)
    assert [(finding.kind, finding.file) for finding in verify(dataset)] == [
        (FindingKind.HASH_MISMATCH, "a"),
        (FindingKind.UNREADABLE, "b"),
        (FindingKind.UNREADABLE, "c"),
        (FindingKind.STRAY_FILE, "images/new.tif"),
    ]


def test_a_data_set_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    image = np.zeros((4, 4), np.uint8)
    with new_dataset(tmp_path / "set", CLASSES) as draft:
        draft.add(Pair("a", image, image + 1), Origin("a", "a"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("image", "labels", "said"),
    [
        (np.zeros((4, 4), np.uint8), np.ones((4, 5), np.uint8), "one shape"),
        (np.zeros((4, 4), np.uint16), np.ones((4, 4), np.uint8), "uint8"),
        (np.zeros((4, 4), np.uint8), np.full((4, 4), 7, np.uint8), r"labels \[7\] are no classes"),
        (np.zeros((1, 4, 4), np.uint8), np.ones((1, 4, 4), np.uint8), "uint8"),
    ],
)
def test_a_pair_that_is_none_is_refused(
    tmp_path: Path, image: NDArray[np.uint8], labels: NDArray[np.uint8], said: str
) -> None:
    with new_dataset(tmp_path / "set", CLASSES) as draft, pytest.raises(ValueError, match=said):
        draft.add(Pair("a", image, labels), Origin("a", "a"))


def test_a_folder_without_manifest_and_a_manifest_that_contradicts_itself_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError, match=r"dataset\.json is not there"):
        read_dataset(tmp_path)
    dataset = made(tmp_path / "set")
    text = (dataset.folder / "dataset.json").read_text()
    (dataset.folder / "dataset.json").write_text(text.replace('"height_px": 20', '"height_px": 21'))
    with pytest.raises(NotADatasetError, match="do not add up"):
        read_dataset(dataset.folder)


def test_a_manifest_with_one_id_for_two_classes_is_refused() -> None:
    classes = (DatasetClass(class_id=1, name="a"), DatasetClass(class_id=1, name="b"))
    with pytest.raises(ValidationError, match="not distinct"):
        Manifest(classes=classes, images=())


def test_an_image_that_is_not_there_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError, match="no image 'z'"):
        made(tmp_path / "set").load("z")


# Class maps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing is mapped"),
        ("[values", "no TOML"),
        ('[values]\n1 = "nucleus"\n', "'nucleus' is no class"),
        ('[values]\none = "chromosome"\n', "'one' is no value"),
        ('[values]\n9-3 = "chromosome"\n', "'9-3' is no value"),
        ('[colours]\n"red" = "chromosome"\n', "'red' is no colour"),
        ('[classes]\na = 1\nb = 1\n[values]\n1 = "a"\n', "two classes have one id"),
        ('[classes]\na = 255\n[values]\n1 = "a"\n', "classes.a"),
        ('[values]\n1 = "background"\n', "add an \\[exterior\\] table"),
        ('[classes]\nchromosome = 2\n[values]\n2 = "chromosome"\n[exterior]\nfrom = "outline"\n', "needs the classes"),
        ('name_pattern = "(z"\n[values]\n1 = "chromosome"\n', "name_pattern"),
        ('name_pattern = "z"\n[values]\n1 = "chromosome"\n', "names neither"),
        ('colors = 3\n[values]\n1 = "chromosome"\n', "colors"),
    ],
)
def test_a_class_map_that_cannot_be_meant_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ClassMapError, match=said):
        parse_class_map(text)


def test_a_class_map_has_the_programs_ids_or_its_own() -> None:
    assert parse_class_map('[values]\n7 = "nucleolus"\n0 = "exterior"\n').class_ids == {"exterior": 0, "nucleolus": 3}
    own = parse_class_map('[classes]\nmito = 1\nrest = 0\n[values]\n255 = "mito"\n0 = "rest"\n')
    assert own.class_ids == {"rest": 0, "mito": 1}


values = arrays(np.uint16, (5, 7), elements=st.sampled_from([0, 1, 2, 700, 65535]))


@settings(max_examples=40, deadline=None)
@given(values, st.dictionaries(st.sampled_from([0, 1, 2, 700, 65535]), st.integers(0, 253)))
def test_translation_is_that_of_a_dictionary_for_every_type(plane: NDArray[np.uint16], codes: dict[int, int]) -> None:
    keys = Keys(codes)
    expected = np.vectorize(lambda value: codes.get(int(value), 255))(plane)
    for dtype in (np.uint16, np.int64, np.uint32):
        done = translate(plane.astype(dtype), keys)
        np.testing.assert_array_equal(done.labels_yx, expected)
        assert sum(done.unknown.values()) == sum(int(value) not in codes for value in plane.ravel())


# Checks


def test_drawn_instances_that_the_map_lacks_are_no_jpeg_damage() -> None:
    rng = np.random.default_rng(5)
    plane = np.kron(rng.integers(0, 60, (12, 16)), np.ones((4, 6), np.int64))
    assert jpeg_damage(plane, Keys({0: 255, 59: 1})) is None


def test_an_image_given_as_mask_is_no_jpeg_damage() -> None:
    noise = np.random.default_rng(5).integers(0, 255, (64, 64))
    assert jpeg_damage(noise, Keys({0: 255, 1: 1})) is None


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "as it is"])
def test_each_way_to_turn_a_mask_is_named(name: str) -> None:
    labels = np.ones((96, 96), np.uint8)
    labels[5:40, 8:24] = 2
    labels[60:70, 10:50] = 3
    grey = np.array([0, 210, 160, 120], np.uint8)[labels]
    turned = {other: transform(labels) for other, transform in TRANSFORMS.items()}
    found = wrong_orientation(grey, np.ascontiguousarray(turned[name]))
    assert found is not None
    np.testing.assert_array_equal(TRANSFORMS[found.transform](turned[name]), labels)
    assert wrong_orientation(grey, labels) is None


def test_few_images_cannot_tell_of_swapped_classes() -> None:
    looks = [{1: np.zeros(4), 2: np.full(4, 9.0)}] * 3 + [{1: np.full(4, 9.0), 2: np.zeros(4)}]
    assert swapped_classes(looks) == []
    assert swapped_classes([*looks[:3] * 3, looks[3]]) == [(9, 1, 2)]


def test_copies_are_found_among_a_thousand_images() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (32, 32), np.uint8) for _ in range(1000)]
    images[700] = np.ascontiguousarray(np.rot90(images[3]))
    found = candidate_pairs([fingerprint(image) for image in images])
    assert [(first, second) for first, second, _ in found] == [(3, 700)]
    assert likeness(images[3], TRANSFORMS[found[0][2]](images[700])) == pytest.approx(1.0)


def test_images_of_one_grey_are_like_nothing() -> None:
    flat = [np.full((40, 40), grey, np.uint8) for grey in (3, 3, 90)]
    assert candidate_pairs([fingerprint(image) for image in flat]) == []
    assert likeness(flat[0], flat[1]) == 0.0


# Exterior


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.uint8, (6, 9), elements=st.sampled_from([254, 255, 2, 3])),
    arrays(np.bool_, (6, 9), elements=st.booleans()),
)
def test_only_background_is_divided_and_none_is_left(labels: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
    divided = derive_exterior(labels, inside)
    drawn = labels != 254
    np.testing.assert_array_equal(divided[drawn], labels[drawn])
    np.testing.assert_array_equal(divided[~drawn], inside[~drawn])


def test_a_ring_encloses_its_inside_only() -> None:
    y, x = np.indices((31, 45))
    radius = np.hypot(y - 15, x - 20)
    np.testing.assert_array_equal(enclosed_by((radius > 8) & (radius < 11)), radius < 11)


# Names


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("n1_z01.tif", "n1_z01.png"),
        ("n1_z01.tif", "n1_z01_cp_masks.png"),
        ("n1_z01_raw.tif", "n1_z01_seg.tif"),
        ("image_007.tif", "mask_007.tif"),
        ("VK1_ROI1_4x4x4nm.0010.tif", "VK1_ROI1_4x4x4nm.0010.ome.tiff"),
    ],
)
def test_an_image_and_its_mask_find_each_other(image: str, mask: str) -> None:
    assert partners([image, "zz.tif"], ["other.tif", mask]).pairs == ((0, 1),)
    assert key_of(image) == key_of(mask)


def test_a_name_that_agrees_exactly_wins() -> None:
    assert partners(["a_raw.tif", "a.tif"], ["a.png"]).pairs == ((1, 0),)


@given(st.text(min_size=1, max_size=120))
def test_any_name_becomes_safe_and_stays_safe(stem: str) -> None:
    name = safe_name(stem)
    assert 0 < len(name) <= 68
    assert name.isascii()
    assert name[0].isalnum()
    assert safe_name(name) == name


def test_a_pattern_decides_alone() -> None:
    assert place_of("cell4-plane09", r"cell(?P<nucleus>\d)-plane(?P<z>\d+)").z == 9
    assert place_of("n_z5", r"(?P<z>nothing)") == place_of("overview")


# The page


def test_the_page_has_every_pair_those_with_warnings_first_and_needs_no_network(tmp_path: Path) -> None:
    dataset = made(tmp_path / "set", ("a", "b", "c"))
    manifest = dataset.manifest
    odd = warning(FindingKind.SPECKS, "c", "<b>look here</b>")
    images = tuple(e.model_copy(update={"warnings": (odd,)}) if e.name == "c" else e for e in manifest.images)
    doubted = AnnotatedDataset(dataset.folder, manifest.model_copy(update={"images": images}))
    text = write_page(doubted, tmp_path / "page.html", {"a": "test"}).read_text()
    assert text.index('id="c"') < text.index('id="a"') < text.index('id="b"')
    assert "&lt;b&gt;look here" in text
    assert text.count("data:image/webp;base64,") == 6
    assert "http" not in text
    assert write_page(doubted, tmp_path / "again.html", {"a": "test"}).read_text() == text


def test_an_overlay_colours_each_class_and_keeps_the_image_elsewhere() -> None:
    image = np.full((20, 30), 100, np.uint8)
    labels = np.full((20, 30), 255, np.uint8)
    labels[4:16, 6:20] = 2
    picture = overlay(image, labels, CLASSES, 400)
    assert picture.shape == (20, 30, 3)
    red, green, blue = picture[10, 12].astype(int)
    assert red > 130
    assert green > 130
    assert blue < 100
    assert (picture[0, 3] == 100).all()
    assert overlay(image, labels, CLASSES, 15).shape == (10, 15, 3)
