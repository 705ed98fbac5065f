"""Provide every program that the system tests start: once, before they run, saying what takes time.

    python -m tests.system.servers.provide

Debian's packages are installed where a program is missing and this user may install them; Kafka, MinIO and Kustomize
are copied out of images or built, and kept. Running it again looks, and does nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.system.servers.kafka import kafka_home
from tests.system.servers.kustomize import kustomize
from tests.system.servers.minio import minio_program
from tests.system.servers.provision import ServerNotProvidedError, run

# Program: Debian package that has it.
PACKAGES: Mapping[str, str] = {
    "java": "openjdk-17-jre-headless",
    "mvn": "maven",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "faketime": "faketime",
    "rclone": "rclone",
}
BUILT: Mapping[str, Callable[[], object]] = {
    "Kafka (10 s)": kafka_home,
    "MinIO (3 min, the first time)": minio_program,
    "Kustomize (1 min, the first time)": kustomize,
}


def missing_packages(found: Callable[[str], str | None] = shutil.which) -> list[str]:
    """Return the packages that have to be installed.

    Examples
    --------
    >>> missing_packages(lambda program: None if program in ("amtool", "mvn") else program)
    ['maven', 'prometheus-alertmanager']
    """
    return sorted({package for program, package in PACKAGES.items() if found(program) is None})


def install(packages: list[str]) -> None:
    """Install Debian packages.

    Raises
    ------
    ServerNotProvidedError
        If this user may not, or there is no apt-get; the text is the command for somebody who may.
    """
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ServerNotProvidedError(f"these programs are missing; as root: {command}")
    # Packages that bring a service must neither ask nor start it.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # noqa: TID251 (handed on)
    run(["apt-get", "update", "-qq"], Path("/"), environment=environment)
    run([*command.split(), "-y", "-qq"], Path("/"), environment=environment)


def steps() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what there is to do, and its name."""
    if packages := missing_packages():
        yield f"Debian's {', '.join(packages)}", lambda: install(packages)
    yield from BUILT.items()


def main() -> int:
    """Provide all, or say what is missing."""
    for name, provide in steps():
        print(f"Servers for the system tests: {name} ...", flush=True)
        try:
            provide()
        except (ServerNotProvidedError, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
