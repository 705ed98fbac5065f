"""Makes one folder from which a site without a network installs everything: ``deploy/bundle/make_bundle.py --help``.

It holds the wheels of a Python installation, the container images that are on this machine, the networks, the files
of the deployment, a script that verifies and installs, and the SHA-256 of every file. Run it on a machine like those
of the site: wheels are those of this processor, system and Python.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUMS = "SHA256SUMS"
# Torch and its device libraries are five sixths of the bundle; a site that runs the images alone needs none of them.
EXTRAS = ("deployed", "networks", "export")
WITH_TORCH = frozenset({"networks", "train"})
PROJECT_FILES = ("pyproject.toml", "README.md", "LICENSE", "services")
# What `deploy` and its neighbours are without what was generated for one site.
LEFT_OUT = shutil.ignore_patterns(".secrets", "__pycache__", "*.egg-info", ".*_cache")
IMAGE = re.compile(r"^\s*image:\s*(\S+)\s*$", re.MULTILINE)
DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


@dataclass(frozen=True)
class Selection:
    """What goes in.

    Attributes
    ----------
    extras
        Optional parts of the package.
    only
        Requirements in place of those of the package, which is then added without any; for a bundle that tests
        how bundles work.
    images
        Names of container images.
    all_images
        Whether one that is not on this machine ends it; otherwise it is named as absent.
    docker
        The command that saves images.
    constraints
        Versions.
    """

    extras: tuple[str, ...] = EXTRAS
    only: tuple[str, ...] | None = None
    images: tuple[str, ...] = ()
    all_images: bool = False
    docker: str = "docker"
    constraints: Path = ROOT / "constraints.txt"


class BundleError(RuntimeError):
    """Something that the bundle needs cannot be had."""


def version() -> str:
    """Return the version of the package."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def images_of(*compose_files: Path) -> tuple[str, ...]:
    """Return the names of the images in compose files, with the default of every variable in them."""
    found = {
        DEFAULT.sub(r"\1", name).strip("\"'") for path in compose_files for name in IMAGE.findall(path.read_text())
    }
    return tuple(sorted(found))


def build(selection: Selection, out: Path) -> tuple[str, ...]:
    """Write the bundle into a new folder; return the names of the images that it lacks.

    Raises
    ------
    BundleError
        If the folder is there, or a wheel or an image cannot be had.
    """
    if out.exists():
        raise BundleError(f"{out} is there: remove it, or name another folder")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    saved, absent = save_images(selection, part / "images")
    make_wheels(selection, part / "wheels")
    (part / "requirements.txt").write_text("".join(pinned(part / "wheels")))
    copy_files(part)
    (part / "images.txt").write_text("".join(f"{name}\n" for name in saved))
    readme = (HERE / "README.md").read_text()
    missing = "".join(f"- {name}\n" for name in absent) or "- none\n"
    (part / "README.md").write_text(readme.replace("@VERSION@", version()).replace("@ABSENT@\n", missing))
    say("Taking the SHA-256 of every file ...")
    (part / SUMS).write_text("".join(sums(part)))
    part.rename(out)
    return tuple(absent)


def make_wheels(selection: Selection, folder: Path) -> None:
    """Fill a folder with the wheels of the package and of all that it needs, in the versions of the constraints."""
    with tempfile.TemporaryDirectory() as name:
        # A copy: setuptools builds in the tree, and would take up what earlier builds left there.
        tree = Path(name)
        for part in PROJECT_FILES:
            copied(ROOT / part, tree / part)
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder)]
        own = [*wheel, "--no-deps"]
        if selection.only is None:
            wanted = f"{tree}[{','.join(selection.extras)}]" if selection.extras else str(tree)
            say("Fetching wheels: with torch some 3 GB ...")
            run([*wheel, "--constraint", str(selection.constraints), wanted])
        else:
            run([*own, "--no-build-isolation", str(tree)])
            run([*wheel, "--constraint", str(selection.constraints), *selection.only])


def pinned(wheels: Path) -> Iterator[str]:
    """Yield a requirement for every wheel, by version and hash: pip takes nothing else that lies there."""
    for path in sorted(wheels.glob("*.whl")):
        name, found = path.name.split("-")[:2]
        yield f"{name.replace('_', '-').lower()}=={found} --hash=sha256:{sha256_of(path)}\n"


