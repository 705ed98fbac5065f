"""Bus, store and model server over TLS with an authority of the site's own: the same results, and nothing in clear."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.runtime.deployment import store_of
from services.runtime.errors import TransientError
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.segmenter.torchserve import TorchServeSegmenter
from services.runtime.store.s3_faults import StoreSetupError
from tests.support.toy_acquisition import Runner
from tests.system.deployed import System, deployment_of
from tests.system.servers.kafka import USER, KafkaServer, Security, make_authority, running_kafka
from tests.system.servers.minio import running_minio
from tests.system.servers.s3_server import S3Server
from tests.system.servers.torchserve import TorchServeServer, running_torchserve

pytestmark = [pytest.mark.system, pytest.mark.full, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class SecureServers:
    """Three servers that one authority vouches for."""

    ca_file: Path
    password: str
    kafka: KafkaServer
    minio: S3Server
    torchserve: TorchServeServer

    def variables(self) -> dict[str, str]:
        """Return what a site sets to speak to them."""
        ca_file = str(self.ca_file)
        return {
            "FIBSEM_KAFKA__SECURITY": "SASL_SSL",
            "FIBSEM_KAFKA__CA_FILE": ca_file,
            "FIBSEM_KAFKA__USER": USER,
            "FIBSEM_KAFKA__PASSWORD": self.password,
            "FIBSEM_S3__ENDPOINT": f"https://{self.minio.endpoint}",
            "FIBSEM_S3__CA_FILE": ca_file,
            "FIBSEM_TORCHSERVE__CA_FILE": ca_file,
        }


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[SecureServers]:
    made = tmp_path / "certificates"
    ca_file, keystore = make_authority(made)
    minio_names = {"server.pem": "public.crt", "server.key": "private.key", "ca.pem": "authority.crt"}
    (tmp_path / "of-minio").mkdir()
    for name, wanted in minio_names.items():
        shutil.copy(made / name, tmp_path / "of-minio" / wanted)
    password = secrets.token_hex(16)
    with (
        running_kafka(tmp_path / "kafka", Security(keystore, password)) as kafka,
        running_minio(tmp_path / "minio", tmp_path / "of-minio") as minio,
        running_torchserve(tmp_path / "torchserve", certificates=made) as torchserve,
    ):
        yield SecureServers(ca_file, password, kafka, minio, torchserve)


def test_over_tls_with_an_authority_of_the_site_the_manifest_is_that_of_a_local_run(
    servers: SecureServers, slices: Path, local: Runner, tmp_path: Path
) -> None:
    system = System(
        tmp_path / "logs", servers.kafka, servers.minio, servers.torchserve.url, slices, extra=servers.variables()
    )
    system.set_up()
    system.start_all()
    try:
        system.await_complete()
        assert system.collect(tmp_path / "out") == local.manifest()
    finally:
        system.stop_all()
    assert servers.torchserve.url.startswith("https://")
    refuse_those_of_another_authority(system, servers, tmp_path / "other")


def refuse_those_of_another_authority(system: System, servers: SecureServers, folder: Path) -> None:
    """Whoever trusts another authority speaks to none of the three."""
    other, _ = make_authority(folder)
    distrusting = deployment_of(
        system.environment("operator") | {"FIBSEM_S3__CA_FILE": str(other), "FIBSEM_TORCHSERVE__CA_FILE": str(other)}
    )
    assert distrusting.torchserve is not None
    store = store_of(distrusting, RecordingMetrics())
    with pytest.raises(StoreSetupError, match="ca_file"):
        list(store.keys(""))
    store.close()
    with (
        TorchServeSegmenter(distrusting.torchserve, RecordingMetrics()) as segmenter,
        pytest.raises(TransientError, match=r"tls|certificate"),
    ):
        segmenter.model_set()
