"""Fuzz one reader with atheris (libFuzzer), and keep what it found.

    python -m tests.fuzz.fuzz slices --seconds 600 [--keep]

Needs `pip install atheris`, which nothing else does. Starts from files of every kind that the tests write. With
`--keep` every input that reached new code, and every one that broke the reader, is packed beside this file, from where
`test_corpus.py` reads it and the next run starts.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
import zipfile
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


def seeds(reader: str) -> list[bytes]:
    """Return files to start from."""
    from services.imaging.formats.dat_writing import dat_bytes  # noqa: PLC0415 - after the instrumentation
    from tests.support.instrument_files import ATLAS, SMARTSEM, THERMO, tagged  # noqa: PLC0415
    from tests.support.tiff_corpus import readable, refused  # noqa: PLC0415

    if reader == "dialects":
        return [text.encode("latin-1") for text in (ATLAS, SMARTSEM, THERMO)]
    if reader == "names":
        return [
            b"slice_00121_z=1.2100um.tif",
            b"Merlin-6281_19-08-09_120426_0-1-2.dat",
            b"a^b^c.dat^keep",
            b"x_0042.tif",
        ]
    if reader == "mrc":
        import mrcfile  # noqa: PLC0415

        found = []
        for dtype in (np.int8, np.int16, np.uint16, np.float32):
            with tempfile.NamedTemporaryFile(suffix=".mrc") as file:
                with mrcfile.new(file.name, overwrite=True) as volume:
                    volume.set_data(np.arange(24).reshape(2, 3, 4).astype(dtype))
                found.append(Path(file.name).read_bytes())
        return found
    if reader in {"hdf5", "n5", "zarr"}:
        return _volume_seeds(reader)
    plane = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    dats = [
        dat_bytes(np.repeat(plane, count, 0), {"PixelSize": 4.0}, version=v) for v in range(1, 10) for count in (1, 2)
    ]
    tiffs = [tagged(tag, text) for tag, text in ((34118, SMARTSEM), (34682, THERMO), (51023, ATLAS))]
    return [*dats, *tiffs, *(sample.payload for sample in readable()), *(payload for payload, _ in refused().values())]


def _volume_seeds(reader: str) -> list[bytes]:
    """Return volumes of several types, in the form in which `readers` lays them out."""
    import h5py  # noqa: PLC0415

    from tests.fuzz.readers import BOUNDARY, N5_FILES, ZARR_FILES  # noqa: PLC0415
    from tests.support.volume_files import VOLUME, as_hdf5, as_n5, as_ome_zarr  # noqa: PLC0415

    found = []
    for kind in ("uint8", "int16", "float32"):
        volume = VOLUME[:2, :3, :4].astype(kind)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            if reader == "hdf5":
                found.append(as_hdf5(folder / "volume.h5", volume).read_bytes())
                with h5py.File(folder / "packed.h5", "w", libver="latest") as file:
                    file.create_dataset("a/b", data=volume, chunks=(1, 2, 2), compression="gzip", shuffle=True)
                found.append((folder / "packed.h5").read_bytes())
            elif reader == "n5":
                as_n5(folder / "volume.n5", volume, "raw")
                found.append(BOUNDARY.join((folder / name).read_bytes() for name in N5_FILES))
            else:
                for newer, version in ((False, "0.4"), (True, "0.5")):
                    as_ome_zarr(folder / "volume.zarr", volume, version)
                    files = [(folder / name).read_bytes() for name in ZARR_FILES[newer]]
                    found.append((b"3" if newer else b"2") + BOUNDARY.join(files))
    return found


def _fuzz(reader: str, seconds: int, folder: Path) -> None:
    # Only who fuzzes needs it.
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["services.imaging", "services.ingest.names", "mrcfile", "zarr"]):
        from tests.fuzz.readers import READERS  # noqa: PLC0415
    target = READERS[reader]
    arguments = [sys.argv[0], str(folder), f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048"]
    atheris.Setup([*arguments, f"-artifact_prefix={folder.parent}/found-", "-max_len=16384"], target)
    atheris.Fuzz()


def main() -> None:
    """Fuzz in a process of its own, since libFuzzer ends the one it works in; then pack what it kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("reader", choices=["slices", "dialects", "names", "mrc", "hdf5", "n5", "zarr"])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.within:
        _fuzz(arguments.reader, arguments.seconds, arguments.within)
        return
    before = kept_before(arguments.reader)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "corpus"
        folder.mkdir()
        for payload in [*seeds(arguments.reader), *before]:
            (folder / sha256(payload).hexdigest()[:16]).write_bytes(payload)
        command = [sys.executable, "-m", "tests.fuzz.fuzz", arguments.reader, "--seconds", str(arguments.seconds)]
        ended = subprocess.run([*command, "--within", str(folder)], check=False)
        found = sorted(Path(place).glob("found-*"))
        kept = sorted(folder.iterdir(), key=lambda path: (path.stat().st_size, path.name))
        print(f"{arguments.reader}: exit {ended.returncode}, {len(kept)} inputs, {len(found)} that broke it")  # noqa: T201 - a script
        for path in found:
            (HERE / path.name).write_bytes(path.read_bytes())
        if arguments.keep:
            payloads = {*before, *(path.read_bytes() for path in [*found, *kept])}
            (HERE / f"{arguments.reader}.zip").write_bytes(packed(sorted(payloads, key=lambda each: (len(each), each))))


def kept_before(reader: str) -> list[bytes]:
    """Return what earlier runs kept: what once broke a reader stays for good."""
    corpus = HERE / f"{reader}.zip"
    if not corpus.exists():
        return []
    with zipfile.ZipFile(corpus) as archive:
        return [archive.read(name) for name in archive.namelist()]


def packed(payloads: list[bytes], most: int = 1500) -> bytes:
    """Return a zip of payloads, the same bytes for the same payloads."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for payload in sorted(payloads[:most]):
            archive.writestr(zipfile.ZipInfo(sha256(payload).hexdigest()[:16]), payload, zipfile.ZIP_DEFLATED)
    return file.getvalue()


if __name__ == "__main__":
    main()
