"""The process of ingest tells which dependency holds it up, so that somebody is called."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.contracts.topics import TOPICS
from services.ingest.__main__ import IngestProcess
from services.ingest.settings import AcquisitionSettings
from services.runtime.bus.sqlite import SqliteBus
from services.runtime.clock import ManualClock
from services.runtime.deployment import Deployment
from services.runtime.hosting import Site
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.store.directory import DirectoryStore
from tests.support.ingest_bench import VOXEL


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    clock, metrics = ManualClock(), PrometheusMetrics()
    bus, store = SqliteBus(clock=clock), DirectoryStore(tmp_path / "store")
    bus.create_topics(TOPICS)
    deployment = Deployment.model_construct(member="0")
    with ExitStack() as resources:
        resources.callback(bus.close)
        resources.callback(store.close)
        yield Site(deployment, bus, store, metrics, clock, threading.Event(), resources)


def told(site: Site) -> str:
    return site.metrics.render().decode()


def test_the_room_of_every_folder_is_told_whatever_it_is_called(site: Site, tmp_path: Path) -> None:
    folders = (tmp_path / "roi1" / "slices", tmp_path / "roi2" / "slices")
    for folder in folders:
        folder.mkdir(parents=True)
    process = IngestProcess(site, AcquisitionSettings(acquisition="roi", slices=folders, voxel_size=VOXEL), watch=True)
    turn(process, site)
    process.measure()
    for folder in folders:
        assert f'fibsem_disk_free_bytes{{volume="{folder}"}}' in told(site)


def turn(process: IngestProcess, site: Site) -> None:
    assert isinstance(site.clock, ManualClock)
    site.clock.advance(60.0)
    process.step()


def test_a_share_that_is_away_is_told_until_it_is_back(site: Site, tmp_path: Path) -> None:
    slices, away = tmp_path / "slices", tmp_path / "away"
    slices.mkdir()
    acquisition = AcquisitionSettings(acquisition="roi", slices=(slices,), voxel_size=VOXEL)
    process = IngestProcess(site, acquisition, watch=True)
    turn(process, site)
    assert "fibsem_dependency_up{" not in told(site)
    slices.rename(away)
    turn(process, site)
    turn(process, site)
    assert 'fibsem_dependency_up{dependency="disk"} 0.0' in told(site)
    assert 'fibsem_dependency_retries_total{dependency="disk"} 2.0' in told(site)
    assert process.paused
    away.rename(slices)
    turn(process, site)
    assert 'fibsem_dependency_up{dependency="disk"} 1.0' in told(site)
    assert not process.paused
