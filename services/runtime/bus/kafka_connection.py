"""Connections to a broker: opened whole or not at all, and their errors told apart: outage, refusal, or a bug."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import kafka.errors as faults
import structlog
from kafka.net.compat import KafkaNetClient

from services.runtime.bus.kafka_settings import KafkaSettings, ms
from services.runtime.clock import SystemClock
from services.runtime.errors import TransientError

log = structlog.get_logger()

Client = TypeVar("Client")

TRY_S = 5.0
TRY_AGAIN_S = 0.1

REFUSALS = (
    faults.AuthorizationError,
    faults.SaslAuthenticationFailedError,
    faults.UnsupportedSaslMechanismError,
    faults.IllegalSaslStateError,
)
# What passes, or is cured by asking again; the last ones befall a producer whose broker lost its log.
OUTAGES = (
    faults.RetriableError,
    faults.BrokerNotAvailableError,
    faults.UnknownBrokerIdError,
    faults.NetworkExceptionError,
    faults.OutOfOrderSequenceNumberError,
    faults.UnknownProducerIdError,
    faults.InvalidProducerIdMappingError,
    faults.InvalidProducerEpochError,
)


class BusRefusedError(Exception):
    """The broker, or its certificate, was refused: no waiting cures that, somebody must set it right."""


@contextmanager
def faults_told_apart(settings: KafkaSettings) -> Iterator[None]:
    """Turn what passes into `TransientError`, and what must be set right into `BusRefusedError`."""
    try:
        yield
    except REFUSALS as refusal:
        raise BusRefusedError(
            f"the broker at {settings.bootstrap} refuses user {settings.user!r} ({refusal}): "
            "check user, password and what the user may do"
        ) from refusal
    except OUTAGES as outage:
        raise TransientError("bus", f"{settings.bootstrap}: {type(outage).__name__}: {outage}") from outage


def opened(settings: KafkaSettings, make: Callable[..., Client], **options: object) -> Client:
    """Return a client that has spoken with a broker.

    Parameters
    ----------
    settings
        Where the broker is.
    make
        One of kafka-python's client classes.
    **options
        Options besides those of the connection.

    Raises
    ------
    kafka.errors.KafkaError
        If no broker answers in time.
    BusRefusedError
        If the certificate of the broker is not to be trusted.
    """
    begun: list[KafkaNetClient] = []

    def begin(**configuration: object) -> KafkaNetClient:
        begun.append(KafkaNetClient(**configuration))
        return begun[-1]

    try:
        return make(kafka_client=begin, **settings.connection(), **options)
    except faults.KafkaError:
        # kafka-python says no more than that time is up, whatever kept it out.
        try:
            _refuse_bad_certificate(settings)
            _refuse_bad_password(settings, begun)
        finally:
            # The constructor leaves its thread running when it gives up: a long outage would collect thousands.
            for client in begun:
                client.close()
        raise


def _refuse_bad_certificate(settings: KafkaSettings) -> None:
    """Raise if it is the broker's certificate that keeps us out."""
    context = settings.tls()
    if context is None:
        return
    host, _, port = settings.servers[0].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), settings.request_timeout_s) as plain:
            context.wrap_socket(plain, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        raise BusRefusedError(
            f"the certificate of {settings.servers[0]} is not to be trusted ({error.verify_message}): "
            "check ca_file and the host name"
        ) from error
    except OSError:
        return


def _refuse_bad_password(settings: KafkaSettings, begun: Sequence[KafkaNetClient]) -> None:
    """Raise if it is the user that keeps us out, by connecting again and hearing the answer."""
    if settings.user is None or not begun:
        return
    manager = begun[-1]._manager  # noqa: SLF001 (the client tells nobody why it was not let in)
    node = manager.cluster.bootstrap_brokers()[0].node_id

    async def connect() -> None:
        manager.reset_backoff(node)
        await manager.get_connection(node, timeout_ms=ms(TRY_S))

    clock = SystemClock()
    deadline_s = clock.monotonic_s() + TRY_S
    while clock.monotonic_s() < deadline_s:
        try:
            manager.run(connect)
        except REFUSALS:
            raise
        except faults.KafkaError as error:
            # The broker hangs up on whom it refuses, and the client does not always read the answer first.
            log.debug("not_connected", error=repr(error))
            clock.wait(TRY_AGAIN_S)
        else:
            return
