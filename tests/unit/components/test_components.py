"""Components: chromosomes chosen from the labelled objects, and rows in nanometres of the acquisition."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.components.handler import ComponentsHandler
from services.components.separation import UnknownMethodError, cc26, named
from services.contracts.messages import ComponentsMeasured, Message, ObjectChanged, VolumeClosed, VolumeExtended
from services.contracts.rows import OBJECT_ROWS, MeasuredNucleus, NucleusRow, ObjectRow
from services.imaging.labelling import LabellingParameters, LabelTables, StreamingLabeller
from services.imaging.omezarr import open_volume
from services.postprocess.handler import PostprocessHandler
from services.runtime.handler import Received
from services.runtime.store.directory import DirectoryStore
from tests.support.label_volumes import CANVAS, Nucleus, classes_volume


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DirectoryStore]:
    made = DirectoryStore(tmp_path / "store", reference_files=False)
    yield made
    made.close()


def volumes(store: DirectoryStore) -> list[Message]:
    handler = PostprocessHandler(store, 16.0)
    answers = handler.handle([Received("segmentations", m) for m in Nucleus(store).messages(classes_volume())])
    return [publication.message for answer in answers for publication in answer.publications]


def measured(store: DirectoryStore, expected: int = 12) -> tuple[ComponentsMeasured, NucleusRow, tuple[ObjectRow, ...]]:
    handler = ComponentsHandler(store, expected)
    answers = handler.handle([Received("volumes", message) for message in volumes(store)])
    found = [p.message for answer in answers for p in answer.publications if isinstance(p.message, ComponentsMeasured)]
    (message,) = found
    row = MeasuredNucleus.model_validate_json(store.get(message.measurements))
    return message, row, OBJECT_ROWS.validate_json(store.get(message.objects))


def test_two_chromosomes_are_two_objects_ranked_by_size(store: DirectoryStore) -> None:
    message, row, objects = measured(store)
    chromosomes = {o.chromosome: o.voxels for o in objects if o.label_class == "chromosome"}
    assert message.chromosome_count == row.chromosome_count == 2
    assert list(chromosomes) == [2, 1]
    assert chromosomes[1] > chromosomes[2]


def test_positions_are_those_of_the_acquisition(store: DirectoryStore) -> None:
    _, _, objects = measured(store)
    (nucleolus,) = [o for o in objects if o.label_class == "nucleolus"]
    # The ball's middle is voxel (20, 20, 20) of windows that begin at y = 8 and lean by a row every ten planes.
    assert nucleolus.centroid_z_nm == pytest.approx((120 + 0.5) * 16, abs=1e-6)
    assert nucleolus.centroid_y_nm == pytest.approx((8 + 20 + 0.5 + 1.5) * 16, abs=10)
    assert nucleolus.centroid_x_nm == pytest.approx((25 + 20 + 0.5) * 16, abs=1e-6)
    assert (nucleolus.z0, nucleolus.z1, nucleolus.x0, nucleolus.x1) == (115, 126, 40, 51)


def test_the_nucleus_is_the_sum_of_its_objects(store: DirectoryStore) -> None:
    _, row, objects = measured(store)
    assert row.volume_um3 == pytest.approx(sum(o.volume_um3 for o in objects))
    assert row.nucleolus_volume_um3 == pytest.approx(515 * 4.096e-6)
    assert row.mean_confidence == pytest.approx(0.8)


def test_object_labels_are_painted_with_the_ids_of_the_table(store: DirectoryStore) -> None:
    message, _, objects = measured(store)
    files = {}
    for key in store.keys(f"{message.volume_prefix}/volume.ome.zarr"):
        ref = store.find(key)
        assert ref is not None
        files[key.removeprefix(f"{message.volume_prefix}/volume.ome.zarr/")] = store.get(ref)
    labels = np.asarray(open_volume(files)["labels/objects/0"][...])  # type: ignore[index]
    assert labels.shape == (40, CANVAS.height_px, CANVAS.width_px)
    ids, voxels = np.unique(labels[labels > 0], return_counts=True)
    assert dict(zip(ids.tolist(), voxels.tolist(), strict=True)) == {o.object_id: o.voxels for o in objects}


def files_of(store: DirectoryStore, message: ComponentsMeasured) -> dict[str, bytes]:
    prefix = f"{message.volume_prefix}/volume.ome.zarr/"
    refs = {key.removeprefix(prefix): store.find(key) for key in store.keys(prefix.rstrip("/"))}
    return {key: store.get(ref) for key, ref in refs.items() if ref is not None}


@pytest.mark.parametrize("expected", [6, 12])
def test_chromosome_labels_are_painted_with_the_numbers_of_the_table(store: DirectoryStore, expected: int) -> None:
    message, _, objects = measured(store, expected)
    files = files_of(store, message)
    volume = open_volume(files)
    numbers = np.asarray(volume["labels/chromosomes/0"][...])  # type: ignore[index]
    ids = np.asarray(volume["labels/objects/0"][...])  # type: ignore[index]
    assert numbers.dtype == np.uint8
    for row in objects:
        assert np.unique(numbers[ids == row.object_id]).tolist() == [row.chromosome or 0]
    assert set(np.unique(numbers)) == set(range(message.chromosome_count + 1))


def test_another_method_is_another_artefact(store: DirectoryStore) -> None:
    sent = volumes(store)
    keys = set()
    for method_name in ("cc26", "path_cover"):
        answers = ComponentsHandler(store, 12, method_name).handle([Received("volumes", message) for message in sent])
        (found,) = [p.message for a in answers for p in a.publications if isinstance(p.message, ComponentsMeasured)]
        assert found.method == method_name
        keys.add(found.measurements.key)
    assert len(keys) == 2


def test_events_tell_of_every_object_from_birth_to_close(store: DirectoryStore) -> None:
    messages = volumes(store)
    answers = ComponentsHandler(store, 12).handle([Received("volumes", message) for message in messages])
    events = [p.message for answer in answers for p in answer.publications if isinstance(p.message, ObjectChanged)]
    assert isinstance(messages[0], VolumeExtended)
    assert isinstance(messages[-1], VolumeClosed)
    born = {event.object_key for event in events if event.change == "BORN"}
    closed = {event.object_key for event in events if event.change == "CLOSED"}
    assert born == closed
    assert len(born) == 5


def tables_of(volume: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> LabelTables:
    labeller = StreamingLabeller(LabellingParameters(canvas_shape_yx=volume.shape[1:]))  # type: ignore[arg-type]
    for z, plane in enumerate(volume):
        labeller.add(z, plane)
    return labeller.finish()


def test_bivalents_are_chromatin_held_together_by_the_synaptonemal_complex() -> None:
    volume = np.zeros((2, 3, 9), np.uint8)
    volume[:, :, 1:3] = 2
    volume[:, 1, 3] = 4
    volume[:, :, 4:6] = 2
    volume[:, :, 8] = 2
    tables = tables_of(volume)
    assert len(cc26(tables, 12).rows) == 3
    assert cc26(tables, 6).rows["voxels"].tolist() == [26, 6]


def test_only_the_largest_are_kept() -> None:
    volume = np.zeros((1, 1, 40), np.uint8)
    volume[0, 0, ::2] = 2
    assert len(cc26(tables_of(volume), 12).rows) == 12


def test_an_unknown_separation_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(UnknownMethodError, match="cc26"):
        named("magic")
