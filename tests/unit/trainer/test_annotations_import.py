"""Import of what annotation tools write, written here by the tools' own libraries."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from skimage import measure

from services.contracts.values import VoxelSize
from services.trainer.annotations.class_map import ClassMapError, parse_class_map
from services.trainer.annotations.dataset import AnnotatedDataset, read_dataset
from services.trainer.annotations.findings import (
    AnnotationsRefusedError,
    Finding,
    FindingKind,
    LabelsExistError,
    Severity,
    UnreadableAnnotationError,
)
from services.trainer.annotations.importing import ImportOrder, import_annotations
from services.trainer.annotations.proposing import proposed_map

SHAPE = (72, 96)
MAP = """
[values]
0 = "unlabelled"
1 = "nucleoplasm"
2 = "chromosome"
3 = "nucleolus"
"""
COLOUR_MAP = """
[colours]
"#000000" = "unlabelled"
"#e2e8f0" = "nucleoplasm"
"#facc15" = "chromosome"
"#22c55e" = "nucleolus"
"""
COLOURS = np.array([[0, 0, 0], [0xE2, 0xE8, 0xF0], [0xFA, 0xCC, 0x15], [0x22, 0xC5, 0x5E]], np.uint8)
CODES = np.array([255, 1, 2, 3], np.uint8)


def drawn(number: int = 0) -> NDArray[np.uint8]:
    """A mask of ids 0 to 3: a nucleus with a chromosome and a nucleolus, each unlike its mirror image."""
    y, x = np.indices(SHAPE)
    ids = np.zeros(SHAPE, np.uint8)
    ids[((y - 36) / 30) ** 2 + ((x - 44 - number % 5) / 38) ** 2 < 1] = 1
    ids[12 + number % 3 : 24, 30:66] = 2
    ids[(y - 46) ** 2 + (x - 60 - number) ** 2 < 90] = 3
    return ids


def grey_of(ids: NDArray[np.integer], seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 8, ids.shape)
    return np.asarray(np.clip(np.array([120, 212, 178, 150])[ids] + noise, 0, 255), np.uint8)


class Bench:
    """A folder of images and one of masks, and what an import of them gives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images, self.masks, self.out = folder / "images", folder / "masks", folder / "out"
        self.images.mkdir()
        self.masks.mkdir()

    def image(self, name: str, ids: NDArray[np.integer], seed: int = 0) -> NDArray[np.uint8]:
        grey = grey_of(ids, seed)
        tifffile.imwrite(self.images / f"{name}.tif", grey)
        return grey

    def pair(self, name: str, number: int) -> None:
        self.image(name, drawn(number), number)
        tifffile.imwrite(self.masks / f"{name}.tif", drawn(number))

    def run(self, text: str = MAP, **options: Any) -> AnnotatedDataset:
        given: dict[str, Any] = {"images": self.images, "masks": self.masks, "out": self.out, **options}
        return import_annotations(ImportOrder(class_map=parse_class_map(text), **given))

    def refused(self, text: str = MAP, **options: Any) -> tuple[Finding, ...]:
        with pytest.raises(AnnotationsRefusedError) as caught:
            self.run(text, **options)
        assert not self.out.exists(), "something was written"
        assert [path.name for path in self.folder.iterdir() if path.name.startswith(".")] == []
        return caught.value.findings

    def fault(self, text: str = MAP, **options: Any) -> Finding:
        """Return the one error of an import."""
        faults = [finding for finding in self.refused(text, **options) if finding.severity is Severity.ERROR]
        assert len(faults) == 1, faults
        return faults[0]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def warnings_of(dataset: AnnotatedDataset) -> dict[str, set[FindingKind]]:
    return {image.name: {finding.kind for finding in image.warnings} for image in dataset.manifest.images}


# Formats


def palette_picture(ids: NDArray[np.uint8], path: Path) -> None:
    picture = Image.fromarray(ids)
    picture.putpalette(COLOURS.tobytes())
    picture.save(path)