def save_images(selection: Selection, folder: Path) -> tuple[list[str], list[str]]:
    """Save the images that are on this machine; return their names, and those of the others."""
    folder.mkdir()
    saved = [name for name in selection.images if has_image(selection.docker, name)]
    absent = [name for name in selection.images if name not in saved]
    if absent and selection.all_images:
        raise BundleError(f"not on this machine: {', '.join(absent)}; pull or build them first")
    for name in saved:
        say(f"Saving the image {name} ...")
        run([selection.docker, "save", "--output", str(folder / f"{re.sub(r'[/:@]', '_', name)}.tar"), name])
    return saved, absent


def has_image(docker: str, name: str) -> bool:
    """Say whether an image is on this machine; it is not where there is no Docker."""
    if shutil.which(docker) is None:
        return False
    asked = subprocess.run([docker, "image", "inspect", name], capture_output=True, check=False)  # noqa: S603 - our own
    return asked.returncode == 0


def copy_files(bundle: Path) -> None:
    """Copy the networks, the deployment and what installs it."""
    copied(ROOT / "services" / "inference" / "models", bundle / "models")
    copied(ROOT / "deploy", bundle / "deploy")
    for name in ("docker-compose.yml", "Makefile", "LICENSE", "CHANGELOG.md"):
        copied(ROOT / name, bundle / name)
    copied(HERE / "install.sh", bundle / "install.sh")


def copied(source: Path, target: Path) -> None:
    """Copy a file or a folder, without what was generated in it."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=LEFT_OUT)
    else:
        shutil.copy2(source, target)


def sums(bundle: Path) -> Iterator[str]:
    """Yield the line of every file, as `sha256sum` writes it."""
    for path in sorted(bundle.rglob("*")):
        if path.is_file() and path.name != SUMS:
            yield f"{sha256_of(path)}  {path.relative_to(bundle).as_posix()}\n"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(what: str) -> None:
    """Tell whoever waits what is being done."""
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def run(command: Sequence[str]) -> None:
    """Run a command.

    Raises
    ------
    BundleError
        If it fails; its own words are on the standard error.
    """
    done = subprocess.run(command, check=False)  # noqa: S603 - our own
    if done.returncode != 0:
        raise BundleError(f"`{' '.join(command[:6])} ...` ended with {done.returncode}")


def pack(folder: Path) -> Path:
    """Put a bundle into one file beside it; what is in it is compressed already."""
    packed = folder.with_name(f"{folder.name}.tar")
    with tarfile.open(packed, "w") as tar:
        tar.add(folder, arcname=folder.name)
    return packed


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        description="Make one folder from which a site without a network installs everything.",
        epilog="Example: make_bundle.py dist/fibsem-nuclei-bundle --tar",
    )
    parser.add_argument("out", type=Path, help="the folder to be made")
    parser.add_argument(
        "--extras", default=",".join(EXTRAS), help="optional parts of the package (default: %(default)s)"
    )
    parser.add_argument("--without-torch", action="store_true", help="leave torch out: some 3 GB; the images have it")
    parser.add_argument("--without-images", action="store_true", help="leave container images out")
    parser.add_argument("--image", action="append", metavar="NAME", help="these images, not those of the compose files")
    parser.add_argument("--all-images", action="store_true", help="fail if an image is not on this machine")
    parser.add_argument("--tar", action="store_true", help="pack it into one file as well")
    return parser.parse_args(argv)


def selection_of(said: argparse.Namespace) -> Selection:
    """Return what goes in by the command line."""
    extras = tuple(name for name in said.extras.split(",") if name)
    if said.without_torch:
        extras = tuple(name for name in extras if name not in WITH_TORCH)
    named = images_of(ROOT / "docker-compose.yml", ROOT / "deploy" / "docker-compose.local.yml")
    images = () if said.without_images else tuple(said.image or named)
    return Selection(extras=extras, images=images, all_images=said.all_images)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the bundle; return the exit status."""
    said = arguments(argv)
    try:
        absent = build(selection_of(said), said.out)
        made = pack(said.out) if said.tar else said.out
    except BundleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if absent:
        sys.stderr.write(f"not on this machine, so not in the bundle: {', '.join(absent)}\n")
    digest = sha256_of(said.out / SUMS)
    sys.stdout.write(f"{made}\nSHA-256 of its {SUMS}, to be told by another way: {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
