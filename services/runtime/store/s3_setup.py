"""The set-up job of the distributed store: the bucket, and one user per service that may do what it must.

Run by whoever holds the server's first user; running it again changes nothing but what changed in its settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, S3Error
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from services.contracts import keys
from services.runtime.errors import TransientError
from services.runtime.store.s3_faults import WIRE_FAULTS, StoreSetupError, fault_of
from services.runtime.store.s3_settings import S3Settings
from services.runtime.store.s3_wire import pool_of

SAME_BUCKET = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
RAW = "*/raw/*"
OUTLINES = "*/outlines/*"
# What detection leaves of a slice besides.
SLICES = ("*/quality/*", "*/digests/*")
CROPS = "*/nuclei/*/crops/*"
PLANES = "*/nuclei/*/planes/*"
DEPTHS = "*/nuclei/*/depths/*"
VOLUMES = "*/nuclei/*/volume-*"
REGISTER = f"{keys.REGISTER}/*"
# What the follower knows of the nuclei so far.
HISTORIES = f"{keys.REGISTER}/*/nuclei.json"
MODELS = f"{keys.MODELS}/*"
SETS = f"{keys.MODELS}/sets/*"
TRAININGS = f"{keys.TRAININGS}/*"


@dataclass(frozen=True, slots=True)
class Access:
    """What a service may do with artefacts, as patterns of keys in which `*` stands for anything.

    Every service may list the bucket: what is missing must be told from what is forbidden. None may delete.

    Attributes
    ----------
    reads, writes
        Keys that it gets, and that it puts.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]


def _of_a_handler(name: str, reads: Sequence[str], writes: Sequence[str]) -> Access:
    """Add what the runtime keeps for every service that hears a topic: attempts, dead letters, steps."""
    kept = (f"{keys.RUNTIME}/attempts/{name}-*.json", f"*/steps/{name}/*")
    return Access((*reads, *kept), (*writes, *kept, f"{keys.DEAD_LETTERS}/{name}/*"))


ACCESS: Mapping[str, Access] = {
    "ingest": Access(
        reads=("*/ingest/*", "*/requests/*", REGISTER),
        writes=(RAW, "*/ingest/*", "*/requests/refused/*", REGISTER, f"{keys.DEAD_LETTERS}/ingest/*"),
    ),
    "extract-detect": _of_a_handler("extract-detect", [RAW, OUTLINES, *SLICES], [OUTLINES, *SLICES]),
    "extract-follow": _of_a_handler(
        "extract-follow", [RAW, OUTLINES, *SLICES, SETS, HISTORIES], [CROPS, DEPTHS, HISTORIES]
    ),
    "inference": _of_a_handler("inference", [CROPS, PLANES, MODELS], [PLANES]),
    "postprocess": _of_a_handler("postprocess", [CROPS, PLANES, SETS], [VOLUMES]),
    "components": _of_a_handler(
        "components", [VOLUMES, DEPTHS], [f"{VOLUMES}/components-*", f"{VOLUMES}/volume.ome.zarr/labels/*"]
    ),
    "trainer": _of_a_handler("trainer", [TRAININGS, MODELS], [f"{keys.TRAININGS}/requests/*", MODELS]),
    # Runs the candidate of a comparison beside inference.
    "shadow": _of_a_handler("shadow", [CROPS, PLANES, MODELS], [f"{keys.MODELS}/shadow/*"]),
    # The model server fetches the sets that it serves besides its own.
    "torchserve": Access((MODELS,), ()),
    # Whoever collects results, looks at dead letters, asks ingest or the trainer for something, publishes models or
    # rebuilds the bus.
    "operator": _of_a_handler("results", ["*"], ["*/requests/asked/*", "*/ingest/published.json", MODELS, TRAININGS]),
}


