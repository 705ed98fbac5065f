"""Mesh files of the bodies of a nucleus, in micrometres: GLB, OBJ, STL and PLY, written by trimesh."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from services.exports.reading import CHROMOSOMES
from services.exports.selection import CLASSES, Part
from services.exports.styles import Label, Rgba
from services.exports.surfaces import Surface

_NM_PER_UM = 1000.0
_CHROMOSOME_YELLOW: Rgba = (250, 204, 21, 255)
_SKIN_OPACITY = 70


def encode(surface: Surface, name: str, rgba: Rgba, file_type: str) -> bytes:
    """Return a mesh file of one body.

    Parameters
    ----------
    surface
        Its surface.
    name
        Name of the mesh in the file, where the format has one.
    rgba
        Colour, where the format has one.
    file_type
        `glb`, `obj`, `stl` or `ply`.
    """
    mesh = _mesh(surface, name, rgba)
    if file_type == "glb":
        return encode_scene([(name, surface, rgba)])
    options: dict[str, object] = {"include_texture": False, "include_color": False} if file_type == "obj" else {}
    payload = mesh.export(file_type=file_type, **options)
    return payload.encode() if isinstance(payload, str) else bytes(payload)


def encode_scene(bodies: Sequence[tuple[str, Surface, Rgba]]) -> bytes:
    """Return one GLB with a node for each body."""
    trimesh: Any = importlib.import_module("trimesh")
    scene = trimesh.Scene()
    for name, surface, rgba in bodies:
        scene.add_geometry(_mesh(surface, name, rgba), node_name=name, geom_name=name)
    return bytes(scene.export(file_type="glb"))


def _mesh(surface: Surface, name: str, rgba: Rgba) -> Any:  # noqa: ANN401 - untyped library
    trimesh: Any = importlib.import_module("trimesh")
    material = trimesh.visual.material.PBRMaterial(
        name=name,
        baseColorFactor=np.array(rgba, np.uint8),
        metallicFactor=0.0,
        roughnessFactor=0.6,
        alphaMode="OPAQUE" if rgba[3] == 255 else "BLEND",
        doubleSided=False,
    )
    return trimesh.Trimesh(
        surface.points_nm / _NM_PER_UM,
        surface.faces,
        process=False,
        visual=trimesh.visual.TextureVisuals(material=material),
    )


def manuscript_colour(part: Part, class_labels: Mapping[str, Label]) -> Rgba:
    """Return the colour a body has in the manuscript's figures; the membrane is see-through.

    Parameters
    ----------
    part
        The body.
    class_labels
        Labels of the classes by name, with the colours of the volume.
    """
    class_name = part.label.name if part.image.name == CLASSES else part.label.class_name
    if class_name in {"nuclear_membrane", "nucleoplasm"}:
        return (*part.label.rgba[:3], _SKIN_OPACITY)
    if class_name == "chromosome" or part.image.name == CHROMOSOMES:
        known = class_labels.get("chromosome")
        return known.rgba if known else _CHROMOSOME_YELLOW
    return class_labels[class_name].rgba if class_name in class_labels else part.label.rgba
