"""`cc26`: the largest connected objects, as the manuscript counts chromosomes."""

from __future__ import annotations

import numpy as np

from services.components.separation.field import CHROMOSOME, SYNAPTONEMAL_COMPLEX, ChromatinField
from services.components.separation.outcome import Bodies
from services.components.separation.result import MOST, Target
from services.imaging.labelling import Components, LabelTables, components_of

BIVALENTS = 6


def cc26(tables: LabelTables, expected: int, homologs: bool | None = None) -> Components:
    """Return the largest 26-connected components, as the manuscript does (4.4 and domain.md 4, Post-processing).

    Homologs are chromatin alone; bivalents are chromatin held together by the synaptonemal complex between
    the two. Touching chromosomes come out as one: that is the method's limit, which the scores show.

    Parameters
    ----------
    tables
        Run tables of a closed nucleus.
    expected
        How many to keep.
    homologs
        Whether the synaptonemal complex counts as none of them; None: where more than 6 are expected.
    """
    alone = expected > BIVALENTS if homologs is None else homologs
    classes = {CHROMOSOME} if alone else {CHROMOSOME, SYNAPTONEMAL_COMPLEX}
    return components_of(tables, classes, expected)


def connected_bodies(field: ChromatinField, target: Target, count: int | None) -> Bodies:
    """Return the components of `cc26`; without a number, all of them that have a label to spare."""
    tables = field.tables
    components = cc26(tables, min(count or MOST, MOST), target.homologs)
    labels = np.zeros_like(field.classes)
    value = components.label_of_object.astype(np.uint8)
    for window in tables.windows():
        plane = tables.paint_plane(window.z, value)
        rows, columns = np.nonzero(plane)
        if rows.size:
            held = labels[(window.z - field.origin_zyx[0]) // field.strides_zyx[0]]
            at_y = (rows + window.y0 - field.origin_zyx[1]) // field.strides_zyx[1]
            at_x = (columns + window.x0 - field.origin_zyx[2]) // field.strides_zyx[2]
            held[at_y, at_x] = plane[rows, columns]
    return Bodies(labels, whole=target.homologs)
