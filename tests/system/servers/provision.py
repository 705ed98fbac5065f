"""Where real servers come from: an address that the environment gives, an image that can be pulled, else a build.

What was built once is kept under `FIBSEM_TEST_SERVERS` (default `~/.cache/fibsem-nuclei/servers`), by name and
version, so that the next run starts at once. Where a tool is missing the error says what to install.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServerNotProvidedError(RuntimeError):
    """A real server can be had in none of the ways; the text says what to install."""


class Addresses(BaseSettings):
    """Servers that exist already, by environment variable `FIBSEM_TEST_<NAME>`, and where others are kept."""

    model_config = SettingsConfigDict(env_prefix="FIBSEM_TEST_", extra="ignore")

    kafka: str | None = Field(default=None, description="host:port of a broker that tests may fill with topics")
    s3: str | None = Field(default=None, description="http://key:secret@host:port of an S3 that tests may fill")
    torchserve: str | None = Field(default=None, description="http://host:port of a TorchServe with our models")
    images: Literal["build", "present"] = Field(
        default="build", description="images of the system: built as the working tree is, or those of an earlier build"
    )
    servers: Path = Field(
        default=Path.home() / ".cache" / "fibsem-nuclei" / "servers", description="where built servers are kept"
    )


def require_tool(name: str, how: str) -> str:
    """Return the path of a program.

    Raises
    ------
    ServerNotProvidedError
        If it is not installed; `how` says what to do.
    """
    found = shutil.which(name)
    if found is None:
        raise ServerNotProvidedError(f"{name} is not installed: {how}")
    return found


def built(name: str, build: Callable[[Path], None], servers: Path | None = None) -> Path:
    """Return the folder of a server, built if it is not there yet.

    Parameters
    ----------
    name
        Name and version, which name the folder too.
    build
        Fills a fresh folder; it becomes the server's only when it returns.
    servers
        Where servers are kept.
    """
    kept = (servers or Addresses().servers) / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (kept.parent / f".{name}.lock").open("w") as lock:
        # Several test processes may want the same server at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            fresh = kept.with_name(f".{name}.part")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            build(fresh)
            fresh.rename(kept)
    return kept


def copied_from_image(image: str, inside: str, folder: Path) -> bool:
    """Copy a folder or file out of an image, if a Docker engine answers and has the image or can pull it.

    Tests freeze, kill and restart servers by process id: what an image gives is its program.

    Parameters
    ----------
    image
        Name and tag.
    inside
        Path in the image.
    folder
        Where the copy goes, under its own name.
    """
    docker = shutil.which("docker")
    if docker is None:
        return False

    def said(*words: str) -> str | None:
        done = subprocess.run([docker, *words], capture_output=True, text=True, timeout=900, check=False)
        return None if done.returncode else done.stdout.strip()

    container = said("create", image)
    if not container:
        return False
    try:
        return said("cp", f"{container}:{inside}", str(folder)) is not None
    finally:
        said("rm", container)


def run(
    argv: Sequence[str], cwd: Path, *, patience_s: float = 900.0, environment: dict[str, str] | None = None
) -> None:
    """Run one step of a build.

    Raises
    ------
    ServerNotProvidedError
        If it fails; the text holds the end of what it said.
    """
    done = subprocess.run(
        argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=patience_s, check=False
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise ServerNotProvidedError(f"{' '.join(argv)} failed with {done.returncode}:\n{said}")
