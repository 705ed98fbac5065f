"""Verifies a model archive before a server opens it: ``python -m services.runtime.segmenter.archive_check ARCHIVE``.

TorchServe runs the handler that an archive names, from the archive if it is there, and torch's exported networks may
hold pickled parts. So an archive must hold exactly what ours hold, name our handler, and be the model set of which
the installed package has the cards; the hash of each network is in its card, and that of each card in its address.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from services.contracts.model_card import ModelCard, ModelSet
from services.runtime.segmenter.cards import ARCHIVE, CARD, read_model_set
from services.runtime.segmenter.port import ModelSetError
from services.runtime.segmenter.torchserve_archive import CANARY, CONTENTS, MODELS, Contents, manifest

SHIPPED_MODELS = Path(__file__).parents[2] / "inference" / "models"
MANIFEST = "MAR-INF/MANIFEST.json"
# Networks are not compressed in it; nothing else is larger.
LARGEST_BYTES = 2**31


class ArchiveRefusedError(ModelSetError):
    """A model archive is not one of ours, or not the one that is wanted."""


def check_archive(archive: Path, wanted_digest: str) -> None:
    """Refuse an archive unless every byte of it is vouched for; nothing of it is opened by torch.

    Parameters
    ----------
    archive
        The `.mar` file.
    wanted_digest
        Digest of the model set that it must hold.

    Raises
    ------
    ArchiveRefusedError
        If it holds anything else.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _check(opened, wanted_digest)
    except (zipfile.BadZipFile, ValidationError, KeyError, OSError, NotImplementedError) as error:
        raise ArchiveRefusedError(f"{archive} is no model archive: {error}") from error


def _check(opened: zipfile.ZipFile, wanted_digest: str) -> None:
    entries = opened.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > LARGEST_BYTES for entry in entries):
        raise ArchiveRefusedError("an entry is compressed or too large: ours are neither")
    if opened.read(MANIFEST) != manifest():
        raise ArchiveRefusedError("it does not name the handler of the installed package")
    contents = Contents.model_validate_json(opened.read(CONTENTS))
    expected = [
        MANIFEST,
        CONTENTS,
        CANARY,
        *(f"{MODELS}/{name}/{part}" for name in contents.models for part in (CARD, ARCHIVE)),
    ]
    found = [entry.filename for entry in entries]
    if found != expected:
        odd = sorted(set(found) ^ set(expected)) or ["the order of its entries"]
        raise ArchiveRefusedError(f"it holds something else than models and their cards: {', '.join(odd)}")
    cards = tuple(_card(opened, name) for name in contents.models)
    digest = ModelSet(cards=cards, fusion=contents.fusion).digest
    if digest != wanted_digest:
        raise ArchiveRefusedError(f"it holds the models {digest}, not {wanted_digest}")


def _card(opened: zipfile.ZipFile, name: str) -> ModelCard:
    """Return a card that its address vouches for, and that vouches for its network."""
    card = ModelCard.model_validate_json(opened.read(f"{MODELS}/{name}/{CARD}"))
    if card.address != name:
        raise ArchiveRefusedError(f"the card of {name} is that of {card.address}")
    if hashlib.sha256(opened.read(f"{MODELS}/{name}/{ARCHIVE}")).hexdigest() != card.archive_sha256:
        raise ArchiveRefusedError(f"the network of {name} is not the one its card vouches for")
    return card


def main(
    archive: Path,
    models_dir: Annotated[Path, typer.Option("--models", help="published models that it must hold")] = SHIPPED_MODELS,
) -> None:
    """Verify ARCHIVE (a .mar file) against the cards of published models; the exit status says what was found."""
    try:
        check_archive(archive, read_model_set(models_dir).digest)
    except ModelSetError as error:
        typer.echo(f"{archive} is refused: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{archive}: verified")


if __name__ == "__main__":
    typer.run(main)
