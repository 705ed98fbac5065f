"""Back-up and restore as deploy/BACKUP.md says it: bus and store lost in mid-run, and the results are the same."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.contracts.values import ArtefactRef
from services.deployed.rebuilding import reconcile
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.port import ArtefactMissingError
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_setup import make_bucket
from tests.support.toy_acquisition import Runner
from tests.system.contract.s3_store_settings import settings_for
from tests.system.deployed import System
from tests.system.invariants import torn_artefacts
from tests.system.servers.kafka import running_kafka
from tests.system.servers.minio import running_minio
from tests.system.servers.provision import require_tool
from tests.system.servers.s3_server import S3Server
from tests.system.servers.torchserve import TorchServeServer

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(1800)]

BUCKET, PREFIX = "fibsem-backed-up", "live"


def copy_volume(folder: Path, to: Path) -> None:
    """Pack the data of a store that is stopped, with owners and times, as `tar -cf` does."""
    with tarfile.open(to, "w") as packed:
        packed.add(folder, arcname=".")


def unpack_volume(packed: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    with tarfile.open(packed) as opened:
        opened.extractall(folder, filter="tar")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[ExitStack]:
    """Servers that come and go."""
    with ExitStack() as running:
        yield running


def test_after_bus_and_store_were_lost_a_volume_copy_gives_the_same_results(
    torchserve: TorchServeServer, slices: Path, local: Runner, tmp_path: Path, machines: ExitStack
) -> None:
    first = ExitStack()
    machines.push(first)
    kafka = first.enter_context(running_kafka(tmp_path / "kafka"))
    minio = first.enter_context(running_minio(tmp_path / "minio"))
    system = System(tmp_path / "logs", kafka, minio, torchserve.url, slices)
    machines.callback(system.stop_all)
    system.set_up()
    system.start_all()
    # The back-up is taken in mid-run: the store stops, the services wait for it and go on.
    system.await_segmented(20)
    minio.process.stop()
    copy_volume(tmp_path / "minio" / "data", tmp_path / "minio.tar")
    minio.process.start()
    system.await_segmented(35)
    # Then everything is lost, what came after the back-up with it.
    for process in system.processes.values():
        process.kill()
    kafka.kill()
    first.close()
    unpack_volume(tmp_path / "minio.tar", tmp_path / "other" / "minio" / "data")
    system.kafka = machines.enter_context(running_kafka(tmp_path / "other" / "kafka"))
    system.s3 = machines.enter_context(running_minio(tmp_path / "other" / "minio"))
    system.set_up()
    with system.stack() as stack:
        said_again = reconcile(stack)
        # Of what the store held at the back-up nothing is torn, and it is not the end that was kept.
        assert torn_artefacts(stack) == []
        assert len(system.standing(stack).segmented) < 35
    assert said_again[system.acquisition] > 0
    system.start_all()
    system.await_complete()
    assert system.collect(tmp_path / "out") == local.manifest()
    with system.stack() as stack:
        assert torn_artefacts(stack) == []


# ------------------------------------------------------------------------------------------------------- a mirror


def remote(name: str, server: S3Server) -> dict[str, str]:
    """Return the variables that tell rclone of a store, as deploy/BACKUP.md writes them."""
    prefix = f"RCLONE_CONFIG_{name.upper()}"
    return {
        f"{prefix}_TYPE": "s3",
        f"{prefix}_PROVIDER": "Other",
        f"{prefix}_ENDPOINT": f"http://{server.endpoint}",
        f"{prefix}_ACCESS_KEY_ID": server.access_key,
        f"{prefix}_SECRET_ACCESS_KEY": server.secret_key,
    }


def rclone(environment: Mapping[str, str], *arguments: str) -> None:
    program = require_tool("rclone", "apt-get install rclone (1.59 or later)")
    # Nothing of this machine's: what a site has set for AWS would count here.
    subprocess.run([program, "--config", "/dev/null", *arguments], env=dict(environment), check=True, timeout=300)


def fill(store: S3Store) -> dict[ArtefactRef, bytes]:
    """Put artefacts of every size: none, few, and more than rclone sends in one piece."""
    sizes = (0, 1, 1000, 6 * 2**20)
    payloads = {f"roi/raw/z{number:06d}": os.urandom(size) for number, size in enumerate(sizes)}
    return {store.put(key, payload): payload for key, payload in payloads.items()}


def test_a_mirror_by_rclone_is_believed_since_it_keeps_the_hashes(tmp_path: Path, machines: ExitStack) -> None:
    server = machines.enter_context(running_minio(tmp_path / "one"))
    make_bucket(settings_for(server, bucket=BUCKET, prefix=PREFIX))
    store = S3Store(settings_for(server, bucket=BUCKET, prefix=PREFIX), RecordingMetrics())
    machines.callback(store.close)
    kept = fill(store)
    mirror = tmp_path / "mirror"
    rclone(remote("store", server), "copy", "--metadata", "--checksum", f"store:{BUCKET}", str(mirror))
    # What came after is fetched by the second mirroring, which leaves out what is there.
    kept |= {store.put("roi/late", b"late"): b"late"}
    rclone(remote("store", server), "copy", "--metadata", "--checksum", f"store:{BUCKET}", str(mirror))

    other = machines.enter_context(running_minio(tmp_path / "two"))
    make_bucket(settings_for(other, bucket=BUCKET, prefix=PREFIX))
    restored = S3Store(settings_for(other, bucket=BUCKET, prefix=PREFIX), RecordingMetrics())
    machines.callback(restored.close)
    with pytest.raises(ArtefactMissingError):
        restored.get(next(iter(kept)))
    rclone(remote("store", other), "copy", "--metadata", "--checksum", str(mirror), f"store:{BUCKET}")
    for ref, payload in kept.items():
        assert restored.get(ref) == payload
        # A service that finds its artefact asks the store for its hash, which lies in the metadata alone.
        assert restored.find(ref.key) == ref
