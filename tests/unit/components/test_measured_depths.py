"""Components by measured depths: what is measured follows them, where things lie does not; foreign ones are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.components.handler import ComponentsHandler
from services.contracts.messages import ComponentsMeasured, Message, VolumeClosed
from services.contracts.rows import OBJECT_ROWS, MeasuredNucleus, ObjectRow
from services.imaging.quality.depths import PlaneDepths
from services.postprocess.handler import PostprocessHandler
from services.runtime.errors import PermanentError
from services.runtime.handler import Received
from services.runtime.store.directory import DirectoryStore
from tests.support.label_volumes import Nucleus, classes_volume

VOXEL_NM = 16.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    made = DirectoryStore(tmp_path / "store", reference_files=False)
    yield made
    made.close()


def closed_volume(store: DirectoryStore) -> VolumeClosed:
    handler = PostprocessHandler(store, VOXEL_NM)
    answers = handler.handle([Received("segmentations", m) for m in Nucleus(store).messages(classes_volume())])
    (closed,) = [p.message for answer in answers for p in answer.publications if isinstance(p.message, VolumeClosed)]
    return closed


def with_depths(store: DirectoryStore, closed: VolumeClosed, depths: PlaneDepths) -> VolumeClosed:
    ref = store.put(f"{closed.nucleus.identity}/depths/test", depths.to_bytes())
    return closed.model_copy(update={"nucleus": closed.nucleus.model_copy(update={"depths": ref})})


def stretched(closed: VolumeClosed, factor: float, planes: int | None = None) -> PlaneDepths:
    first_z, last_z = closed.nucleus.z_first, closed.nucleus.z_last
    count = planes or last_z - first_z + 1
    start = (first_z + 0.5) * VOXEL_NM
    return PlaneDepths(first_z, VOXEL_NM, tuple((start + factor * VOXEL_NM * np.arange(count)).tolist()))


def measured(store: DirectoryStore, closed: Message) -> tuple[str, MeasuredNucleus, tuple[ObjectRow, ...]]:
    (answer,) = ComponentsHandler(store, 12).handle([Received("volumes", closed)])
    (found,) = [p.message for p in answer.publications if isinstance(p.message, ComponentsMeasured)]
    row = MeasuredNucleus.model_validate_json(store.get(found.measurements))
    return found.measurements.key, row, OBJECT_ROWS.validate_json(store.get(found.objects))


def test_planes_twice_as_far_apart_make_everything_twice_as_large_where_it_lies(store: DirectoryStore) -> None:
    closed = closed_volume(store)
    plain_key, plain, plain_objects = measured(store, closed)
    key, row, objects = measured(store, with_depths(store, closed, stretched(closed, 2.0)))
    assert key != plain_key
    for before, after in zip(plain_objects, objects, strict=True):
        assert after.volume_um3 == pytest.approx(2 * before.volume_um3)
        assert after.model_copy(update={"volume_um3": before.volume_um3}) == before
    assert row.volume_um3 == pytest.approx(2 * (plain.volume_um3 or 0))
    assert row.nucleolus_volume_um3 == pytest.approx(2 * (plain.nucleolus_volume_um3 or 0))
    assert row.area_um2 is not None
    assert row.area_um2 > 1.3 * (plain.area_um2 or 0)
    assert plain.chromosomes
    for one, other in zip(plain.chromosomes, row.chromosomes, strict=True):
        assert other.volume_um3 == pytest.approx(2 * one.volume_um3, rel=1e-3)
        assert other.centroid_z_nm == pytest.approx(one.centroid_z_nm, abs=0.2)
    for one_check, other_check in zip(plain.checks, row.checks, strict=False):
        if one_check.check == other_check.check and None not in (one_check.z_nm, other_check.z_nm):
            assert 0 <= (other_check.z_nm or 0) <= (closed.nucleus.z_last + 1) * VOXEL_NM


def test_depths_as_they_should_be_change_no_row(store: DirectoryStore) -> None:
    closed = closed_volume(store)
    _, plain, plain_objects = measured(store, closed)
    _, row, objects = measured(store, with_depths(store, closed, stretched(closed, 1.0)))
    for before, after in zip(plain_objects, objects, strict=True):
        assert after.volume_um3 == pytest.approx(before.volume_um3)
    assert [one.model_copy(update={"centroid_z_nm": 0.0}) for one in row.chromosomes] == [
        one.model_copy(update={"centroid_z_nm": 0.0}) for one in plain.chromosomes
    ]


def test_depths_of_other_planes_are_refused(store: DirectoryStore) -> None:
    closed = closed_volume(store)
    with pytest.raises(PermanentError, match="not of the nucleus's"):
        measured(store, with_depths(store, closed, stretched(closed, 1.0, planes=3)))


def test_damaged_depths_are_refused(store: DirectoryStore) -> None:
    closed = closed_volume(store)
    ref = store.put(f"{closed.nucleus.identity}/depths/test", b"rubbish")
    damaged = closed.model_copy(update={"nucleus": closed.nucleus.model_copy(update={"depths": ref})})
    with pytest.raises(PermanentError, match="no depths of planes"):
        measured(store, damaged)
