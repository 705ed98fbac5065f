"""Settings of stores on the servers of tests, shared by the modules that test them."""

from __future__ import annotations

import secrets

from minio import Minio
from pydantic import SecretStr

from services.runtime.store.s3_settings import S3Settings
from tests.system.servers.s3_server import S3Address

BUCKET = "contract"


def settings_for(server: S3Address, **changes: object) -> S3Settings:
    """Return settings of a deployment of its own in the bucket of all tests."""
    known: dict[str, object] = {
        "endpoint": f"http://{server.endpoint}",
        "access_key": server.access_key,
        "secret_key": SecretStr(server.secret_key),
        "bucket": BUCKET,
        "prefix": secrets.token_hex(4),
    }
    return S3Settings.model_validate(known | changes)


def back_door(server: S3Address) -> Minio:
    """Return the bare client, to look at what the store did."""
    return Minio(server.endpoint, server.access_key, server.secret_key, secure=False, region="us-east-1")