def bilevel(ids: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(ids > 0).save(path)


def palette_tiff(ids: NDArray[np.uint8], path: Path, *, kind: str = "") -> None:
    table = np.zeros((3, 256), np.uint16)
    table[:, :4] = COLOURS.T.astype(np.uint16) * 257
    tifffile.imwrite(path, ids, photometric="palette", colormap=table, compression=kind or None)


WRITERS: dict[str, tuple[str, Callable[[NDArray[np.uint8], Path], object]]] = {
    "8-bit TIFF": ("a.tif", lambda ids, path: tifffile.imwrite(path, ids)),
    "napari's TIFF": ("a.tif", lambda ids, path: tifffile.imwrite(path, ids.astype(np.int32), compression="zlib")),
    "16-bit TIFF, LZW, big-endian": (
        "a_mask.tif",
        lambda ids, path: tifffile.imwrite(path, ids.astype(">u2"), compression="lzw", byteorder=">"),
    ),
    "Fiji's 16-bit TIFF": ("a.tif", lambda ids, path: tifffile.imwrite(path, ids.astype(np.uint16), imagej=True)),
    "Fiji's 32-bit TIFF": ("a.tif", lambda ids, path: tifffile.imwrite(path, ids.astype(np.float32), imagej=True)),
    "Fiji's TIFF with a LUT": ("a-labels.tif", palette_tiff),
    "APEER's OME-TIFF": (
        "a.ome.tiff",
        lambda ids, path: tifffile.imwrite(path, ids[None, None, None], ome=True, metadata={"axes": "TCZYX"}),
    ),
    "tiled BigTIFF, zstd": (
        "a.tiff",
        lambda ids, path: tifffile.imwrite(path, ids, bigtiff=True, tile=(32, 32), compression="zstd"),
    ),
    "grey PNG": ("a.png", lambda ids, path: Image.fromarray(ids).save(path)),
    "16-bit PNG": ("a.png", lambda ids, path: Image.fromarray(ids.astype(np.uint16)).save(path)),
    "palette PNG": ("a.png", palette_picture),
    "grey as RGB PNG": ("a.png", lambda ids, path: Image.fromarray(np.stack([ids] * 3, axis=-1)).save(path)),
    "BMP": ("a.bmp", lambda ids, path: Image.fromarray(ids).save(path)),
}
COLOUR_WRITERS: dict[str, tuple[str, Callable[[NDArray[np.uint8], Path], object]]] = {
    "RGB PNG": ("a.png", lambda ids, path: Image.fromarray(COLOURS[ids]).save(path)),
    "RGBA PNG": ("a.png", lambda ids, path: Image.fromarray(COLOURS[ids]).convert("RGBA").save(path)),
    "RGB TIFF": ("a.tif", lambda ids, path: tifffile.imwrite(path, COLOURS[ids], photometric="rgb")),
    "RGB TIFF in planes": (
        "a.tif",
        lambda ids, path: tifffile.imwrite(
            path, np.moveaxis(COLOURS[ids], -1, 0), photometric="rgb", planarconfig="separate"
        ),
    ),
    "palette PNG": ("a.png", palette_picture),
    "Fiji's TIFF with a LUT": ("a.tif", palette_tiff),
    "lossless WebP": ("a.webp", lambda ids, path: Image.fromarray(COLOURS[ids]).save(path, lossless=True)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_ids_of_every_format_become_the_same_labels(bench: Bench, kind: str) -> None:
    name, write = WRITERS[kind]
    grey = bench.image("a", drawn())
    write(drawn(), bench.masks / name)
    pair = bench.run().load("a")
    np.testing.assert_array_equal(pair.labels_yx, CODES[drawn()])
    np.testing.assert_array_equal(pair.image_yx, grey)


@pytest.mark.parametrize("kind", COLOUR_WRITERS)
def test_colours_of_every_format_become_the_same_labels(bench: Bench, kind: str) -> None:
    name, write = COLOUR_WRITERS[kind]
    bench.image("a", drawn())
    write(drawn(), bench.masks / name)
    np.testing.assert_array_equal(bench.run(COLOUR_MAP).load("a").labels_yx, CODES[drawn()])


@pytest.mark.parametrize("dialect", ["plain", "imagej", "ome"])
def test_a_stack_becomes_single_planes_and_planes_that_nobody_drew_are_left_out(bench: Bench, dialect: str) -> None:
    ids = np.stack([drawn(0), np.zeros(SHAPE, np.uint8), drawn(2)])
    dialects: dict[str, dict[str, Any]] = {
        "plain": {"photometric": "minisblack"},
        "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
        "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    }
    options = dialects[dialect]
    tifffile.imwrite(bench.images / "n1.tif", np.stack([grey_of(plane, z) for z, plane in enumerate(ids)]), **options)
    tifffile.imwrite(bench.masks / "n1.tif", ids, **options)
    dataset = bench.run()
    entries = dataset.manifest.images
    assert [(entry.name, entry.nucleus, entry.z, entry.page) for entry in entries] == [
        ("n1_z0000", "n1", 0, 0),
        ("n1_z0002", "n1", 2, 2),
    ]
    np.testing.assert_array_equal(dataset.load("n1_z0002").labels_yx, CODES[drawn(2)])
    assert [finding.kind for finding in dataset.manifest.findings] == [FindingKind.EMPTY_MASK]


def coco_file(bench: Bench, segmentation: Callable[[NDArray[np.bool_]], Any]) -> Path:
    regions = []
    for number, value in enumerate((3, 1, 2), start=1):
        inside = drawn() == value if value != 1 else drawn() > 0
        regions.append(
            {"id": number, "image_id": 7, "category_id": value * 10, "segmentation": segmentation(inside), "iscrowd": 0}
        )
    content = {
        "images": [{"id": 7, "file_name": "some/folder/a.png", "height": SHAPE[0], "width": SHAPE[1]}],
        "annotations": regions,
        "categories": [{"id": 10, "name": "inside"}, {"id": 20, "name": "chrom"}, {"id": 30, "name": "nucleolus"}],
    }
    path = bench.folder / "coco.json"
    path.write_text(json.dumps(content))
    return path


COCO_MAP = """
unannotated = "unlabelled"
[categories]
inside = "nucleoplasm"
chrom = "chromosome"
nucleolus = "nucleolus"
"""


def compressed_runs(inside: NDArray[np.bool_]) -> dict[str, Any]:
    runs = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode()}


def plain_runs(inside: NDArray[np.bool_]) -> dict[str, Any]:
    flat = np.asfortranarray(inside).ravel(order="F").astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    ends = np.concatenate([[0], edges, [flat.size]])
    return {"size": list(inside.shape), "counts": np.diff(ends).tolist()}


@pytest.mark.parametrize("runs", [compressed_runs, plain_runs])
def test_run_lengths_of_coco_are_drawn_exactly_and_later_categories_cover_earlier_ones(
    bench: Bench, runs: Callable[[NDArray[np.bool_]], Any]
) -> None:
    bench.image("a", drawn())
    dataset = bench.run(COCO_MAP, masks=coco_file(bench, runs))
    np.testing.assert_array_equal(dataset.load("a").labels_yx, CODES[drawn()])
    assert FindingKind.OVERLAP in warnings_of(dataset)["a"]


def test_two_images_of_one_name_in_coco_are_refused(bench: Bench) -> None:
    bench.image("a", drawn())
    path = coco_file(bench, compressed_runs)
    content = json.loads(path.read_text())
    content["images"].append(content["images"][0] | {"id": 8, "file_name": "another/folder/a.png"})
    path.write_text(json.dumps(content))
    with pytest.raises(
        UnreadableAnnotationError, match=r"some/folder/a\.png and another/folder/a\.png: images are found"
    ):
        bench.run(COCO_MAP, masks=path)


def test_polygons_of_coco_are_drawn_where_they_were_drawn(bench: Bench) -> None:
    def polygons(inside: NDArray[np.bool_]) -> list[list[float]]:
        trace: Any = measure.find_contours
        contours = trace(np.pad(inside, 1).astype(float), 0.5)
        return [(contour[:, ::-1] - 0.5).ravel().tolist() for contour in contours]

    bench.image("a", drawn())
    labels = bench.run(COCO_MAP, masks=coco_file(bench, polygons)).load("a").labels_yx
    assert float((labels == CODES[drawn()]).mean()) > 0.99


def webknossos_zip(
    path: Path, ids_zyx: NDArray[np.integer], *, names: dict[int, str] | None = None, wkw: bool = False
) -> None:
    """Write an annotation as webKnossos lays it out: an NML file, and a zip with one Zarr 3 array (c, x, y, z)."""
    layer = path.parent / "layer"
    array = zarr.create_array(
        layer / "Volume" / "1",
        shape=(1, *ids_zyx.shape[::-1]),
        dtype="uint32",
        chunks=(1, 32, 32, 32),
        zarr_format=3,
        dimension_names=["c", "x", "y", "z"],
    )
    array[0] = ids_zyx.T.astype(np.uint32)
    properties = {
        "id": {"name": "d", "team": ""},
        "dataLayers": [
            {"name": "Volume", "category": "segmentation", "mags": [{"mag": [1, 1, 1], "path": "Volume/1"}]}
        ],
        "scale": {"factor": [4, 4, 8], "unit": "nanometer"},
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as inner:
        inner.writestr("datasource-properties.json", json.dumps(properties))
        for file in sorted(layer.rglob("*")):
            if file.is_file():
                inner.write(file, file.relative_to(layer).as_posix())
        if wkw:
            inner.writestr("1/header.wkw", b"WKW")
    segments = "".join(f'<segment id="{k}" name="{name}"/>' for k, name in (names or {}).items())
    nml = (
        '<?xml version="1.0"?><things><parameters><experiment name="d"/><scale x="4" y="4" z="8" unit="nanometer"/>'
        f'</parameters><volume id="0" name="Volume" location="data_0_Volume.zip" format="zarr3">'
        f"<segments>{segments}</segments></volume></things>"
    )
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr("annotation.nml", nml)
        outer.writestr("data_0_Volume.zip", data.getvalue())


def test_a_webknossos_annotation_is_read_at_the_place_of_the_images(bench: Bench) -> None:
    ids = np.stack([drawn(0), drawn(1), drawn(2)])
    volume = np.zeros((9, 100, 130), np.int64)
    volume[5:8, 10 : 10 + SHAPE[0], 20 : 20 + SHAPE[1]] = ids
    webknossos_zip(bench.folder / "annotation.zip", volume, names={3: "the nucleolus"})
    planes = np.stack([grey_of(plane, z) for z, plane in enumerate(ids)])
    tifffile.imwrite(bench.images / "n1.tif", planes, photometric="minisblack")
    text = (
        'unannotated = "unlabelled"\n[values]\n1 = "nucleoplasm"\n2 = "chromosome"\n'
        '[categories]\n"the nucleolus" = "nucleolus"\n[webknossos]\noffset_zyx_px = [5, 10, 20]\n'
    )
    dataset = bench.run(text, masks=bench.folder / "annotation.zip")
    for z in range(3):
        np.testing.assert_array_equal(dataset.load(f"n1_z000{z}").labels_yx, CODES[ids[z]])
    assert dataset.manifest.voxel_size == VoxelSize(z_nm=8, y_nm=4, x_nm=4)


def test_single_images_lie_in_a_webknossos_volume_by_the_z_in_their_names(bench: Bench) -> None:
    volume = np.zeros((6, *SHAPE), np.int64)
    volume[4] = drawn(1)
    webknossos_zip(bench.folder / "annotation.zip", volume)
    bench.image("n_z0004", drawn(1))
    dataset = bench.run(masks=bench.folder / "annotation.zip")
    np.testing.assert_array_equal(dataset.load("n_z0004").labels_yx, CODES[drawn(1)])


def test_a_webknossos_volume_as_wkw_is_refused_with_what_to_choose_instead(bench: Bench) -> None:
    webknossos_zip(bench.folder / "annotation.zip", drawn()[None], wkw=True)
    bench.image("a", drawn())
    with pytest.raises(UnreadableAnnotationError, match="choose Zarr 3"):
        bench.run(masks=bench.folder / "annotation.zip")


def test_a_zip_that_is_no_annotation_is_refused(bench: Bench) -> None:
    with zipfile.ZipFile(bench.folder / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    bench.image("a", drawn())
    with pytest.raises(UnreadableAnnotationError, match="0 NML files"):
        bench.run(masks=bench.folder / "other.zip")


# Values that need attention


def test_ranges_map_instances_and_other_values_only_when_that_is_said(bench: Bench) -> None:
    ids = drawn().astype(np.uint16)
    ids[ids == 2] = 1234
    bench.image("a", drawn())
    tifffile.imwrite(bench.masks / "a.tif", ids)
    text = '[values]\n0 = "unlabelled"\n1 = "nucleoplasm"\n1000- = "chromosome"\n2-9 = "nucleolus"\n'
    np.testing.assert_array_equal(bench.run(text).load("a").labels_yx, CODES[drawn()])
    other = 'other = "unlabelled"\n[values]\n1 = "nucleoplasm"\n3 = "nucleolus"\n'
    labels = bench.run(other, out=bench.folder / "two").load("a").labels_yx
    np.testing.assert_array_equal(labels, np.array([255, 1, 255, 3], np.uint8)[drawn()])


def test_an_unknown_id_is_refused_with_its_count_and_place(bench: Bench) -> None:
    ids = drawn()
    ids[50:60, 5:15] = 9
    bench.image("a", drawn())
    tifffile.imwrite(bench.masks / "a.tif", ids)
    fault = bench.fault()
    assert fault.kind is FindingKind.UNKNOWN_VALUE
    assert "9 (100 px), first at y 50, x 5" in fault.message


def test_an_unknown_colour_is_spelled_as_colour(bench: Bench) -> None:
    pixels = COLOURS[drawn()]
    pixels[0, :5] = (1, 2, 3)
    bench.image("a", drawn())
    Image.fromarray(pixels).save(bench.masks / "a.png")
    assert "#010203 (5 px)" in bench.fault(COLOUR_MAP).message


def test_colours_without_a_colour_map_are_refused_with_the_colours_found(bench: Bench) -> None:
    bench.image("a", drawn())
    Image.fromarray(COLOURS[drawn()]).save(bench.masks / "a.png")
    fault = bench.fault()
    assert fault.kind is FindingKind.UNREADABLE
    assert "#facc15" in fault.message


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_a_mask_that_was_jpeg_once_is_refused_whatever_it_is_stored_as_now(bench: Bench, quality: int) -> None:
    spread = (drawn() * 80).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(spread).save(file, "JPEG", quality=quality)
    Image.open(file).save(bench.masks / "a.png")
    bench.image("a", drawn())
    text = '[values]\n0 = "unlabelled"\n80 = "nucleoplasm"\n160 = "chromosome"\n240 = "nucleolus"\n'
    fault = bench.fault(text)
    assert fault.kind is FindingKind.JPEG_DAMAGE
    mended = bench.run(text.replace("[values]", 'lossy_masks = "nearest"\n[values]'))
    assert warnings_of(mended)["a"] >= {FindingKind.JPEG_DAMAGE}
    assert float((mended.load("a").labels_yx == CODES[drawn()]).mean()) > 0.98


def test_a_jpeg_file_is_no_mask_even_if_its_values_happen_to_fit(bench: Bench) -> None:
    bench.image("a", drawn())
    Image.fromarray(np.full(SHAPE, 128, np.uint8)).save(bench.masks / "a.jpg")
    assert bench.fault('[values]\n128 = "nucleoplasm"\n').kind is FindingKind.LOSSY_MASK


def test_a_tiff_compressed_by_jpeg_is_no_mask(bench: Bench) -> None:
    bench.image("a", drawn())
    tifffile.imwrite(bench.masks / "a.tif", drawn() * 80, compression="jpeg")
    fault = bench.fault()
    assert fault.kind is FindingKind.LOSSY_MASK
    assert "JPEG" in fault.message


def test_an_image_as_jpeg_is_taken_with_a_warning(bench: Bench) -> None:
    Image.fromarray(grey_of(drawn(), 0)).save(bench.images / "a.jpg", quality=95)
    tifffile.imwrite(bench.masks / "a.tif", drawn())
    assert FindingKind.LOSSY_IMAGE in warnings_of(bench.run())["a"]


# Pairs


def test_images_without_masks_and_masks_without_images_are_both_named(bench: Bench) -> None:
    bench.pair("both", 0)
    bench.image("only_image", drawn())
    tifffile.imwrite(bench.masks / "other_label.tif", drawn())
    found = {(finding.kind, finding.file) for finding in bench.refused()}
    assert found == {
        (FindingKind.IMAGE_WITHOUT_MASK, "only_image.tif"),
        (FindingKind.MASK_WITHOUT_IMAGE, "other_label.tif"),
    }
    dataset = bench.run(skip_bad=True)
    assert [image.name for image in dataset.manifest.images] == ["both"]
    assert {finding.file for finding in dataset.manifest.left_out} == {"only_image.tif", "other_label.tif"}


def test_two_masks_of_one_image_are_refused(bench: Bench) -> None:
    bench.pair("a", 0)
    Image.fromarray(drawn(1)).save(bench.masks / "a_mask.png")
    assert bench.fault().kind is FindingKind.NAME_COLLISION


@pytest.mark.parametrize(("shape", "said"), [((96, 72), "transposed"), ((70, 96), "uncropped")])
def test_a_mask_of_another_shape_is_refused(bench: Bench, shape: tuple[int, int], said: str) -> None:
    bench.image("a", drawn())
    tifffile.imwrite(bench.masks / "a.tif", np.ones(shape, np.uint8))
    fault = bench.fault()
    assert fault.kind is FindingKind.SHAPE_MISMATCH
    assert said in fault.message


def test_a_stack_with_another_number_of_planes_is_refused(bench: Bench) -> None:
    tifffile.imwrite(
        bench.images / "a.tif", np.stack([grey_of(drawn(), z) for z in range(3)]), photometric="minisblack"
    )
    tifffile.imwrite(bench.masks / "a.tif", np.stack([drawn(), drawn()]), photometric="minisblack")
    assert bench.fault().kind is FindingKind.PLANE_COUNT_MISMATCH


def test_nan_is_refused_in_images_and_in_masks(bench: Bench) -> None:
    for folder, other in ((bench.images, bench.masks), (bench.masks, bench.images)):
        holed = drawn().astype(np.float32)
        holed[3, 4] = np.nan
        tifffile.imwrite(folder / "a.tif", holed)
        tifffile.imwrite(other / "a.tif", drawn())
        fault = bench.fault()
        assert fault.kind is FindingKind.NOT_A_NUMBER
        assert "1 pixels" in fault.message


def test_an_empty_mask_is_refused(bench: Bench) -> None:
    bench.pair("a", 0)
    bench.image("b", drawn(), 5)
    tifffile.imwrite(bench.masks / "b.tif", np.zeros(SHAPE, np.uint8))
    fault = bench.fault()
    assert (fault.kind, fault.file) == (FindingKind.EMPTY_MASK, "b.tif")


def test_a_mask_of_one_class_all_over_is_doubted(bench: Bench) -> None:
    bench.pair("a", 0)
    bench.image("b", drawn(), 5)
    tifffile.imwrite(bench.masks / "b.tif", np.ones(SHAPE, np.uint8))
    assert warnings_of(bench.run())["b"] >= {FindingKind.EMPTY_MASK}


def test_a_class_without_a_pixel_anywhere_is_refused_unless_that_is_meant(bench: Bench) -> None:
    bench.pair("a", 0)
    text = MAP + '4 = "synaptonemal_complex"\n'
    fault = bench.fault(text)
    assert fault.kind is FindingKind.CLASS_WITHOUT_PIXELS
    assert "synaptonemal_complex" in fault.message
    dataset = bench.run(text, allow_empty_classes=True)
    assert dataset.manifest.pixels()["synaptonemal_complex"] == 0
    assert [finding.kind for finding in dataset.manifest.findings] == [FindingKind.CLASS_WITHOUT_PIXELS]


@pytest.mark.parametrize("content", [b"", b"II*\0garbage", b"\x89PNG\r\n\x1a\nbroken"])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_damaged_file_is_named_and_nothing_is_written(bench: Bench, content: bytes, suffix: str) -> None:
    bench.pair("a", 0)
    bench.image("b", drawn(), 5)
    (bench.masks / f"b.{suffix}").write_bytes(content)
    fault = bench.fault()
    assert fault.kind is FindingKind.UNREADABLE
    assert "b.tif" in fault.file


def test_several_channels_are_refused(bench: Bench) -> None:
    bench.image("a", drawn())
    tifffile.imwrite(bench.masks / "a.tif", np.stack([drawn()] * 2), imagej=True, metadata={"axes": "CYX"})
    assert "2 channels" in bench.fault().message


# Doubts that need all images


def test_copies_are_found_and_told_whether_their_labels_agree(bench: Bench) -> None:
    bench.pair("a", 0)
    bench.pair("b", 1)
    bench.image("c", drawn(0), 0)
    tifffile.imwrite(bench.masks / "c.tif", drawn(0)[:, ::-1])
    dataset = bench.run()
    assert dataset.manifest.images[0].similar == ("c",)
    assert dataset.manifest.images[1].similar == ()
    assert "OTHER labels" in next(
        finding.message for finding in dataset.entry("c").warnings if finding.kind is FindingKind.DUPLICATE_IMAGE
    )


def textured(number: int) -> NDArray[np.uint8]:
    rough = np.random.default_rng([3, number]).normal(0, 1, (18, 24))
    return np.asarray(np.clip(128 + 45 * np.kron(rough, np.ones((4, 4))), 0, 255), np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        lambda grey: np.clip(grey * 0.8 + 20, 0, 255).astype(np.uint8),
        lambda grey: grey[:, ::-1],
        lambda grey: grey[::-1, ::-1],
        lambda grey: np.clip(grey + np.random.default_rng(1).normal(0, 3, grey.shape), 0, 255).astype(np.uint8),
    ],
    ids=["brightened", "mirrored", "turned", "noisier"],
)
def test_near_copies_are_found_and_others_are_not(bench: Bench, change: Callable[..., NDArray[np.uint8]]) -> None:
    for number in range(12):
        tifffile.imwrite(bench.images / f"i{number:02d}.tif", textured(number))
        tifffile.imwrite(bench.masks / f"i{number:02d}.tif", drawn(number))
    tifffile.imwrite(bench.images / "i99.tif", change(textured(4)))
    tifffile.imwrite(bench.masks / "i99.tif", drawn(4))
    dataset = bench.run()
    assert {entry.name: entry.similar for entry in dataset.manifest.images if entry.similar} == {
        "i04": ("i99",),
        "i99": ("i04",),
    }
    assert FindingKind.NEAR_DUPLICATE_IMAGE in warnings_of(dataset)["i99"]


def test_a_mask_with_two_classes_swapped_is_told_from_the_others(bench: Bench) -> None:
    for number in range(9):
        bench.pair(f"i{number}", number)
    swapped = np.array([0, 1, 3, 2], np.uint8)[drawn(6)]
    tifffile.imwrite(bench.masks / "i6.tif", swapped)
    found = {name for name, kinds in warnings_of(bench.run()).items() if FindingKind.SWAPPED_CLASSES in kinds}
    assert found == {"i6"}


def test_an_image_that_alone_lacks_a_class_is_told(bench: Bench) -> None:
    for number in range(10):
        bench.pair(f"i{number}", number)
    without = drawn(3)
    without[without == 3] = 1
    tifffile.imwrite(bench.masks / "i3.tif", without)
    found = {name for name, kinds in warnings_of(bench.run()).items() if FindingKind.MISSING_CLASS in kinds}
    assert found == {"i3"}


@pytest.mark.parametrize("turn", [lambda m: m[:, ::-1], lambda m: m[::-1], lambda m: m[::-1, ::-1]])
def test_a_mask_that_was_mirrored_or_turned_is_doubted(
    bench: Bench, turn: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    ids = np.ones(SHAPE, np.uint8)
    ids[6:30, 8:40] = 2
    ids[40:50, 10:24] = 3
    bench.image("right", ids, 1)
    tifffile.imwrite(bench.masks / "right.tif", ids)
    bench.image("wrong", ids, 2)
    tifffile.imwrite(bench.masks / "wrong.tif", turn(ids))
    found = warnings_of(bench.run())
    assert FindingKind.WRONG_ORIENTATION in found["wrong"]
    assert FindingKind.WRONG_ORIENTATION not in found["right"]


# Exterior


OUTLINE_MAP = """
[values]
0 = "background"
2 = "chromosome"
3 = "nucleolus"
[exterior]
from = "outline"
"""


def test_background_is_divided_by_outlines_as_masks_or_as_polygons(bench: Bench) -> None:
    ids = drawn()
    bench.image("a", ids)
    tifffile.imwrite(bench.masks / "a.tif", np.where(ids == 1, 0, ids))
    outlines = bench.folder / "outlines"
    outlines.mkdir()
    tifffile.imwrite(outlines / "a_mask.tif", (ids > 0).astype(np.uint8) * 255)
    expected = np.array([0, 1, 2, 3], np.uint8)[ids]
    np.testing.assert_array_equal(bench.run(OUTLINE_MAP, outlines=outlines).load("a").labels_yx, expected)

    content = {
        "images": [{"id": 1, "file_name": "a.tif", "height": SHAPE[0], "width": SHAPE[1]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": compressed_runs(ids > 0)}],
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    (bench.folder / "nuclei.json").write_text(json.dumps(content))
    again = bench.run(OUTLINE_MAP, outlines=bench.folder / "nuclei.json", replace=True)
    np.testing.assert_array_equal(again.load("a").labels_yx, expected)


def test_labels_outside_of_the_outline_stay_and_are_told(bench: Bench) -> None:
    bench.image("a", drawn())
    tifffile.imwrite(bench.masks / "a.tif", np.where(drawn() == 1, 0, drawn()))
    outlines = bench.folder / "outlines"
    outlines.mkdir()
    tifffile.imwrite(outlines / "a.tif", (drawn() == 3).astype(np.uint8))
    dataset = bench.run(OUTLINE_MAP, outlines=outlines, allow_empty_classes=True)
    assert FindingKind.LABEL_OUTSIDE_NUCLEUS in warnings_of(dataset)["a"]
    assert dataset.manifest.pixels()["chromosome"] == int((drawn() == 2).sum())


def test_an_image_without_outline_is_refused(bench: Bench) -> None:
    bench.pair("a", 0)
    text = OUTLINE_MAP.replace("[exterior]", '1 = "nucleoplasm"\n[exterior]')
    assert bench.fault(text).kind is FindingKind.OUTLINE_MISSING


MEMBRANE_MAP = '[values]\n0 = "background"\n5 = "nuclear_membrane"\n3 = "nucleolus"\n[exterior]\nfrom = "membrane"\n'


def test_a_closed_membrane_divides_background_and_an_open_one_is_refused(bench: Bench) -> None:
    y, x = np.indices(SHAPE)
    radius = np.hypot(y - 36, x - 48)
    ids = np.zeros(SHAPE, np.uint8)
    ids[(radius > 24) & (radius < 29)] = 5
    ids[radius < 6] = 3
    bench.image("a", drawn())
    tifffile.imwrite(bench.masks / "a.tif", ids)
    labels = bench.run(MEMBRANE_MAP).load("a").labels_yx
    np.testing.assert_array_equal(labels, np.where(ids > 0, ids, radius < 27))
    ids[30:42, 70:] = 0
    tifffile.imwrite(bench.masks / "a.tif", ids)
    bench.run(MEMBRANE_MAP.replace("background", "unlabelled"), replace=True, allow_empty_classes=True)
    with pytest.raises(AnnotationsRefusedError, match="close the ring"):
        bench.run(MEMBRANE_MAP, out=bench.folder / "open")


def test_exterior_by_grey_is_the_manuscripts_alone(bench: Bench) -> None:
    text = OUTLINE_MAP.replace('"outline"', '"grey"')
    with pytest.raises(ClassMapError, match="dark membrane"):
        parse_class_map(text)
    ids = drawn()
    grey = bench.image("a", ids)
    tifffile.imwrite(bench.masks / "a.tif", np.where(ids == 1, 0, ids))
    labels = bench.run('profile = "manuscript"\n' + text).load("a").labels_yx
    np.testing.assert_array_equal(labels, np.where(ids > 1, ids, grey > 150))


# Grey, voxel sizes, names


def test_16_bit_images_share_one_stretch_to_8_bits(bench: Bench) -> None:
    for number, gain in enumerate((1, 2)):
        deep = grey_of(drawn(number), number).astype(np.uint16) * 100 * gain
        tifffile.imwrite(bench.images / f"i{number}.tif", deep)
        tifffile.imwrite(bench.masks / f"i{number}.tif", drawn(number))
    dataset = bench.run()
    assert dataset.manifest.grey is not None
    first, second = (pair.image_yx.mean() for pair in dataset.pairs())
    assert second > 1.5 * first


def test_the_voxel_size_comes_from_the_images_unless_it_is_given(bench: Bench) -> None:
    grey = np.stack([grey_of(drawn(), z) for z in range(2)])
    tifffile.imwrite(
        bench.images / "a.tif",
        grey,
        imagej=True,
        resolution=(1 / 0.004, 1 / 0.004),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.008},
    )
    tifffile.imwrite(bench.masks / "a.tif", np.stack([drawn(), drawn(1)]), photometric="minisblack")
    found = bench.run().manifest.voxel_size
    assert found is not None
    assert found.zyx_nm == pytest.approx((8.0, 4.0, 4.0))
    given = VoxelSize(z_nm=9, y_nm=5, x_nm=5)
    assert bench.run(voxel_size=given, replace=True).manifest.voxel_size == given


def test_ome_tells_the_voxel_size(bench: Bench) -> None:
    sizes = {"PhysicalSizeX": 4, "PhysicalSizeY": 4, "PhysicalSizeZ": 16}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    tifffile.imwrite(
        bench.images / "a.ome.tif", grey_of(drawn(), 0), ome=True, metadata={"axes": "YX", **sizes, **units}
    )
    tifffile.imwrite(bench.masks / "a.tif", drawn())
    assert bench.run().manifest.voxel_size == VoxelSize(z_nm=16, y_nm=4, x_nm=4)


def test_nucleus_and_plane_come_from_names(bench: Bench) -> None:
    bench.pair("n7_z0012", 0)
    bench.pair("overview", 1)
    told = {image.name: (image.nucleus, image.z) for image in bench.run().manifest.images}
    assert told == {"n7_z0012": ("n7", 12), "overview": (None, None)}
    pattern = "name_pattern = 'n(?P<z>[0-9]+)'\n"
    told = {image.name: (image.nucleus, image.z) for image in bench.run(pattern + MAP, replace=True).manifest.images}
    assert told == {"n7_z0012": (None, 7), "overview": (None, None)}


# The data set on disk


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_imports_of_the_same_files_have_the_same_bytes(bench: Bench) -> None:
    for number in range(4):
        bench.pair(f"i{number}", number)
    bench.run()
    bench.run(out=bench.folder / "again")
    assert bytes_of(bench.out) == bytes_of(bench.folder / "again")
    assert read_dataset(bench.out).manifest == read_dataset(bench.folder / "again").manifest


def test_a_data_set_that_is_there_is_replaced_only_when_asked_and_another_folder_never(bench: Bench) -> None:
    bench.pair("a", 0)
    bench.run()
    with pytest.raises(LabelsExistError, match="--replace"):
        bench.run()
    bench.pair("b", 1)
    (bench.out / "split.json").write_text("by hand")
    (bench.out / "notes").mkdir()
    (bench.out / "notes" / "who.txt").write_text("anna")
    (bench.out / "report.html").write_text("of one image")
    assert len(bench.run(replace=True).manifest.images) == 2
    assert (bench.out / "split.json").read_text() == "by hand"
    assert (bench.out / "notes" / "who.txt").read_text() == "anna"
    assert not (bench.out / "report.html").exists()
    assert not list(bench.folder.glob(".*"))
    precious = bench.folder / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(LabelsExistError, match="no annotated data set"):
        bench.run(out=precious, replace=True)
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_a_refused_import_leaves_the_old_data_set_alone(bench: Bench) -> None:
    bench.pair("a", 0)
    before = bytes_of(bench.run().folder)
    tifffile.imwrite(bench.masks / "a.tif", np.full(SHAPE, 77, np.uint8))
    with pytest.raises(AnnotationsRefusedError):
        bench.run(replace=True)
    assert bytes_of(bench.out) == before


def test_progress_is_told(bench: Bench) -> None:
    bench.pair("a", 0)
    bench.pair("b", 1)
    heard: list[tuple[int, int]] = []
    order = ImportOrder(bench.images, bench.masks, parse_class_map(MAP), bench.out)
    import_annotations(order, lambda done, total: heard.append((done, total)))
    assert heard == [(0, 2), (1, 2), (2, 2)]


# A map to begin with


def test_the_values_of_masks_are_proposed_as_a_map(bench: Bench) -> None:
    tifffile.imwrite(bench.masks / "a.tif", drawn())
    proposed = proposed_map(bench.masks)
    assert [line[:7] for line in proposed.splitlines()[2:]] == ['0 = "?"', '1 = "?"', '2 = "?"', '3 = "?"']
    parse_class_map(proposed.replace("?", "chromosome"))


def test_the_colours_and_categories_of_masks_are_proposed_as_a_map(bench: Bench) -> None:
    Image.fromarray(COLOURS[drawn()]).save(bench.masks / "a.png")
    assert '"#facc15" = "?"' in proposed_map(bench.masks)
    assert 'chrom = "?"' in proposed_map(coco_file(bench, compressed_runs)).replace('"chrom"', "chrom")
