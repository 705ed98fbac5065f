"""Builds the model archive that TorchServe loads: `python -m services.runtime.segmenter.torchserve_archive`.

The archive holds data alone: cards, exported networks, fusion rules and the known answer to the canary. The
code that serves them is that of the installed package, so that no archive can bring code of its own. The same
models give the same bytes, on one kind of machine.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from services.contracts.model_card import FusionRules
from services.contracts.values import Identifier, Sha256, Value
from services.runtime.segmenter.cards import ARCHIVE, CARD
from services.runtime.segmenter.networks import Networks
from services.runtime.segmenter.port import CANARY_NORMALISATION, Segmented, canary_crop
from services.runtime.segmenter.serving_description import planes_sha256
from services.runtime.segmenter.window_runner import WindowRunner
from services.runtime.segmenter.windows import Window
from services.runtime.segmenter.wire import Request, decode_reply, encode_reply

MODEL = "nucleus"
MODELS = "models"
CONTENTS = "segmenter.json"
CANARY = "canary.bin"
HANDLER = "services.runtime.segmenter.torchserve_handler"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o644 << 16


class Contents(Value):
    """What an archive says that it holds.

    Attributes
    ----------
    model_set_digest
        Digest over the cards and the fusion rules.
    canary_sha256
        Of the planes with which the networks answer the canary, in fp32 on the CPU that built the archive.
    """

    model_set_digest: Sha256
    fusion: FusionRules
    models: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    canary_sha256: Sha256


def build_archive(models_dir: Path, archive: Path, fusion: FusionRules | None = None) -> Contents:
    """Write the model archive of a folder of published models.

    Parameters
    ----------
    models_dir
        Folder of published models; every hash is verified, and the canary is computed.
    archive
        The `.mar` file; put in place whole.
    fusion
        Which networks, and which class comes from which; by default what the folder asks for (`read_model_set`).

    Raises
    ------
    ModelSetError
        If a network is absent, altered, or exported for another torch.
    """
    networks = Networks(models_dir, fusion)
    known = _known_answer(networks)
    contents = Contents(
        model_set_digest=networks.model_set.digest,
        fusion=networks.model_set.fusion,
        models=networks.model_set.names,
        canary_sha256=planes_sha256(known),
    )
    files = {
        "MAR-INF/MANIFEST.json": manifest(),
        CONTENTS: (contents.model_dump_json(indent=2) + "\n").encode(),
        CANARY: encode_reply(_canary_request(), known),
    }
    for name in contents.models:
        for part in (CARD, ARCHIVE):
            files[f"{MODELS}/{name}/{part}"] = (models_dir / name / part).read_bytes()
    _write(archive, files)
    return contents


def read_contents(folder: Path) -> tuple[Contents, Segmented]:
    """Read what an unpacked archive says that it holds, and its known answer to the canary.

    Raises
    ------
    WireError
        If the known answer is damaged, or one to another canary.
    """
    contents = Contents.model_validate_json((folder / CONTENTS).read_bytes())
    return contents, decode_reply((folder / CANARY).read_bytes(), canary_crop())


def _canary_request() -> Request:
    return Request(Window(canary_crop(), CANARY_NORMALISATION), compress_reply=True)


def _known_answer(networks: Networks) -> Segmented:
    runner = WindowRunner(networks, threads=1)
    try:
        answer = runner.answer_canary()
    finally:
        runner.close()
    assert answer is not None, "a CPU gives no answer of `None`"
    return answer


def manifest() -> bytes:
    """Return what TorchServe wants to know of an archive."""
    fields = {
        "archiverVersion": "0.12.0",
        "model": {"handler": HANDLER, "modelName": MODEL, "modelVersion": "1.0"},
        "runtime": "python",
    }
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


def _write(archive: Path, files: dict[str, bytes]) -> None:
    """Write a zip of which no byte depends on a clock, a user or the order of a listing."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(f".{archive.name}.part")
    with zipfile.ZipFile(part, "w") as zipped:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _READABLE
            entry.compress_type = zipfile.ZIP_STORED
            zipped.writestr(entry, content)
    part.replace(archive)


def main(models_dir: Path, archive: Path) -> None:
    """Write the model archive ARCHIVE (a .mar file) of the published models in MODELS_DIR."""
    contents = build_archive(models_dir, archive)
    typer.echo(f"{archive}: models {contents.model_set_digest}, canary {contents.canary_sha256}")


if __name__ == "__main__":
    typer.run(main)
