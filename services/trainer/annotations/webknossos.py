"""webKnossos annotations: the zip that it offers for download, with its volume layers as Zarr 3.

An annotation is a zip of one NML file and one zip for each volume layer, which holds `datasource-properties.json`
and a Zarr 3 array (channel, x, y, z) for each magnification. Layers in the older WKW are refused: their reader's
package installs a top-level package `tests`, and webKnossos offers Zarr 3 in the same dialogue.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Set
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Annotated, Any, Self
from xml.etree import ElementTree as Xml

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError
from zarr.storage import ZipStore

from services.contracts.values import VoxelSize
from services.trainer.annotations.findings import UnreadableAnnotationError

_PROPERTIES = "datasource-properties.json"
_NM_PER = {"nanometer": 1.0, "nm": 1.0, "micrometer": 1e3, "um": 1e3, "µm": 1e3, "angstrom": 0.1}
_MOST_BYTES = 64 << 30


class _Magnification(BaseModel):
    mag: tuple[int, int, int] | int
    path: str | None = None

    @property
    def is_finest(self) -> bool:
        return self.mag in {1, (1, 1, 1)}


class _Layer(BaseModel):
    name: str
    mags: Annotated[list[_Magnification], Field(min_length=1)]


class _Properties(BaseModel):
    layers: Annotated[list[_Layer], Field(alias="dataLayers", min_length=1)]


class WebKnossosVolume:
    """A volume layer of an annotation; a context, since its zip is copied for as long as it is open.

    Parameters
    ----------
    path
        Zip of the annotation.
    layer
        Name of the volume layer; None where there is only one.

    Attributes
    ----------
    segment_names
        Name by segment id, of the segments that have one.
    voxel_size
        What the annotation says, if it does.

    Raises
    ------
    UnreadableAnnotationError
        If it holds no volume layer, several of which none was named, or one in another format.
    """

    def __init__(self, path: Path, layer: str | None = None) -> None:
        self._folder = TemporaryDirectory(prefix="fibsem-webknossos-")
        try:
            with zipfile.ZipFile(path) as archive:
                nml = _nml_of(archive)
                volume = _volume_of(nml, layer)
                self._array = _opened(archive, str(volume.get("location", "")), Path(self._folder.name))
        except (zipfile.BadZipFile, KeyError, OSError, ValidationError, Xml.ParseError) as fault:
            self._folder.cleanup()
            raise UnreadableAnnotationError(f"{path.name} is no webKnossos annotation: {fault}") from fault
        except UnreadableAnnotationError:
            self._folder.cleanup()
            raise
        self.segment_names: Mapping[int, str] = {
            int(segment.get("id", "0")): str(segment.get("name"))
            for segment in volume.iter("segment")
            if segment.get("name")
        }
        self.voxel_size = _voxel_size(nml)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._array.store.close()
        self._folder.cleanup()

    def plane(self, z: int, origin_yx: tuple[int, int], shape_yx: tuple[int, int]) -> NDArray[np.int64]:
        """Return segment ids of a window of a plane, int64 (y, x); 0 where nothing is stored.

        Parameters
        ----------
        z
            Plane of the data set.
        origin_yx, shape_yx
            First row and column, and rows and columns.
        """
        ids = np.zeros(shape_yx, np.int64)
        _, columns, rows, planes = self._array.shape
        (y0, x0), (height, width) = origin_yx, shape_yx
        first_y, first_x, last_y, last_x = max(0, y0), max(0, x0), min(rows, y0 + height), min(columns, x0 + width)
        if not 0 <= z < planes or first_y >= last_y or first_x >= last_x:
            return ids
        stored: Any = self._array[0, first_x:last_x, first_y:last_y, z]
        ids[first_y - y0 : last_y - y0, first_x - x0 : last_x - x0] = np.asarray(stored).T
        return ids


def _nml_of(archive: zipfile.ZipFile) -> Xml.Element:
    names = [name for name in archive.namelist() if name.endswith(".nml") and "/" not in name]
    if len(names) != 1:
        raise UnreadableAnnotationError(
            f"holds {len(names)} NML files: download one annotation, volume data included, as it comes"
        )
    text = archive.read(names[0])
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise UnreadableAnnotationError("its NML declares entities, which webKnossos never does")
    return Xml.fromstring(text)  # noqa: S314 - no entities, see above


def _volume_of(nml: Xml.Element, layer: str | None) -> Xml.Element:
    volumes = [volume for volume in nml.iter("volume") if volume.get("location")]
    chosen = [volume for volume in volumes if layer is None or volume.get("name", "Volume") == layer]
    if len(chosen) != 1:
        names = [volume.get("name", "Volume") for volume in volumes]
        raise UnreadableAnnotationError(
            f"has the volume layers {names}"
            + (f", not one {layer!r}" if layer else ": name one as webknossos.layer in the class map")
        )
    return chosen[0]


def _opened(archive: zipfile.ZipFile, location: str, folder: Path) -> zarr.Array[Any]:
    """Open the array of a volume layer; its zip is copied beside, since one zip cannot be read within another."""
    if archive.getinfo(location).file_size > _MOST_BYTES:
        raise UnreadableAnnotationError(f"its volume has more than {_MOST_BYTES >> 30} GiB")
    with archive.open(location) as packed, (folder / "volume.zip").open("wb") as copy:
        shutil.copyfileobj(packed, copy)
    with zipfile.ZipFile(folder / "volume.zip") as data:
        names = set(data.namelist())
        if any(name.endswith(".wkw") for name in names):
            raise UnreadableAnnotationError(
                "its volume is stored as WKW: in webKnossos, Download, choose Zarr 3 as format of the volume data"
            )
        if _PROPERTIES not in names:
            raise UnreadableAnnotationError(f"its volume {location} lacks {_PROPERTIES}: nothing was annotated in it")
        layer = _Properties.model_validate_json(data.read(_PROPERTIES)).layers[0]
    array = zarr.open_array(ZipStore(folder / "volume.zip", mode="r"), path=_place(layer, names), mode="r")
    if array.ndim != 4 or array.shape[0] != 1:
        raise UnreadableAnnotationError(f"its volume has shape {array.shape}, not (1, x, y, z)")
    return array


def _place(layer: _Layer, names: Set[str]) -> str:
    """Return where in the zip the array of full resolution lies."""
    finest = [magnification.path for magnification in layer.mags if magnification.is_finest]
    if not finest:
        raise UnreadableAnnotationError("its volume has no magnification 1: annotate at full resolution")
    for place in (finest[0], f"{layer.name}/1", f"{layer.name}/1-1-1"):
        if place and f"{place.removeprefix('./')}/zarr.json" in names:
            return place.removeprefix("./")
    raise UnreadableAnnotationError("its volume holds no Zarr 3 array of magnification 1")


def _voxel_size(nml: Xml.Element) -> VoxelSize | None:
    scale = nml.find("parameters/scale")
    unit = _NM_PER.get(scale.get("unit", "nanometer")) if scale is not None else None
    if scale is None or unit is None:
        return None
    try:
        x_nm, y_nm, z_nm = (float(scale.get(axis, "0")) * unit for axis in "xyz")
        return VoxelSize(z_nm=z_nm, y_nm=y_nm, x_nm=x_nm)
    except ValueError:
        return None
