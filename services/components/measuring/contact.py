"""Contacts: which labels touch, over what area, in how many places, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as label_parts

from services.components.measuring.lattice import Lattice
from services.components.measuring.surface import Faces

_ALL_NEIGHBOURS = np.ones((3, 3, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Contact:
    """Two labels that share faces.

    Attributes
    ----------
    first, second
        The labels, the smaller first.
    area_um2
        Shared area (see `surface.face_areas`).
    patches
        26-connected places of contact.
    place_nm
        Centroid of the largest of them, (z, y, x).
    """

    first: int
    second: int
    area_um2: float
    patches: int
    place_nm: tuple[float, float, float]


def contacts(labels: NDArray[Any], faces: Faces, lattice: Lattice, owners: int) -> tuple[Contact, ...]:
    """Return the contacts of labels 1..owners with each other and with all higher labels, by both labels.

    Parameters
    ----------
    labels
        Unsigned integers, (z, y, x).
    faces
        Of these labels.
    lattice
        Where the voxels lie.
    owners
        Pairs of two labels above this one are left out.

    Examples
    --------
    >>> from services.components.measuring.surface import face_areas
    >>> labels, lattice = np.array([[[1, 2, 0, 2, 1]]], np.uint8), Lattice((100.0, 100.0, 100.0))
    >>> found = contacts(labels, face_areas(labels, lattice), lattice, 2)
    >>> [(contact.first, contact.second, contact.patches) for contact in found]
    [(1, 2, 2)]
    """
    places = _touching(labels, owners)
    found = []
    for first, second in sorted(places):
        voxels = np.concatenate(places[first, second])
        low = voxels.min(axis=0)
        mask = np.zeros(voxels.max(axis=0) - low + 1, bool)
        mask[tuple((voxels - low).T)] = True
        part, count = label_parts(mask, structure=_ALL_NEIGHBOURS)
        largest = np.argwhere(part == 1 + int(np.argmax(np.bincount(part[mask])[1:]))) + low
        z, y, x = lattice.places_nm(largest, labels.shape[0]).mean(axis=0).tolist()
        area = float(faces.contact_um2[first, second])
        found.append(Contact(first, second, area, int(count), (z, y, x)))
    return tuple(found)


def _touching(labels: NDArray[Any], owners: int) -> dict[tuple[int, int], list[NDArray[np.int64]]]:
    """Return the voxels of the smaller label at the faces of each pair."""
    places: dict[tuple[int, int], list[NDArray[np.int64]]] = {}
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        here, there = labels[tuple(low)], labels[tuple(high)]
        voxels = np.argwhere((here != there) & (here > 0) & (there > 0) & ((here <= owners) | (there <= owners)))
        pair = np.stack([here[tuple(voxels.T)], there[tuple(voxels.T)]], axis=1).astype(np.int64)
        voxels[:, axis] += pair[:, 1] < pair[:, 0]
        pair.sort(axis=1)
        key = pair[:, 0] * (1 << 32) + pair[:, 1]
        for value in np.unique(key):
            places.setdefault((int(value >> 32), int(value & 0xFFFFFFFF)), []).append(voxels[key == value])
    return places
