"""What joins at the face between two blocks of planes."""

from dataclasses import replace

import numpy as np

from services.imaging.labelling.blocks import ZBlock
from services.imaging.labelling.kernels import Indices, roots_of, unite_planes
from services.imaging.labelling.parameters import LabellingParameters
from services.imaging.labelling.planes import PlaneRuns, find_sections


def section_joins(parent: Indices, before: Indices, here: Indices) -> Indices:
    """Return pairs (component before, component here) that hold the joined sections of two blocks together.

    Parameters
    ----------
    parent
        int32 union-find: first the sections of the last plane before, then those of the first plane here.
    before, here
        int32: component of each section of either plane.

    Returns
    -------
    int32, shape (n, 2), sorted, each pair once.
    """
    n_before = before.size
    roots = roots_of(parent, np.arange(parent.size, dtype=np.int32))
    of_here = roots[n_before:]
    linked = np.flatnonzero(of_here < n_before)
    anchor = np.full(n_before, -1, np.int32)
    anchor[of_here[linked]] = here[linked]
    held = np.flatnonzero(anchor[roots[:n_before]] >= 0)
    pairs_before = np.stack([before[held], anchor[roots[held]]], axis=1)
    pairs_here = np.stack([before[of_here[linked]], here[linked]], axis=1)
    return np.unique(np.concatenate([pairs_before, pairs_here]), axis=0)


def joined_to(block: ZBlock, before: ZBlock | None, parameters: LabellingParameters) -> ZBlock:
    """Return a block labelled by itself with its joins to the block before, the last one that has planes."""
    if before is None or not (before.windows and block.windows):
        return block
    absent = block.windows[0].z - before.windows[-1].z - 1
    if absent > parameters.max_bridged:
        return block
    last, of_last = _sections(before.planes(-1)[0], parameters)
    first, of_first = _sections(block.planes(0, 1)[0], parameters)
    parent = np.arange(of_last.size + of_first.size, dtype=np.int32)
    shifted = first.runs._replace(node=first.runs.node + np.int32(of_last.size))
    unite_planes(parent, shifted, last.runs, parameters.reach)
    joins = section_joins(parent, of_last, of_first)
    components = block.components
    if absent:
        components = components.copy()
        components["bridged"][joins[:, 1]] = True
    return replace(block, joins=joins, components=components)


def _sections(plane: PlaneRuns, parameters: LabellingParameters) -> tuple[PlaneRuns, Indices]:
    """Return a plane with sections instead of components as ``node``, and the component of each section."""
    runs = plane.runs._replace(node=np.arange(plane.runs.node.size, dtype=np.int32))
    found, count = find_sections(PlaneRuns(plane.window, runs), parameters.reach)
    components = np.empty(count, np.int32)
    components[found.runs.node] = plane.runs.node
    return found, components
