"""MANIFEST.sha256: every result with the hash of its content; two runs agree when this file agrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.results.content import ContentError, file_hash, volume_hashes
from services.results.files import replacing

MANIFEST = "MANIFEST.sha256"
FILES = (
    "checks.csv",
    "checks.parquet",
    "chromosomes.csv",
    "chromosomes.parquet",
    "contacts.csv",
    "contacts.parquet",
    "events.jsonl",
    "ledger.csv",
    "nuclei.csv",
    "nuclei.parquet",
    "objects.csv",
    "objects.parquet",
    "provenance.json",
    "slices.csv",
    "slices.parquet",
    "suspects.csv",
    "suspects.parquet",
    "tracks.csv",
    "tracks.parquet",
    "transforms.csv",
    "transforms.parquet",
)
VOLUME = "volume.ome.zarr"


class ManifestError(ValueError):
    """There is no manifest, or a line of it is not `<sha256>  <relative path>`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A result that is not what the manifest says.

    Attributes
    ----------
    path
        Relative path of the result.
    fact
        `changed`, `missing`, `unlisted` or `unreadable`.
    detail
        What was found, where that says more.
    """

    path: str
    fact: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.fact}" + (f" ({self.detail})" if self.detail else "")


def write_manifest(out: Path) -> Path:
    """Hash every result in `out` and write the manifest; return its path.

    Raises
    ------
    ContentError
        If a result cannot be read.
    """
    lines = [f"{digest}  {path}\n" for path, digest in sorted(_results(out))]
    with replacing(out / MANIFEST) as part:
        part.write_text("".join(lines), encoding="utf-8", newline="\n")
    return out / MANIFEST


def verify(out: Path) -> list[Difference]:
    """Compare the results in `out` with their manifest; an empty list means that they agree.

    Raises
    ------
    ManifestError
        If there is no manifest, or it is damaged.
    """
    expected = read_manifest(out / MANIFEST)
    differences = []
    found: dict[str, str] = {}
    for volume_or_file in _places(out):
        try:
            found.update(_hashes(out, volume_or_file))
        except ContentError as error:
            name = volume_or_file.relative_to(out).as_posix()
            differences.append(Difference(name, "unreadable", str(error)))
            expected = {path: digest for path, digest in expected.items() if not _is_within(path, name)}
            found = {path: digest for path, digest in found.items() if not _is_within(path, name)}
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            fact = "missing" if path not in found else "unlisted" if path not in expected else "changed"
            differences.append(Difference(path, fact))
    return sorted(differences, key=lambda difference: difference.path)


def read_manifest(path: Path) -> dict[str, str]:
    """Return the hashes of a manifest by relative path.

    Raises
    ------
    ManifestError
        If there is none, or it is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"no manifest: {error}") from error
    entries = {}
    for line in text.splitlines():
        digest, separator, name = line.partition("  ")
        if len(digest) != 64 or not separator or not name:
            raise ManifestError(f"not a line of a manifest: {line!r}")
        entries[name] = digest
    return entries


def _results(out: Path) -> Iterator[tuple[str, str]]:
    for place in _places(out):
        yield from _hashes(out, place)


def _places(out: Path) -> Iterator[Path]:
    yield from (out / name for name in FILES if (out / name).exists())
    yield from sorted((out / "nuclei").glob(f"*/{VOLUME}"))


def _hashes(out: Path, place: Path) -> Iterator[tuple[str, str]]:
    name = place.relative_to(out).as_posix()
    if place.name != VOLUME:
        yield name, file_hash(place)
        return
    for path, digest in volume_hashes(place):
        yield f"{name}/{path}" if path else name, digest


def _is_within(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}/")
