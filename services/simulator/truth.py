"""What is known of a simulated acquisition, written beside its slices: label volumes, transforms, and a description."""

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from services.simulator.anatomy import Anatomy
from services.simulator.artefacts import SPOILING_NAMES
from services.simulator.nucleus import (
    Nucleus,
    body_volume_nm3,
    lobe_area_nm2,
    surface_points,
)
from services.simulator.phantom import Phantom, TruthPlane

BLOCK_SLICES = 16
"""Slices of one chunk; truth is written, and goes on after a stop, in whole blocks."""
_CHUNK_PX = 256
_VOLUMES = {"classes": "uint8", "nuclei": "uint16", "bivalents": "uint8", "chromosomes": "uint8"}
_COLUMNS = ("k", "z_nm", "dx_nm", "dy_nm", "rot_rad", "scale", "shear", "gain", "offset", "flags")


class OtherAcquisitionError(ValueError):
    """The folder holds the truth of another acquisition."""


@dataclass(frozen=True)
class SeenNucleus:
    """How much of a nucleus an acquisition shows.

    Attributes
    ----------
    cut_by
        Borders that cut it, out of z0, z1, y0, y1, x0, x1 (0 the lower side); empty for a whole nucleus.
    first_z, last_z
        Slices between which it lies.
    """

    cut_by: tuple[str, ...]
    first_z: int
    last_z: int


def seen_nucleus(nucleus: Nucleus, phantom: Phantom) -> SeenNucleus | None:
    """Find out how an acquisition shows a nucleus, by its outer face and the stage's table; None if not at all."""
    points = surface_points(nucleus.shape, phantom.spec.anatomy.envelope_nm / 2) + nucleus.centre_zyx_nm
    depths = phantom.stage.z_nm
    low, high = points[:, 0].min(), points[:, 0].max()
    inside = np.flatnonzero((depths >= low) & (depths <= high))
    if len(inside) == 0:
        return None
    half_step = phantom.spec.voxel_nm / 2
    cut = {"z0": low < depths[0] - half_step, "z1": high > depths[-1] + half_step}
    # Each place on the envelope is seen by the slice nearest to it, where that slice lay.
    k = np.clip(np.searchsorted(depths, points[:, 0]), 0, len(depths) - 1)
    for axis, name, shift in ((1, "y", phantom.stage.dy_nm), (2, "x", phantom.stage.dx_nm)):
        place = points[:, axis] - shift[k]
        cut[f"{name}0"] = place.min() < 0
        cut[f"{name}1"] = place.max() > (phantom.shape_zyx[axis] - 1) * phantom.spec.voxel_nm
    return SeenNucleus(tuple(name for name, is_cut in cut.items() if is_cut), int(inside[0]), int(inside[-1]))


def _described_nucleus(nucleus: Nucleus, seen: SeenNucleus, anatomy: Anatomy) -> dict[str, Any]:
    """Record of one nucleus; volumes are those of the smooth bodies, without roughness, contacts and rounded ends."""
    lengths = nucleus.chromosomes.sc_lengths_nm
    return {
        "id": nucleus.ident,
        "requested": nucleus.requested,
        "whole": not seen.cut_by,
        "cut_by": list(seen.cut_by),
        "first_z": seen.first_z,
        "last_z": seen.last_z,
        "centre_zyx_nm": [round(float(value), 3) for value in nucleus.centre_zyx_nm],
        "volume_um3": round(body_volume_nm3(nucleus.shape.body, anatomy.envelope_nm / 2) * 1e-9, 5),
        "nucleolus_volume_um3": round(body_volume_nm3(nucleus.shape.nucleolus) * 1e-9, 5),
        "sc_lengths_nm": [round(length, 1) for length in lengths],
        "sc_volumes_um3": [
            round(length * anatomy.sc_width_nm * anatomy.sc_thickness_nm * 1e-9, 6) for length in lengths
        ],
        "chromosome_volumes_um3": [
            round(length * lobe_area_nm2(anatomy) * 1e-9, 6) for length in lengths for _ in (1, 2)
        ],
    }


def _faults_of(phantom: Phantom, z: int) -> list[str]:
    """Names of all that went wrong with one slice."""
    return [*phantom.faults.of(z), *([phantom.spoilt.at(z)] if phantom.spoilt.at(z) else [])]


