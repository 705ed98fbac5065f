"""How the Kafka adapter finds and treats its broker."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Seconds = Annotated[float, Field(gt=0)]


class KafkaSettings(BaseModel):
    """Where the broker is, how it is spoken to, and how long anything may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: str = Field(min_length=1, description="host:port of a broker; several are separated by commas")
    security: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="PLAINTEXT within one private network only; SASL_SSL with user and password"
    )
    ca_file: Path | None = Field(default=None, description="authorities to trust, PEM; none: those of the system")
    user: str | None = Field(default=None, description="user name for SASL_SSL")
    password: SecretStr | None = Field(default=None, description="password for SASL_SSL")
    replication: Annotated[int, Field(ge=1)] = Field(default=1, description="copies of each topic, for new topics")
    min_insync: Annotated[int, Field(ge=1)] = Field(default=1, description="copies that must acknowledge a record")
    max_message_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=2 * 1024 * 1024, description="largest record with its headers"
    )
    request_timeout_s: Seconds = Field(default=10.0, description="an answer that takes longer is an outage")
    delivery_timeout_s: Seconds = Field(
        default=25.0, description="records not acknowledged by then are given back to the caller as an outage"
    )
    session_timeout_s: Seconds = Field(default=45.0, description="a member not heard of for so long is taken for dead")
    heartbeat_s: Seconds = Field(default=3.0, description="time between two signs of life")
    rebalance_timeout_s: Seconds = Field(
        default=900.0, description="how long the group waits for work in hand before it shares out without its owner"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.security == "SASL_SSL") != (self.user is not None and self.password is not None):
            raise ValueError("user and password go with security SASL_SSL: give all three or none")
        if 3 * self.heartbeat_s > self.session_timeout_s:
            raise ValueError("three heartbeats must fit into the session time-out: one may be lost")
        if self.delivery_timeout_s < self.request_timeout_s:
            raise ValueError("delivery_timeout_s must be at least request_timeout_s: a delivery holds a request")
        if self.min_insync > self.replication:
            raise ValueError("min_insync copies cannot acknowledge where there are only `replication`")
        return self

    @property
    def servers(self) -> list[str]:
        """The brokers to ask first."""
        return [server.strip() for server in self.bootstrap.split(",")]

    def tls(self) -> ssl.SSLContext | None:
        """Return what checks the broker's certificate and host name, or None where nothing is encrypted."""
        if self.security == "PLAINTEXT":
            return None
        return ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))

    def connection(self) -> dict[str, Any]:
        """Return the options that all of kafka-python's clients share."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "client_id": "fibsem-nuclei",
            "request_timeout_ms": ms(self.request_timeout_s),
            "bootstrap_timeout_ms": ms(self.request_timeout_s),
            # A broker that was away for an hour is found again within seconds, a new topic within half a minute.
            "reconnect_backoff_max_ms": 2_000,
            "metadata_max_age_ms": 30_000,
            "security_protocol": self.security,
            "ssl_context": self.tls(),
        }
        if self.user is not None and self.password is not None:
            options |= {
                "sasl_mechanism": "PLAIN",
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password.get_secret_value(),
            }
        return options


def ms(seconds: float) -> int:
    """Return whole milliseconds, at least one.

    >>> ms(0.25)
    250
    """
    return max(1, round(1000 * seconds))
