"""Settings of the Kafka adapter refuse what cannot work, and keep the password to themselves."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from services.runtime.bus.kafka_settings import KafkaSettings

SECURE: dict[str, Any] = {"security": "SASL_SSL", "user": "fibsem", "password": SecretStr("hidden")}


def test_only_the_address_is_needed() -> None:
    options = KafkaSettings(bootstrap="one:9092, two:9092").connection()
    assert options["bootstrap_servers"] == ["one:9092", "two:9092"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert options["ssl_context"] is None
    assert "sasl_plain_password" not in options


def test_a_secure_connection_checks_certificate_and_host_name() -> None:
    options = KafkaSettings(bootstrap="one:9092", **SECURE).connection()
    assert options["ssl_context"].check_hostname
    assert options["sasl_plain_password"] == "hidden"


def test_the_password_is_not_shown() -> None:
    assert "hidden" not in repr(KafkaSettings(bootstrap="one:9092", **SECURE))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"user": "fibsem", "password": "hidden"}, "give all three or none"),
        ({"security": "SASL_SSL"}, "give all three or none"),
        ({"security": "SASL_SSL", "user": "fibsem"}, "give all three or none"),
        ({"session_timeout_s": 8.0}, "three heartbeats"),
        ({"delivery_timeout_s": 5.0}, "at least request_timeout_s"),
        ({"min_insync": 2}, "min_insync"),
        ({"request_timeout_s": 0.0}, "greater than 0"),
        ({"brokers": "typo"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        KafkaSettings(bootstrap="one:9092", **wrong)
