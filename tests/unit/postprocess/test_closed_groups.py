"""Groups of chromatin and synaptonemal complex: handed on once, whole, and as soon as nothing can join them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from services.imaging.labelling import LabelTables, cut_out
from services.postprocess.volume import NucleusVolume

Volume = NDArray[np.uint8]
MINIMUM = {2: 3, 4: 2}
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 5), st.integers(1, 6))
VOLUMES = arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 0, 1, 2, 4]))


def fed(classes: Volume, absent: Sequence[int] = ()) -> tuple[list[tuple[int, LabelTables]], LabelTables]:
    """Return the groups handed on after each plane, with that plane's z, and the tables in the end."""
    volume = NucleusVolume(7, (classes.shape[1], classes.shape[2]), MINIMUM)
    told = []
    for z, plane in enumerate(classes, start=7):
        if z - 7 in absent:
            volume.skip(z)
        else:
            volume.add(z, plane, (0, 0))
        found = volume.closed_groups()
        if found is not None:
            told.append((z, found))
    return told, volume.close()


def painted(tables: LabelTables, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    canvas = np.zeros(shape, np.bool_)
    for window in tables.windows():
        plane = tables.paint_plane(window.z, np.ones(tables.objects.size, np.uint8))
        canvas[window.z - 7, window.y0 : window.y0 + window.height] |= plane > 0
    return canvas


def kept(classes: Volume) -> NDArray[np.bool_]:
    """Chromatin and complex without what is too small, by another labeller."""
    found = np.zeros(classes.shape, np.bool_)
    for label, least in MINIMUM.items():
        objects, _ = ndimage.label(classes == label, np.ones((3, 3, 3)))
        found |= (np.bincount(objects.ravel())[objects] >= least) & (objects > 0)
    return found


@settings(deadline=None, max_examples=150)
@given(VOLUMES)
def test_groups_are_the_connected_parts_each_told_once_and_not_before_it_ends(classes: Volume) -> None:
    # An empty plane in the end closes whatever is left.
    classes = np.concatenate([classes, np.zeros_like(classes[:1])])
    told, _ = fed(classes)
    parts, count = ndimage.label(kept(classes), np.ones((3, 3, 3)))
    times = np.zeros(classes.shape, np.int64)
    when = np.zeros(classes.shape, np.int64)
    for z, tables in told:
        found = painted(tables, classes.shape)
        times += found
        when[found] = z - 7
    np.testing.assert_array_equal(times, (parts > 0).astype(np.int64))
    for part in range(1, count + 1):
        (at,) = set(when[parts == part].tolist())
        assert at > int(np.nonzero(parts == part)[0].max())


@settings(deadline=None, max_examples=100)
@given(VOLUMES, st.sets(st.integers(0, 11), max_size=3))
def test_what_is_handed_on_is_what_can_be_cut_out_of_the_finished_tables(classes: Volume, absent: set[int]) -> None:
    told, finished = fed(classes, sorted(absent))
    for _, tables in told:
        assert tables.finished
        chosen = np.isin(finished.objects["identity"], tables.objects["identity"])
        assert cut_out(finished, chosen).to_bytes() == tables.to_bytes()


def test_a_speck_that_may_still_grow_keeps_a_group_open() -> None:
    classes = np.zeros((5, 1, 5), np.uint8)
    classes[0:2, 0, 0:2] = 2
    classes[2, 0, 2] = 4  # touches the group at its edge; of the size of a speck until the next plane
    open_speck = classes.copy()
    open_speck[3, 0, 3] = 4
    assert [z for z, _ in fed(classes)[0]] == [7 + 3]
    (told,) = fed(open_speck)[0]
    assert (told[0], sorted(told[1].objects["class_id"])) == (7 + 4, [2, 4])


def test_groups_are_closed_by_more_absent_planes_than_are_bridged() -> None:
    classes = np.zeros((8, 1, 3), np.uint8)
    classes[0:2, 0, 0] = 2
    classes[0:2, 0, 1] = 4
    assert [z for z, _ in fed(classes, absent=range(2, 8))[0]] == [7 + 2 + 3]
