"""Connections to a broker: opened whole or not at all, and their errors told apart: outage, refusal, or a bug."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import kafka.errors as faults
from kafka.net.compat import KafkaNetClient

from services.runtime.bus.kafka_settings import KafkaSettings
from services.runtime.errors import SetupError, TransientError

Client = TypeVar("Client")

# Questions of Kafka's protocol, by their numbers.
SASL_HANDSHAKE = 17
SASL_AUTHENTICATE = 36

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


class BusRefusedError(SetupError):
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
            _refuse_what_waiting_does_not_cure(settings)
        finally:
            # The constructor leaves its thread running when it gives up: a long outage would collect thousands.
            for client in begun:
                client.close()
        raise


def _refuse_what_waiting_does_not_cure(settings: KafkaSettings) -> None:
    """Raise if it is the broker's certificate, or our password, that keeps us out.

    The broker hangs up on whom it refuses, and kafka-python rarely reads its reason first: so the same question is
    asked here once more, and the answer read in peace.
    """
    context = settings.tls()
    if context is None:
        return
    host, _, port = settings.servers[0].rpartition(":")
    address = (host, int(port))
    try:
        with (
            socket.create_connection(address, settings.request_timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as line,
        ):
            refusal = _refusal(line, settings)
    except ssl.SSLCertVerificationError as error:
        raise BusRefusedError(
            f"the certificate of {settings.servers[0]} is not to be trusted ({error.verify_message}): "
            "check ca_file and the host name"
        ) from error
    except OSError:
        return
    if refusal is not None:
        raise refusal


def _refusal(line: socket.socket, settings: KafkaSettings) -> faults.KafkaError | None:
    """Return what the broker says against our user and password, if anything."""
    if settings.user is None or settings.password is None:
        return None
    _exchange(line, SASL_HANDSHAKE, 1, struct.pack(">h", 5) + b"PLAIN")
    token = f"\0{settings.user}\0{settings.password.get_secret_value()}".encode()
    answer = _exchange(line, SASL_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
    # A number that says which question this answers, then the error.
    (code,) = struct.unpack_from(">h", answer, 4)
    return faults.for_code(code)() if code else None


def _exchange(line: socket.socket, question: int, version: int, body: bytes) -> bytes:
    """Return the broker's answer to one question of its protocol."""
    asked = struct.pack(">hhih", question, version, 1, -1) + body
    line.sendall(struct.pack(">i", len(asked)) + asked)
    with line.makefile("rb") as answers:
        (size,) = struct.unpack(">i", answers.read(4).rjust(4, b"\0"))
        answer = answers.read(size)
    if not size or len(answer) < size:
        raise ConnectionResetError(f"the broker hung up in answer {question}")
    return answer
