"""A site without a network installs from one folder, and from nothing that somebody else put into it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "deploy" / "bundle" / "make_bundle.py"
# Of what the package needs, what is quick to have; each brings something along, or is pure data.
FEW = ("structlog", "annotated-types")

DOCKER = """#!/usr/bin/env bash
case "$1 $2" in
  "image inspect") [[ $3 == fibsem-nuclei/* ]] ;;
  "save --output") echo "image $4" > "$3" ;;
  "load --quiet") cat "$4" >> "$LOADED" ;;
esac
"""


@pytest.fixture(scope="module")
def bundles() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_bundle", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_bundle"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(bundles: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of little, made as the whole one is."""
    folder = tmp_path_factory.mktemp("bundle")
    docker = folder / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    images = ("apache/kafka:4.1.1", "fibsem-nuclei/services:0.1.0")
    absent = bundles.build(bundles.Selection(only=FEW, images=images, docker=str(docker)), folder / "made")
    assert absent == ("apache/kafka:4.1.1",)
    return folder / "made"


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy of it, as it arrives at a site."""
    return Path(shutil.copytree(made, tmp_path / "arrived"))


def install(bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run its script on a machine whose pip finds no network, whatever it is told."""
    environment = {
        **os.environ,  # noqa: TID251 (handed on, not read)
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PYTHON": sys.executable,
        "DOCKER": str(bundle.parent / "docker"),
        "LOADED": str(bundle.parent / "loaded"),
    }
    docker = bundle.parent / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    return subprocess.run(
        [str(bundle / "install.sh"), *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_everything_is_installed_from_the_bundle_without_a_network(bundle: Path, bundles: ModuleType) -> None:
    done = install(bundle, "--sums", bundles.sha256_of(bundle / "SHA256SUMS"), "--into", "environment")
    assert done.returncode == 0, done.stderr
    python = bundle / "environment" / "bin" / "python"
    said = subprocess.run(
        [python, "-c", "import structlog, annotated_types, services.contracts as here; print(here.__file__)"],
        capture_output=True, text=True, check=True, cwd=bundle.parent,
    ).stdout  # fmt: skip
    assert Path(said.strip()).is_relative_to(bundle / "environment")
    assert (bundle / "environment" / "bin" / "fibsem-nuclei").exists()
    assert (bundle.parent / "loaded").read_text() == "image fibsem-nuclei/services:0.1.0\n"
    # A second time, over what it made: as after a first try that was broken off.
    assert install(bundle, "--into", "environment", "--verify").returncode == 0


@pytest.mark.slow
def test_a_bundle_holds_what_the_deployment_needs_and_no_secret(made: Path) -> None:
    assert (made / "images.txt").read_text() == "fibsem-nuclei/services:0.1.0\n"
    assert "- apache/kafka:4.1.1\n" in (made / "README.md").read_text()
    for name in ("docker-compose.yml", "deploy/BACKUP.md", "deploy/runbooks.md", "deploy/torchserve/config.properties"):
        assert (made / name).read_bytes() == (ROOT / name).read_bytes()
    networks = {path.name for path in (ROOT / "services" / "inference" / "models").iterdir()}
    assert {path.name for path in (made / "models").iterdir()} == networks
    assert not list(made.rglob(".secrets"))
    requirements = (made / "requirements.txt").read_text().splitlines()
    assert len(requirements) == len(list((made / "wheels").iterdir())) >= 3
    assert all("==" in line and " --hash=sha256:" in line for line in requirements)


def tampered_wheel(bundle: Path) -> None:
    wheel = next((bundle / "wheels").glob("structlog-*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"\0")


def tampered_network(bundle: Path) -> None:
    network = next((bundle / "models").glob("*/network.pt2"))
    network.write_bytes(b"another network")


def strange_wheel(bundle: Path) -> None:
    (bundle / "wheels" / "structlog-99.0-py3-none-any.whl").write_bytes(b"a newer one")


def strange_link(bundle: Path) -> None:
    (bundle / "images" / "more.tar").symlink_to("/dev/null")


def lost_file(bundle: Path) -> None:
    (bundle / "docker-compose.yml").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("attack", [tampered_wheel, tampered_network, strange_wheel, strange_link, lost_file])
def test_a_bundle_that_is_not_as_it_was_made_installs_nothing(bundle: Path, attack: object) -> None:
    assert callable(attack)
    attack(bundle)
    done = install(bundle)
    assert done.returncode == 1
    assert "install.sh:" in done.stderr
    assert not (bundle / ".venv").exists()
    assert not (bundle.parent / "loaded").exists()


@pytest.mark.slow
def test_sums_made_anew_by_somebody_else_are_refused_by_the_sum_that_was_told(
    bundle: Path, bundles: ModuleType
) -> None:
    told = bundles.sha256_of(bundle / "SHA256SUMS")
    tampered_wheel(bundle)
    (bundle / "SHA256SUMS").write_text("".join(bundles.sums(bundle)))
    assert install(bundle, "--verify").returncode == 0
    done = install(bundle, "--verify", "--sums", told)
    assert done.returncode == 1
    assert "is not the one that was told" in done.stderr


def test_the_images_are_those_of_the_compose_files(bundles: ModuleType) -> None:
    found = bundles.images_of(ROOT / "docker-compose.yml", ROOT / "deploy" / "docker-compose.local.yml")
    assert {"fibsem-nuclei/services:0.1.0", "fibsem-nuclei/kafka:0.1.0"} <= set(found)
    assert len(found) == len(set(found)) >= 8
    assert not any("$" in name for name in found)


def test_without_torch_no_part_of_the_package_asks_for_it(bundles: ModuleType) -> None:
    chosen = bundles.selection_of(bundles.arguments(["out", "--without-torch", "--without-images"]))
    assert chosen.extras == ("deployed", "export")
    assert chosen.images == ()


def test_an_image_that_is_not_there_ends_it_if_all_are_wanted(bundles: ModuleType, tmp_path: Path) -> None:
    wanted = bundles.Selection(only=(), images=("nobody/knows:1",), all_images=True, docker="no-such-docker")
    with pytest.raises(bundles.BundleError, match="nobody/knows:1"):
        bundles.build(wanted, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_bundle_that_is_there_is_not_written_over(bundles: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(bundles.BundleError, match="is there"):
        bundles.build(bundles.Selection(), tmp_path)
