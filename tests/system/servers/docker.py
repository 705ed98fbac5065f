"""A Docker engine and compose: those that are there, else the engine started by hand and compose built with Go."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.servers.golang import go_program
from tests.system.servers.process import ServerProcess
from tests.system.servers.provision import Addresses, built, require_tool, run

COMPOSE = "v5.4.0"
BASE_IMAGE = "fibsem-base:bookworm"
LOCAL_FILES = ("-f", "docker-compose.yml", "-f", "deploy/docker-compose.local.yml")
# Small ones first. One of those that share an image builds it.
BUILT = ("kafka", "prometheus", "minio", "ingest", "torchserve", "trainer")
REPOSITORY = Path(__file__).resolve().parents[3]


def _engine_answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


@contextmanager
def running_engine(folder: Path) -> Iterator[None]:
    """Give a Docker engine that answers.

    Raises
    ------
    ServerNotProvidedError
        If there is none and none can be started.
    """
    require_tool("docker", "apt-get install docker.io")
    if _engine_answers():
        yield
        return
    engine = require_tool("dockerd", "apt-get install docker.io")
    process = ServerProcess([engine], folder / "dockerd.log", _engine_answers)
    process.start()
    try:
        yield
    finally:
        process.stop()


def compose() -> list[str]:
    """Return the command of docker compose."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    return [str(built(f"compose-{COMPOSE}", _build_compose) / "docker-compose")]


def _build_compose(folder: Path) -> None:
    go = go_program()
    module = folder / "module"
    module.mkdir()
    run([go, "mod", "init", "compose"], module)
    run([go, "get", "-tool", f"github.com/docker/compose/v5/cmd@{COMPOSE}"], module)
    program = str(folder / "docker-compose")
    run(
        [go, "build", "-ldflags", "-s -w", "-o", program, "github.com/docker/compose/v5/cmd"], module, patience_s=1800.0
    )
    shutil.rmtree(module)


def base_image() -> str:
    """Return the name of a base image, made from Debian's packages if it is not there yet."""
    known = subprocess.run(["docker", "image", "inspect", BASE_IMAGE], capture_output=True, check=False)
    if known.returncode:
        require_tool("debootstrap", "apt-get install debootstrap")
        run([str(REPOSITORY / "deploy" / "base" / "build.sh"), BASE_IMAGE], REPOSITORY)
    return BASE_IMAGE


def build_images() -> None:
    """Build every image of the system on the local base, as a site does that can pull none (25 minutes, 32 GB).

    What an earlier build left in the engine is used again; all of it where `FIBSEM_TEST_IMAGES=present`.
    """
    if Addresses().images == "present":
        return
    environment = {
        **os.environ,  # noqa: TID251 (handed on, not read)
        "BASE_IMAGE": base_image(),
        "BUILD_NETWORK": "host",
        # The engine's own builder makes what this old one cannot, and is not on every machine.
        "DOCKER_BUILDKIT": "0",
        "COMPOSE_PARALLEL_LIMIT": "1",
    }
    for service in BUILT:
        run(
            [*compose(), *LOCAL_FILES, "build", "--quiet", service],
            REPOSITORY,
            patience_s=3600.0,
            environment=environment,
        )
