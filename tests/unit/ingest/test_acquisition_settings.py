"""What may be said of an acquisition."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.contracts.keys import REGISTER, RESERVED
from services.contracts.values import VoxelSize
from services.ingest.registry import register
from services.ingest.settings import AcquisitionSettings
from services.runtime.store.directory import DirectoryStore


def settings_named(name: str) -> AcquisitionSettings:
    return AcquisitionSettings(acquisition=name, slices=(Path("slices"),), voxel_size=VoxelSize(z_nm=4, y_nm=4, x_nm=4))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_no_acquisition_is_called_what_the_store_calls_its_own_things(name: str) -> None:
    with pytest.raises(ValidationError, match="call the acquisition something else"):
        settings_named(name)


def test_an_acquisition_is_registered_beside_all_acquisitions(tmp_path: Path) -> None:
    with closing(DirectoryStore(tmp_path)) as store:
        register(store, settings_named("ROI1"))
        assert {key.split("/")[0] for key in store.keys("")} == {REGISTER}
