"""The set-up job on real servers: each service's user does what it must and is refused what it must not."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from minio import Minio
from minio.error import S3Error
from pydantic import SecretStr

from services.contracts import keys
from services.runtime.metrics.recording import RecordingMetrics
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_faults import StoreSetupError
from services.runtime.store.s3_settings import S3Settings
from services.runtime.store.s3_setup import ACCESS, S3User, SetUp, set_up
from tests.system.contract.s3_store_settings import back_door, settings_for
from tests.system.servers.minio import running_minio
from tests.system.servers.s3_server import S3Server
from tests.system.servers.seaweedfs import running_seaweedfs

pytestmark = pytest.mark.system

ACQUISITION = "acquisition-1"
VOLUME = keys.volume_prefix(ACQUISITION, "n0001", "0123456789abcdef")
RAW = keys.raw_key(ACQUISITION, 1, "0" * 64)
OUTLINES = keys.outlines_key(ACQUISITION, 1, "0123456789abcdef")
CROP = keys.crop_key(ACQUISITION, "n0001", 1, "0123456789abcdef")
PLANES = keys.planes_key(ACQUISITION, "n0001", 1, "0123456789abcdef")
DEPTHS = keys.depths_key(ACQUISITION, "n0001", 9, "0123456789abcdef")
COMPONENTS = f"{VOLUME}/components-0123456789abcdef/objects.json"
NETWORK, SET = "models/networks/sc-0123456789ab/card.json", f"models/sets/{'0' * 64}/set.json"
CHECKPOINT = "trainings/requests/r1/checkpoints/sc-0123456789ab/0/last.ckpt"
EVERYTHING = {
    NETWORK,
    SET,
    CHECKPOINT,
    "trainings/files/0123456789abcdef",
    "models/shadow/report.json",
    RAW,
    OUTLINES,
    CROP,
    PLANES,
    DEPTHS,
    f"{VOLUME}/tables",
    f"{VOLUME}/volume.ome.zarr/labels/objects/0/c/0/0/0",
    COMPONENTS,
    f"{ACQUISITION}/ingest/journal/00000000.json",
    f"{ACQUISITION}/requests/asked/r1.json",
    f"{ACQUISITION}/requests/refused/r1.json",
    f"acquisitions/{ACQUISITION}/settings.json",
    f"{ACQUISITION}/steps/extract-follow/00000000",
    f"{ACQUISITION}/nuclei/n0001/steps/postprocess/00000000",
    "runtime/attempts/inference-0.json",
    "dead-letters/inference/0123456789abcdef",
    "dead-letters/ingest/0123456789abcdef",
}
MAY_PUT = {
    "ingest": {
        RAW,
        f"{ACQUISITION}/ingest/journal/00000000.json",
        f"{ACQUISITION}/requests/refused/r1.json",
        f"acquisitions/{ACQUISITION}/settings.json",
        "dead-letters/ingest/0123456789abcdef",
    },
    "extract-detect": {OUTLINES},
    "extract-follow": {CROP, DEPTHS, f"{ACQUISITION}/steps/extract-follow/00000000"},
    "inference": {PLANES, "runtime/attempts/inference-0.json", "dead-letters/inference/0123456789abcdef"},
    "postprocess": {
        f"{VOLUME}/tables",
        f"{VOLUME}/volume.ome.zarr/labels/objects/0/c/0/0/0",
        COMPONENTS,
        f"{ACQUISITION}/nuclei/n0001/steps/postprocess/00000000",
    },
    "components": {f"{VOLUME}/volume.ome.zarr/labels/objects/0/c/0/0/0", COMPONENTS},
    "trainer": {NETWORK, SET, CHECKPOINT, "models/shadow/report.json"},
    "shadow": {"models/shadow/report.json"},
    "torchserve": set(),
    "operator": {
        f"{ACQUISITION}/requests/asked/r1.json",
        NETWORK,
        SET,
        CHECKPOINT,
        "trainings/files/0123456789abcdef",
        "models/shadow/report.json",
    },
}
MUST_GET = {
    "ingest": {f"{ACQUISITION}/ingest/journal/00000000.json", f"{ACQUISITION}/requests/asked/r1.json"},
    "extract-detect": {RAW, OUTLINES},
    "extract-follow": {RAW, OUTLINES, SET, f"{ACQUISITION}/steps/extract-follow/00000000"},
    "inference": {CROP, PLANES, NETWORK, SET, "runtime/attempts/inference-0.json"},
    "postprocess": {CROP, PLANES, SET, f"{ACQUISITION}/nuclei/n0001/steps/postprocess/00000000"},
    "components": {f"{VOLUME}/tables", COMPONENTS, DEPTHS},
    "trainer": {NETWORK, SET, CHECKPOINT, "trainings/files/0123456789abcdef"},
    "shadow": {CROP, PLANES, NETWORK, SET},
    "torchserve": {NETWORK, SET},
    "operator": EVERYTHING,
}
MUST_NOT_GET = {
    "ingest": {CROP, PLANES},
    "extract-detect": {CROP, PLANES},
    "extract-follow": {PLANES, NETWORK},
    "inference": {RAW, DEPTHS, f"{VOLUME}/tables"},
    "postprocess": {RAW, OUTLINES},
    "components": {RAW, CROP, PLANES},
    "trainer": {RAW, CROP, PLANES},
    "shadow": {RAW, f"{VOLUME}/tables"},
    "torchserve": {RAW, CROP, CHECKPOINT},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_minio(tmp_path_factory.mktemp("minio")) as running:
        yield running


@pytest.fixture(scope="module")
def settings(server: S3Server) -> S3Settings:
    return settings_for(server, bucket="set-up", prefix="site-a")


@pytest.fixture(scope="module")
def users() -> list[S3User]:
    return [
        S3User(service=service, access_key=service, secret_key=SecretStr(secrets.token_hex(16))) for service in ACCESS
    ]


@pytest.fixture(scope="module")
def done(settings: S3Settings, users: list[S3User]) -> SetUp:
    return set_up(settings, users)


@pytest.fixture
def admin_store(settings: S3Settings, done: SetUp) -> Iterator[S3Store]:
    store = S3Store(settings, RecordingMetrics())
    yield store
    store.close()


def as_user(settings: S3Settings, user: S3User) -> S3Settings:
    return settings.model_copy(update={"access_key": user.access_key, "secret_key": user.secret_key})


@pytest.fixture(params=sorted(ACCESS))
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(settings: S3Settings, users: list[S3User], done: SetUp, service: str) -> Iterator[S3Store]:
    user = next(user for user in users if user.service == service)
    store = S3Store(as_user(settings, user), RecordingMetrics())
    yield store
    store.close()


def test_every_service_has_a_user(done: SetUp) -> None:
    assert done.bucket_was_made
    assert set(done.users) == set(ACCESS)


def test_running_the_job_again_changes_nothing(settings: S3Settings, users: list[S3User], done: SetUp) -> None:
    again = set_up(settings, users)
    assert not again.bucket_was_made
    assert again.users == done.users


def test_a_service_puts_its_own_artefacts_and_no_others(store: S3Store, service: str) -> None:
    for key in sorted(MAY_PUT[service]):
        store.put(key, b"bytes")
    for key in sorted(EVERYTHING - MAY_PUT[service]):
        with pytest.raises(StoreSetupError, match="AccessDenied"):
            store.put(key, b"bytes")


def test_a_service_gets_what_it_works_on_and_not_the_rest(admin_store: S3Store, store: S3Store, service: str) -> None:
    for key in MUST_GET[service]:
        ref = admin_store.put(key, b"bytes")
        assert store.find(key) == ref
        assert store.get(ref) == b"bytes"
    for key in MUST_NOT_GET.get(service, set()):
        ref = admin_store.put(key, b"bytes")
        with pytest.raises(StoreSetupError, match="AccessDenied"):
            store.get(ref)


def test_a_service_is_told_what_is_missing(store: S3Store, service: str) -> None:
    for key in MUST_GET[service]:
        absent = key.replace(ACQUISITION, "acquisition-9").replace("-0.json", "-9.json").replace("0" * 64, "9" * 64)
        assert store.find(absent if absent != key else f"{key}0") is None
    assert isinstance(list(store.keys(f"{ACQUISITION}/steps/{service}")), list)


def test_a_service_removes_nothing_and_sees_no_other_deployment(
    server: S3Server, settings: S3Settings, users: list[S3User], done: SetUp, admin_store: S3Store
) -> None:
    admin_store.put(RAW, b"bytes")
    name = settings.object_name(RAW)
    elsewhere = f"site-b/{RAW}"
    back_door(server).put_object(settings.bucket, elsewhere, io.BytesIO(b"bytes"), 5)
    for user in users:
        client = Minio(
            server.endpoint, user.access_key, user.secret_key.get_secret_value(), secure=False, region="us-east-1"
        )
        refused: list[Callable[[], object]] = [
            partial(client.remove_object, settings.bucket, name),
            partial(client.get_object, settings.bucket, elsewhere),
            partial(client.put_object, settings.bucket, elsewhere, io.BytesIO(b"bytes"), 5),
            partial(client.make_bucket, "another"),
        ]
        for do in refused:
            with pytest.raises(S3Error, match="AccessDenied"):
                do()


def test_a_service_that_is_not_in_the_table_is_refused(settings: S3Settings) -> None:
    user = S3User(service="inferense", access_key="inferense", secret_key=SecretStr("12345678"))
    with pytest.raises(StoreSetupError, match="inferense"):
        set_up(settings, [user])


def test_users_that_may_not_administer_are_told_so(settings: S3Settings, users: list[S3User], done: SetUp) -> None:
    with pytest.raises(StoreSetupError, match="may administer"):
        set_up(as_user(settings, users[0]), users)


def test_a_server_without_users_says_so_and_keeps_no_secret(
    tmp_path_factory: pytest.TempPathFactory, users: list[S3User]
) -> None:
    with running_seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as other:
        settings = settings_for(other, bucket="set-up")
        done = set_up(settings, users)
        assert done.bucket_was_made
        assert done.users == ()
        assert "one user exists" in done.note
        # Asking it to make a user would have stored the request as an object, secret and all.
        assert [bucket.name for bucket in back_door(other).list_buckets()] == ["set-up"]
        assert not set_up(settings, users).bucket_was_made