class S3User(BaseModel):
    """The user of one service."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    service: str = Field(description="a service of the table of access")
    access_key: Annotated[str, StringConstraints(min_length=3, max_length=20)] = Field(description="name of the user")
    secret_key: SecretStr = Field(min_length=8, max_length=40, description="its secret; running again replaces it")


@dataclass(frozen=True, slots=True)
class SetUp:
    """What the job did.

    Attributes
    ----------
    bucket_was_made
        Whether it was not there before.
    users
        Services that have a user of their own now.
    note
        What whoever runs the job should know.
    """

    bucket_was_made: bool
    users: tuple[str, ...]
    note: str


def set_up(settings: S3Settings, users: Sequence[S3User]) -> SetUp:
    """Make the bucket, and the users on a server where that can be done from outside (MinIO).

    Parameters
    ----------
    settings
        The store, with credentials that may do everything.
    users
        One for each service that should have one.

    Raises
    ------
    StoreSetupError
        If the credentials may not do that, or a service is not in the table.
    TransientError
        If the server is out of reach.
    """
    unknown = sorted({user.service for user in users} - ACCESS.keys())
    if unknown:
        raise StoreSetupError(f"no service is called {', '.join(unknown)}; there are {', '.join(sorted(ACCESS))}")
    was_made = make_bucket(settings)
    if not users:
        return SetUp(was_made, (), "no users were asked for: every service shares the first one")
    admin = _admin(settings)
    if not _has_admin_api(admin, settings):
        return SetUp(
            was_made, (), f"{settings.endpoint} has no MinIO admin API: one user exists, which every service shares"
        )
    for user in users:
        _make_user(admin, settings, user)
    return SetUp(was_made, tuple(user.service for user in users), "each service may do what its row of access says")


def make_bucket(settings: S3Settings) -> bool:
    """Make the bucket unless it is there; return whether it was made.

    Raises
    ------
    StoreSetupError, TransientError
        As `set_up`.
    """
    client = Minio(
        settings.address,
        credentials=_credentials(settings),
        secure=settings.is_secure,
        region=settings.region,
        http_client=pool_of(settings),
    )
    with _translated(settings, f"make bucket {settings.bucket}"):
        if client.bucket_exists(settings.bucket):
            return False
        try:
            client.make_bucket(settings.bucket)
        except S3Error as error:
            if error.code not in SAME_BUCKET:
                raise
            return False
        return True


def policy_of(service: str, settings: S3Settings) -> dict[str, object]:
    """Return the policy of a service in the language of S3.

    Parameters
    ----------
    service
        A name of the table of access.
    settings
        Bucket and prefix.
    """
    access = ACCESS[service]
    bucket = f"arn:aws:s3:::{settings.bucket}"

    def objects(patterns: Sequence[str]) -> list[str]:
        return sorted(f"{bucket}/{settings.object_name(pattern)}" for pattern in patterns)

    statements = [
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [bucket]},
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": objects(access.reads)},
        {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": objects(access.writes)},
    ]
    return {"Version": "2012-10-17", "Statement": [statement for statement in statements if statement["Resource"]]}


def _credentials(settings: S3Settings) -> StaticProvider:
    return StaticProvider(settings.access_key, settings.secret_key.get_secret_value())


def _admin(settings: S3Settings) -> MinioAdmin:
    return MinioAdmin(
        endpoint=settings.address,
        credentials=_credentials(settings),
        region=settings.region,
        secure=settings.is_secure,
        http_client=pool_of(settings),
    )


def _has_admin_api(admin: MinioAdmin, settings: S3Settings) -> bool:
    """Ask by reading: to a server without the API a written user is an object like any other, secret and all."""
    try:
        with _translated(settings, "list policies"):
            return isinstance(json.loads(admin.policy_list()), dict)
    except (StoreSetupError, json.JSONDecodeError):
        # Refused by MinIO is another thing than not understood by another server.
        if _is_minio(settings):
            raise
        return False


def _is_minio(settings: S3Settings) -> bool:
    with _translated(settings, "ask for the server's health"):
        return bool(pool_of(settings).request("GET", f"{settings.endpoint}/minio/health/live").status == HTTPStatus.OK)


def _make_user(admin: MinioAdmin, settings: S3Settings, user: S3User) -> None:
    name = "-".join(["fibsem", settings.bucket, *settings.object_name(user.service).split("/")])
    with _translated(settings, f"make user {user.access_key}"):
        admin.policy_add(name, policy=policy_of(user.service, settings))
        admin.user_add(user.access_key, user.secret_key.get_secret_value())
        admin.policy_set(name, user=user.access_key)


@contextmanager
def _translated(settings: S3Settings, tried: str) -> Iterator[None]:
    tried = f"{tried} at {settings.endpoint}"
    try:
        yield
    except MinioAdminException as error:
        # The client gives its parts no public name.
        status, said = vars(error)["_code"], vars(error)["_body"]
        if int(status) >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientError("store", f"{tried}: {status} {said}") from error
        raise StoreSetupError(f"{tried}: {status} {said}: use credentials that may administer the server") from error
    except WIRE_FAULTS as error:
        raise fault_of(error, tried) from error