def described(phantom: Phantom, image_format: str) -> str:
    """JSON text that says what an acquisition is; the same for the same spec."""
    n_slices = phantom.shape_zyx[0]
    seen = [(nucleus, seen_nucleus(nucleus, phantom)) for nucleus in phantom.nuclei]
    faults = {str(z): names for z in range(n_slices) if (names := _faults_of(phantom, z))}
    spec = asdict(phantom.spec)
    # Left out where they are off, so that a description says what it said before there were such faults.
    spec["artefacts"] = {
        name: strength for name, strength in spec["artefacts"].items() if strength or name not in SPOILING_NAMES
    }
    content = {
        "seed": phantom.spec.seed,
        "voxel_size_zyx_nm": [phantom.spec.voxel_nm] * 3,
        "shape_zyx": list(phantom.shape_zyx),
        "image_format": image_format,
        "artefacts": spec["artefacts"],
        "faults": faults,
        "nuclei": [_described_nucleus(n, s, phantom.spec.anatomy) for n, s in seen if s is not None],
        "spec": {key: value for key, value in spec.items() if key != "artefacts"},
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


class TruthWriter:
    """Writes the truth of an acquisition block by block, and knows after a stop how far it had come.

    Parameters
    ----------
    folder
        The acquisition's ``truth`` folder.
    phantom
        What is acquired.
    image_format
        Format of the slices, for the description.

    Raises
    ------
    OtherAcquisitionError
        If the folder holds the truth of another acquisition.
    """

    def __init__(self, folder: Path, phantom: Phantom, image_format: str) -> None:
        self._phantom = phantom
        self._table = folder / "transforms.csv"
        folder.mkdir(parents=True, exist_ok=True)
        _describe(folder / "acquisition.json", described(phantom, image_format))
        self._arrays = {name: _opened_volume(folder / name, name, phantom) for name in _VOLUMES}
        block = (BLOCK_SLICES, *phantom.shape_zyx[1:])
        self._block = {name: np.zeros(block, dtype=dtype) for name, dtype in _VOLUMES.items()}
        self.done = self._slices_done()

    def add(self, z: int, plane: TruthPlane) -> None:
        """Take the truth of slice ``z``; slices come in order of z, from `done` on."""
        for name, block in self._block.items():
            block[z % BLOCK_SLICES] = getattr(plane, name)
        if z % BLOCK_SLICES == BLOCK_SLICES - 1 or z == self._phantom.shape_zyx[0] - 1:
            self._write_block(z - z % BLOCK_SLICES, z + 1)

    def _write_block(self, first: int, end: int) -> None:
        for name, array in self._arrays.items():
            array[first:end] = self._block[name][: end - first]
        # The table comes last: its rows say how much of the volumes is there.
        with self._table.open("ab") as file:
            file.write("".join(_transform_row(self._phantom, z) for z in range(first, end)).encode())
        self.done = end

    def _slices_done(self) -> int:
        """Read how many slices were written; cut off what a stop left behind the last whole block."""
        header = ",".join(_COLUMNS) + "\n"
        lines = self._table.read_text().splitlines(keepends=True) if self._table.exists() else []
        rows = sum(line.endswith("\n") for line in lines) - 1
        n_slices = self._phantom.shape_zyx[0]
        done = n_slices if rows >= n_slices else max(rows, 0) // BLOCK_SLICES * BLOCK_SLICES
        self._table.write_text("".join([header, *lines[1 : done + 1]]))
        return done


def _describe(path: Path, text: str) -> None:
    """Write the description, or compare it with the one that is there."""
    if not path.exists():
        part = path.with_name(path.name + ".part")
        part.write_text(text)
        part.replace(path)
    elif path.read_text() != text:
        raise OtherAcquisitionError(f"{path.parent} holds the truth of another acquisition; choose another folder")


def _transform_row(phantom: Phantom, z: int) -> str:
    """One line of the table of transforms."""
    pose = phantom.stage.pose(z)
    flags = [*_faults_of(phantom, z), *(["restart"] if pose.restarted else [])]
    numbers = (pose.z_nm, pose.dx_nm, pose.dy_nm, pose.rotation, pose.scale, pose.shear, pose.gain, pose.offset)
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([z, *(f"{number:.9g}" for number in numbers), "+".join(flags)])
    return line.getvalue()


def _opened_volume(path: Path, name: str, phantom: Phantom) -> zarr.Array[Any]:
    """Open the full-resolution array of an OME-Zarr 0.5 image, which is made if it is not there."""
    group = zarr.open_group(path, mode="a", zarr_format=3)
    if "ome" not in group.attrs:
        group.attrs["ome"] = _image_metadata(name, phantom.spec.voxel_nm)
    if "0" in group:
        array = group["0"]
        assert isinstance(array, zarr.Array)
        return array
    return group.create_array(
        "0",
        shape=phantom.shape_zyx,
        chunks=(BLOCK_SLICES, _CHUNK_PX, _CHUNK_PX),
        dtype=_VOLUMES[name],
        compressors=ZstdCodec(level=3),
        fill_value=0,
        dimension_names=("z", "y", "x"),
    )


def _image_metadata(name: str, voxel_nm: float) -> dict[str, Any]:
    """OME-Zarr 0.5 metadata of an image with one scale level."""
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"],
                "datasets": [
                    {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [float(voxel_nm)] * 3}]}
                ],
            }
        ],
    }
