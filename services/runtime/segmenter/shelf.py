"""Published networks and sets of them in the artefact store, addressed by their hashes (design decisions 14 and 15).

A network lies under its address, which is the hash of its card, which holds the hashes of its weights and archive; a
set under its digest. So whoever brings one away knows what it is, whoever put it there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.contracts.keys import MODELS
from services.contracts.messages import ModelPublished
from services.contracts.model_card import RECOMMENDED_FUSION, FusionRules, ModelCard, ModelSet, rules_of_one
from services.contracts.values import ArtefactRef, Sha256, Value
from services.runtime.segmenter.cards import ARCHIVE, CARD, WEIGHTS, read_card
from services.runtime.segmenter.port import ModelSetError
from services.runtime.store.port import ArtefactStore
from services.runtime.store.rewritten import read_latest

NETWORKS, SETS = f"{MODELS}/networks", f"{MODELS}/sets"
SET, SERVED = "set.json", "nucleus.mar"
PARTS = (CARD, WEIGHTS, ARCHIVE)
_SERVING, _SET_UP = f"{MODELS}/serving.json", f"{MODELS}/set-up.json"
MOST_WANTED = 20


class UnknownModelError(ModelSetError):
    """No such network, or set of networks, was published here."""


class StatedSet(Value):
    """A model set as it is written: cards as text, since a card's address is the hash of its bytes.

    Attributes
    ----------
    cards
        `card.json` of each network, in order of the fusion rules.
    """

    cards: Annotated[tuple[str, ...], Field(min_length=1)]
    fusion: FusionRules
    model_set_digest: Sha256

    def model_set(self) -> ModelSet:
        """Return the model set, from its cards.

        Raises
        ------
        ModelSetError
            If its digest is not the one that is stated.
        """
        cards = tuple(ModelCard.model_validate_json(card) for card in self.cards)
        model_set = ModelSet(cards=cards, fusion=self.fusion)
        if model_set.digest != self.model_set_digest:
            raise ModelSetError(f"cards of {model_set.digest} were sent for {self.model_set_digest}")
        return model_set


class ModelShelf:
    """The published models of a store.

    Parameters
    ----------
    store
        Where they lie.
    """

    def __init__(self, store: ArtefactStore) -> None:
        self._store = store

    def addresses(self) -> tuple[str, ...]:
        """Return the addresses of all networks, sorted."""
        names = (key.removeprefix(f"{NETWORKS}/").split("/") for key in self._store.keys(NETWORKS))
        # The card comes last when a network is put here: without one it is not here yet.
        return tuple(sorted(parts[0] for parts in names if parts[-1] == CARD))

    def put_network(self, folder: Path) -> ModelPublished:
        """Put a published network here; putting it again changes nothing.

        Parameters
        ----------
        folder
            As `train` leaves it, named by the network's address.

        Returns
        -------
        ModelPublished
            What may be said of it.

        Raises
        ------
        ModelSetError
            If a file is not what the card vouches for.
        TransientError
            If the store cannot be written now.
        """
        card = read_card(folder)
        contents = {name: (folder / name).read_bytes() for name in PARTS}
        for name in (WEIGHTS, ARCHIVE):
            _require(card, name, contents[name])
        refs: dict[str, ArtefactRef] = {}
        for name in (WEIGHTS, ARCHIVE, CARD):
            key = f"{NETWORKS}/{card.address}/{name}"
            known = self._store.find(key)
            same = known is not None and known.sha256 == hashlib.sha256(contents[name]).hexdigest()
            refs[name] = known if known is not None and same else self._store.put(key, contents[name])
        return ModelPublished(model_id=card.address, card=refs[CARD], weights=refs[WEIGHTS], archive=refs[ARCHIVE])

    def card(self, address: str) -> ModelCard:
        """Return a network's card.

        Raises
        ------
        UnknownModelError
            If it is not here.
        ModelSetError
            If what is here is another one.
        """
        return self._card(address, self._content(address, CARD))

    def bring_network(self, address: str, folder: Path) -> Path:
        """Write a network's files into a folder, verified, whole or not at all; return its own folder there.

        Raises
        ------
        UnknownModelError, ModelSetError
            As `card`, and if a file is not what the card vouches for.
        """
        target = folder / address
        if target.exists():
            return target
        contents = {name: self._content(address, name) for name in PARTS}
        card = self._card(address, contents[CARD])
        for name in (WEIGHTS, ARCHIVE):
            _require(card, name, contents[name])
        partial = folder / f".{address}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in contents.items():
            (partial / name).write_bytes(content)
        return partial.rename(target)

    def put_set(self, model_set: ModelSet) -> None:
        """Put a set here, whose networks are here.

        Raises
        ------
        UnknownModelError
            If a network of it is not here.
        """
        if missing := sorted(set(model_set.names) - set(self.addresses())):
            raise UnknownModelError(f"publish {', '.join(missing)} before a set that needs it")
        stated = StatedSet(
            cards=tuple(card.encoded().decode() for card in model_set.cards),
            fusion=model_set.fusion,
            model_set_digest=model_set.digest,
        )
        key = _set_key(model_set.digest)
        if self._store.find(key) is None:
            self._store.put(key, stated.model_dump_json(indent=2).encode())

    def read_set(self, digest: str) -> ModelSet:
        """Return the set of that digest.

        Raises
        ------
        UnknownModelError
            If it is not here.
        ModelSetError
            If what is here is another one.
        """
        ref = self._store.find(_set_key(digest))
        if ref is None:
            raise UnknownModelError(f"no model set {digest[:12]} was published")
        model_set = StatedSet.model_validate_json(self._store.get(ref)).model_set()
        if model_set.digest != digest:
            raise ModelSetError(f"the model set {model_set.digest[:12]} lies where {digest[:12]} should")
        return model_set

    def sets(self) -> tuple[str, ...]:
        """Return the digests of all sets, sorted."""
        parts = (key.removeprefix(f"{SETS}/").split("/") for key in self._store.keys(SETS))
        return tuple(sorted(digest for digest, name in parts if name == SET))

    def bring_set(self, digest: str, folder: Path) -> ModelSet:
        """Write the networks of a set into a folder, verified; return the set.

        Raises
        ------
        UnknownModelError, ModelSetError
            As `read_set` and `bring_network`.
        """
        model_set = self.read_set(digest)
        for address in model_set.names:
            self.bring_network(address, folder)
        return model_set

    def serve(self, digest: str) -> None:
        """Have model servers serve a set, and those before it as long as there is room."""
        wanted = [known for known in self.wanted() if known != digest]
        self._store.put(_SERVING, json.dumps([*wanted[-MOST_WANTED:], digest]).encode())

    def set_up(self, digest: str) -> None:
        """Note with which set a system is set up; model servers serve the one before beside it, for open nuclei."""
        before = read_latest(self._store, _SET_UP)
        if before is not None and json.loads(before) != digest:
            self.serve(str(json.loads(before)))
        self._store.put(_SET_UP, json.dumps(digest).encode())

    def wanted(self) -> tuple[str, ...]:
        """Return the digests of the sets that model servers should serve, the last one asked for last."""
        content = read_latest(self._store, _SERVING)
        return () if content is None else tuple(str(digest) for digest in json.loads(content))

    def put_served(self, digest: str, archive: bytes) -> ArtefactRef:
        """Put the archive here that a TorchServe loads for a set."""
        return self._store.put(f"{SETS}/{digest}/{SERVED}", archive)

    def served(self, digest: str) -> bytes | None:
        """Return the archive that a TorchServe loads for a set, or None; whoever loads it verifies it first."""
        ref = self._store.find(f"{SETS}/{digest}/{SERVED}")
        return None if ref is None else self._store.get(ref)

    def _content(self, address: str, name: str) -> bytes:
        ref = self._store.find(f"{NETWORKS}/{address}/{name}")
        if ref is None:
            raise UnknownModelError(f"no network {address} was published here: see `fibsem-nuclei models list`")
        return self._store.get(ref)

    def _card(self, address: str, content: bytes) -> ModelCard:
        card = ModelCard.model_validate_json(content)
        if card.address != address:
            raise ModelSetError(f"the card of {card.address} lies where that of {address} should")
        return card


def composed(base: ModelSet, cards: Sequence[ModelCard]) -> ModelSet:
    """Return a set in which networks take the places of their namesakes; fusion stays as it is.

    Networks without namesakes become the set if they make up one by themselves: one network that knows every class
    that the set tells, or those of the recommended rules.

    Raises
    ------
    UnknownModelError
        If neither is so, or two of one name are given.
    ValueError
        If the new set does not fit together: voxel size, normalisation, classes.
    """
    replaced = {card.name: card for card in base.cards}
    given = {card.name: card for card in cards}
    if len(given) < len(cards):
        raise UnknownModelError("two networks of one name were given: a set holds one of each")
    strange = sorted(given.keys() - replaced.keys())
    fusion = _rules_by_themselves(base, cards) if strange else base.fusion
    if fusion is None:
        raise UnknownModelError(
            f"the set has no network called {', '.join(strange)}: a network takes the place of one called "
            f"{', '.join(replaced)}, or of all if it knows every class that they tell; others label images by "
            "`fibsem-nuclei predict`"
        )
    chosen = replaced | given
    return ModelSet(cards=tuple(chosen[name] for name in fusion.networks), fusion=fusion)


def _rules_by_themselves(base: ModelSet, cards: Sequence[ModelCard]) -> FusionRules | None:
    """Return the rules by which networks are a set without any other, if they can be one."""
    if {card.name for card in cards} == set(RECOMMENDED_FUSION.networks):
        return RECOMMENDED_FUSION
    if len(cards) == 1 and base.fusion.class_ids <= {output.class_id for output in cards[0].classes}:
        return rules_of_one(cards[0])
    return None


def _set_key(digest: str) -> str:
    return f"{SETS}/{digest}/{SET}"


def _require(card: ModelCard, name: str, content: bytes) -> None:
    promised = card.weights_sha256 if name == WEIGHTS else card.archive_sha256
    if hashlib.sha256(content).hexdigest() != promised:
        raise ModelSetError(f"{name} of {card.address} is not what its card vouches for")
