"""Nuclei to separate: phantoms in which everything touches, gaps cut into their synaptonemal complexes, and tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.graph import MCP_Geometric

from services.imaging.grey import freeze, histogram
from services.imaging.labelling import LabellingParameters, LabelTables, StreamingLabeller
from services.postprocess.cleaning import minimum_voxels
from services.simulator.phantom import Phantom
from services.simulator.simulate import spec_for

Volume = NDArray[np.uint8]

CHROMOSOME, COMPLEX = 2, 4
VOXEL_NM = 16.0
MARGIN_PX = 12


@dataclass(frozen=True)
class PhantomNucleus:
    """A whole nucleus and what is around it; all arrays uint8, (z, y, x).

    Attributes
    ----------
    classes, bivalents, homologs
        Truth: class ids, 1..6, 1..12; 0 outside of the nucleus.
    grey
        The image, neighbours and all.
    mask
        1 inside the nucleus, its envelope included.
    mean, sd
        Of the grey of the first slices of the acquisition.
    """

    classes: Volume
    bivalents: Volume
    homologs: Volume
    grey: Volume
    mask: Volume
    mean: float
    sd: float


def phantom_nucleus(seed: int, voxel_nm: float = VOXEL_NM) -> PhantomNucleus:
    """Return the whole nucleus of a phantom whose chromosomes keep no gap from one another."""
    spec = replace(spec_for(seed, voxel_nm, 1, in_a_row=True), contact_gap_nm=0.0, contact_fraction=1.0)
    phantom = Phantom(spec)
    statistics = freeze([histogram(phantom.slice(z)) for z in range(16)])
    planes: dict[str, list[Volume]] = {name: [] for name in ("classes", "bivalents", "chromosomes", "grey", "mask")}
    for z in range(phantom.shape_zyx[0]):
        truth = phantom.truth(z)
        own = truth.nuclei == 1
        for name in ("classes", "bivalents", "chromosomes"):
            planes[name].append(np.where(own, getattr(truth, name), 0).astype(np.uint8))
        planes["grey"].append(phantom.slice(z))
        planes["mask"].append(own.astype(np.uint8))
    volumes = {name: np.stack(found) for name, found in planes.items()}
    box = tuple(
        slice(max(0, place.start - MARGIN_PX), place.stop + MARGIN_PX)
        for place in ndimage.find_objects(volumes["mask"])[0]
    )
    classes, bivalents, homologs, grey, mask = (np.ascontiguousarray(volume[box]) for volume in volumes.values())
    return PhantomNucleus(classes, bivalents, homologs, grey, mask, statistics.mean, statistics.sd)


def tables_of(classes: Volume, voxel_zyx_nm: tuple[float, float, float] = (VOXEL_NM,) * 3) -> LabelTables:
    """Return the finished run tables of a label volume, small objects removed as postprocess removes them."""
    volume_nm3 = float(np.prod(voxel_zyx_nm))
    parameters = LabellingParameters(
        canvas_shape_yx=(classes.shape[1], classes.shape[2]), min_voxels=minimum_voxels(volume_nm3)
    )
    labeller = StreamingLabeller(parameters)
    for z, plane in enumerate(classes):
        labeller.add(z, plane)
    return labeller.finish()


def along(complex_mask: NDArray[np.bool_], voxel_zyx_nm: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return how far every voxel of one synaptonemal complex lies from one end of it, nm; -1 elsewhere.

    Pieces that do not hang together follow one another.
    """
    arc = np.full(complex_mask.shape, -1, np.float32)
    pieces, count = ndimage.label(complex_mask, np.ones((3, 3, 3)))
    offset = 0.0
    for index, place in enumerate(ndimage.find_objects(pieces), start=1):
        inside = pieces[place] == index
        start = tuple(np.argwhere(inside)[0])
        for _ in range(2):
            finder = MCP_Geometric(np.where(inside, 1.0, -1.0), sampling=voxel_zyx_nm)
            distance, _ = finder.find_costs([start])
            distance = np.where(inside, distance, -1.0)
            start = tuple(int(i) for i in np.unravel_index(int(distance.argmax()), distance.shape))
        arc[place][inside] = distance[inside] + offset
        offset += float(distance.max()) + 1.0
    assert count
    return arc


def with_gaps(
    classes: Volume,
    bivalents: Volume,
    share: float,
    seed: int,
    voxel_zyx_nm: tuple[float, float, float] = (VOXEL_NM,) * 3,
) -> Volume:
    """Return the classes with a share of every synaptonemal complex turned into chromosome, in gaps of 100 to 800 nm.

    Gaps lie anywhere along a complex, its ends included, but never side by side; every bivalent keeps a piece.
    """
    found = classes.copy()
    rng = np.random.default_rng([seed, round(1000 * share)])
    for bivalent in range(1, int(bivalents.max()) + 1):
        mask = (classes == COMPLEX) & (bivalents == bivalent)
        if share and mask.any():
            arc = along(mask, voxel_zyx_nm)
            for first, stop in _gaps(float(arc.max()), share, rng):
                found[(arc >= first) & (arc < stop)] = CHROMOSOME
    return found


def _gaps(length_nm: float, share: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw gaps that add up to a share of a length, and lay them in random order between random kept pieces."""
    wanted = share * length_nm
    gaps: list[float] = []
    while wanted - sum(gaps) > 100.0:
        gaps.append(min(float(rng.uniform(100.0, 800.0)), wanted - sum(gaps)))
    # The kept pieces between gaps are at least 64 nm long: fewer voxels would be no gap, but a longer one.
    least = 64.0
    spare = length_nm - sum(gaps) - least * (len(gaps) + 1)
    cuts = np.sort(rng.uniform(0.0, spare, len(gaps)))
    first, placed = 0.0, []
    for gap, cut, before in zip(gaps, cuts, [0.0, *cuts], strict=False):
        first += float(cut - before) + least
        placed.append((first, first + gap))
        first += gap
    return placed
