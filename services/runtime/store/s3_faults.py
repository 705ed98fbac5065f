"""What an S3 server's answer, or its silence, means: missing, an outage that may pass, or a set-up to be mended."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3 import exceptions as wire

from services.runtime.errors import SetupError, TransientError
from services.runtime.store.port import ArtefactMissingError

# What the client lets through when a server, or something between, answers badly.
WIRE_FAULTS = (MinioException, wire.HTTPError, OSError, ParseError, UnicodeDecodeError)
TIME_OUTS = (wire.TimeoutError, TimeoutError)

OUTAGE_CODES = frozenset({
    "BadDigest", "IncompleteBody", "InternalError", "OperationAborted", "RequestTimeTooSkewed", "RequestTimeout",
    "ServiceUnavailable", "SlowDown", "SlowDownRead", "SlowDownWrite", "XAmzContentSHA256Mismatch",
    "XMinioAdminBucketQuotaExceeded", "XMinioServerNotInitialized", "XMinioStorageFull",
})  # fmt: skip
OUTAGE_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
CLOCK_SKEW = "RequestTimeTooSkewed"
# Servers refuse signatures whose time is further off than this.
LARGEST_SKEW_S = 15 * 60

ADVICE: Mapping[str, str] = {
    "NoSuchBucket": "run the set-up job, or correct `bucket`",
    "InvalidAccessKeyId": "correct `access_key`, or run the set-up job, which makes the users",
    "SignatureDoesNotMatch": "correct `secret_key`",
    "AccessDenied": "correct the credentials, or give this user the policy of its service (set-up job)",
    "AuthorizationHeaderMalformed": "correct `region`",
    "PermanentRedirect": "correct `endpoint` and `region`",
    "EntityTooLarge": "S3 takes at most 5 GiB in one request",
}
ELSE = "correct `endpoint`; if it is the S3 server, its log says more"
CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"


class StoreSetupError(SetupError):
    """The store can never work as it is set up; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said instead of doing what it was asked.

    Attributes
    ----------
    status
        Of the HTTP answer.
    code, message
        Of S3; empty where something else answered.
    headers
        Of the answer, names in lower case.
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def fault_of(error: Exception, tried: str) -> Exception:
    """Return what a failed request means to the store's caller.

    Parameters
    ----------
    error
        One of `WIRE_FAULTS`.
    tried
        What was asked of which server, for the text.

    Returns
    -------
    Exception
        An `ArtefactMissingError`, `TransientError` or `StoreSetupError`.
    """
    answer = _answer_of(error)
    if answer is not None:
        return _fault_of_answer(answer, tried)
    if isinstance(error, wire.SSLError) and CERTIFICATE in str(error):
        return StoreSetupError(f"{tried}: the server's certificate is not trusted; correct `ca_file` ({error})")
    if isinstance(error, wire.LocationParseError):
        return StoreSetupError(f"{tried}: {error}; correct `endpoint`")
    return TransientError("store", f"{tried}: {type(error).__name__}: {error}")


def is_worth_another_try(error: Exception) -> bool:
    """Whether the same request may succeed at once; after a time-out the caller has waited long enough."""
    return not isinstance(error, TIME_OUTS)


def _answer_of(error: Exception) -> Answer | None:
    if isinstance(error, S3Error):
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        return Answer(error.response.status, error.code or "", error.message or "", headers)
    if isinstance(error, ServerError):
        return Answer(error.status_code, "", str(error))
    if isinstance(error, InvalidResponseError):
        # The client gives its parts no public name.
        parts = vars(error)
        return Answer(int(parts["_code"]), "", f"{parts['_content_type']}: {(parts['_body'] or '')[:200]}")
    return None


def _fault_of_answer(answer: Answer, tried: str) -> Exception:
    said = f"{tried}: {answer.status} {answer.code} {answer.message}".rstrip()
    skew_s = _skew_s(answer)
    if answer.code == CLOCK_SKEW or abs(skew_s) > LARGEST_SKEW_S:
        return TransientError(
            "store", f"{said}: the clocks of this machine and of the server differ by {skew_s:.0f} s; set them right"
        )
    if answer.code == "NoSuchKey":
        return ArtefactMissingError(said)
    if (
        answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR and answer.status != HTTPStatus.NOT_IMPLEMENTED
    ) or answer.status in OUTAGE_STATUSES:
        return TransientError("store", said)
    if answer.code in OUTAGE_CODES:
        return TransientError("store", said)
    return StoreSetupError(f"{said}: {ADVICE.get(answer.code, ELSE)}")


def _skew_s(answer: Answer) -> float:
    """Return how far this machine's clock is ahead, in seconds, where the server refused and told its time.

    The answer to a HEAD has no body, so a refusal for the clock looks like any other one.
    """
    if answer.status != HTTPStatus.FORBIDDEN or "date" not in answer.headers:
        return 0.0
    try:
        served = email.utils.parsedate_to_datetime(answer.headers["date"])
    except ValueError:
        return 0.0
    return time.time() - served.timestamp()
