"""Settings of the S3 store: what is refused, what is never shown, what follows from them."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from services.runtime.store.s3_settings import S3Settings
from services.runtime.store.s3_setup import ACCESS, S3User, policy_of

KNOWN: dict[str, object] = {"endpoint": "http://minio:9000", "access_key": "u", "secret_key": "hidden-secret"}


def settings(**changes: object) -> S3Settings:
    return S3Settings.model_validate(KNOWN | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": "minio:9000"},
        {"endpoint": "http://minio:9000/path"},
        {"endpoint": "http://user:secret@minio:9000"},
        {"access_key": ""},
        {"bucket": "ab"},
        {"bucket": "Capitals"},
        {"prefix": "/a"},
        {"prefix": "../a"},
        {"ca_file": "authority.crt"},
        {"connections": 0},
        {"attempts": 0},
        {"read_timeout_s": 0},
        {"least_bytes_per_s": 0},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(**changes)


def test_a_secret_is_shown_by_nothing() -> None:
    assert "hidden-secret" not in f"{settings()!r} {settings()} {settings().model_dump_json()}"
    with pytest.raises(ValidationError) as refused:
        settings(secret_key=["hidden-secret"])
    assert "hidden-secret" not in str(refused.value)


def test_a_transfer_may_take_the_time_out_and_what_its_size_takes_at_the_least_rate() -> None:
    assert settings(read_timeout_s=30.0, least_bytes_per_s=1e6).transfer_s(5_000_000) == 35.0


def test_names_in_the_bucket_carry_the_prefix() -> None:
    assert settings().object_name("a/b") == "a/b"
    assert settings(prefix="site/a").object_name("a/b") == "site/a/a/b"


def test_a_policy_names_only_its_deployment() -> None:
    for service in ACCESS:
        statements = policy_of(service, settings(bucket="store", prefix="site"))["Statement"]
        assert isinstance(statements, list)
        for statement in statements:
            actions, resources = statement["Action"], statement["Resource"]
            assert actions in (["s3:ListBucket"], ["s3:GetObject"], ["s3:PutObject"])
            if actions != ["s3:ListBucket"]:
                assert all(resource.startswith("arn:aws:s3:::store/site/") for resource in resources)


@pytest.mark.parametrize("changes", [{"access_key": "ab"}, {"secret_key": SecretStr("short")}], ids=str)
def test_a_user_that_the_server_would_refuse_is_refused(changes: dict[str, object]) -> None:
    known = {"service": "ingest", "access_key": "ingest", "secret_key": SecretStr("long enough")}
    with pytest.raises(ValidationError):
        S3User.model_validate(known | changes)
