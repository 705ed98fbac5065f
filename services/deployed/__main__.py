"""The set-up job of a deployed system: ``python -m services.deployed``; running it again changes nothing.

It makes the topics that the registry declares, the bucket, and one user per service that may do what it must, and keeps
the networks that come with this release: nuclei that are open when another one is set up keep them.
Told by `FIBSEM_*` variables; the store's are those of its owner here, and of the service's own user elsewhere.
"""

import sys
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import Field, SecretStr, ValidationError

from services.contracts.topics import TOPICS
from services.runtime.bus.kafka import KafkaBus
from services.runtime.clock import SystemClock
from services.runtime.deployment import Deployment
from services.runtime.errors import TransientError
from services.runtime.logging import configure
from services.runtime.metrics.prometheus import PrometheusMetrics
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.shelf import ModelShelf
from services.runtime.store.s3 import S3Store
from services.runtime.store.s3_setup import S3User, set_up

log = structlog.get_logger()

PATIENCE_S = 180.0
PAUSE_S = 2.0


class SetUpDeployment(Deployment):
    """Settings of the job."""

    users: Annotated[
        dict[str, SecretStr],
        Field(default_factory=dict, description="secret of each service's user of the store, by its name"),
    ]


def prepare(settings: SetUpDeployment) -> str:
    """Make topics, bucket and users; return what whoever runs the job should know.

    Raises
    ------
    TransientError
        If a server does not answer yet.
    """
    bus = KafkaBus(settings.kafka)
    try:
        bus.create_topics(TOPICS)
    finally:
        bus.close()
    users = [
        S3User(service=name, access_key=name, secret_key=secret) for name, secret in sorted(settings.users.items())
    ]
    note = set_up(settings.s3, users).note
    store = S3Store(settings.s3, PrometheusMetrics())
    try:
        keep_networks(ModelShelf(store), settings.models)
    finally:
        store.close()
    return note


def keep_networks(shelf: ModelShelf, folder: Path) -> None:
    """Put the networks of a folder where services find them after others were set up."""
    model_set = read_model_set(folder)
    for address in model_set.names:
        shelf.put_network(folder / address)
    shelf.put_set(model_set)
    shelf.set_up(model_set.digest)


def main() -> int:
    """Set everything up, waiting for the servers to come; return the exit status."""
    try:
        settings = SetUpDeployment()
    except ValidationError as error:
        sys.stderr.write(f"the settings make no sense:\n{error}\n")
        return 2
    configure(settings.log_level)
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + PATIENCE_S
    while True:
        try:
            note = prepare(settings)
        except TransientError as outage:
            log.info("waiting_for_a_dependency", outage=str(outage))
            if clock.monotonic_s() > deadline_s:
                return 1
            clock.wait(PAUSE_S)
        else:
            log.info("set_up", topics=len(TOPICS), bucket=settings.s3.bucket, users=sorted(settings.users), note=note)
            return 0


if __name__ == "__main__":
    sys.exit(main())
