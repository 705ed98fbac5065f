"""Tracks as markers of a watershed: every chromosome grows from its synaptonemal complex, gaps bridged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.components.separation.field import ChromatinField, Labels
from services.components.separation.flooding import distance_to, watershed
from services.components.separation.fragments import Fragment, Points
from services.components.separation.links import Link
from services.components.separation.tracks import Track

WAY_RADIUS_NM = 40.0
"""Half thickness of a bridged gap: about that of the ribbon."""


def grown(field: ChromatinField, markers: Labels, seeds: Labels) -> Labels:
    """Return the chromatin and the SC shared out among seeds, by distance to them (domain.md, section 7).

    Parameters
    ----------
    field
        Chromatin and SC.
    markers
        uint8 (z, y, x): number of the seed where flooding starts; those outside of chromatin do not count.
    seeds
        uint8 (z, y, x): not 0 from where the distance is measured.

    Returns
    -------
    numpy.ndarray
        uint8 (z, y, x): 0 where no seed can be reached.
    """
    if not markers.any():
        return np.zeros_like(markers)
    return watershed(distance_to(seeds > 0, field.step_zyx_nm), markers, field.chromatin)


def draw_tracks(
    field: ChromatinField, fragments: Sequence[Fragment], links: Sequence[Link], tracks: Sequence[Track]
) -> Labels:
    """Return the fragments of tracks, and the ways between them, as seeds 1, 2, ... in the order of the tracks."""
    seeds = np.zeros(field.classes.shape, np.uint8)
    for number, track in enumerate(tracks, start=1):
        for index in track.links:
            _draw_way(field, seeds, links[index].way, number)
    for number, track in enumerate(tracks, start=1):
        for index in track.fragments:
            # What is known goes over what is guessed.
            seeds.reshape(-1)[fragments[index].voxels] = number
    return seeds


def _draw_way(field: ChromatinField, seeds: Labels, way: Points, number: int) -> None:
    """Draw a line as thick as a ribbon where nothing has been drawn."""
    step = np.array(field.step_zyx_nm)
    reach = np.ceil(WAY_RADIUS_NM / step).astype(int)
    axes = [np.arange(-r, r + 1) for r in reach]
    ball = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    ball = ball[(((ball * step) ** 2).sum(axis=1)) <= WAY_RADIUS_NM**2]
    at = (np.floor(way / step).astype(int)[:, None, :] + ball).reshape(-1, 3)
    at = at[((at >= 0) & (at < np.array(seeds.shape))).all(axis=1)]
    z, y, x = at.T
    seeds[z, y, x] = np.where(seeds[z, y, x] == 0, number, seeds[z, y, x])
