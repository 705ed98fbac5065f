"""Which networks segment which nuclei of an acquisition: decisions of the past, and how another one is taken.

A swap is a request to ingest (`UseModels`): only ingest knows which slices were handed on, so that it says from which z
on the new networks are meant, and says so in every slice from there. A nucleus keeps the networks of the slice that it
was confirmed in (design decision 14).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from services.contracts.messages import DecisionRecorded, ModelPublished
from services.contracts.model_card import ModelCard, ModelSet
from services.contracts.values import DecisionKind
from services.ingest.requests import RequestBox, UseModels
from services.runtime.bus.port import Bus
from services.runtime.bus.replay import replay_messages
from services.runtime.handler import Publication
from services.runtime.segmenter.cards import read_card, read_model_set
from services.runtime.segmenter.shelf import ModelShelf, UnknownModelError, composed
from services.runtime.service import outgoing
from services.runtime.store.port import ArtefactStore


class MisfitError(ValueError):
    """A network does not fit into the set that it should become part of."""


class NoEarlierModelsError(LookupError):
    """There was no swap that could be taken back."""


class SwapWaitsError(RuntimeError):
    """A swap that was asked for has not been decided yet."""


@dataclass(frozen=True, slots=True)
class Swap:
    """One decision.

    Attributes
    ----------
    z_first
        Nuclei confirmed in this slice or a later one have the networks of the set.
    model_set, decided_by, reason
        What was decided, by whom, and why.
    """

    z_first: int
    model_set: ModelSet
    decided_by: str
    reason: str

    def as_json(self) -> dict[str, object]:
        """Return what provenance says of it."""
        return {
            "z_first": self.z_first,
            "digest": self.model_set.digest,
            "networks": list(self.model_set.names),
            "decided_by": self.decided_by,
            "reason": self.reason,
        }


def swaps_of(bus: Bus, store: ArtefactStore, acquisition_id: str) -> list[Swap]:
    """Return the swaps of an acquisition, in the order in which they were decided.

    Raises
    ------
    TransientError
        If bus or store are out of reach.
    """
    shelf = ModelShelf(store)
    return [
        Swap(decision.z_first, shelf.read_set(decision.model_set), decision.decided_by, decision.reason)
        for decision in _decisions(bus, acquisition_id)
        if decision.model_set is not None
    ]


def _decisions(bus: Bus, acquisition_id: str) -> list[DecisionRecorded]:
    decisions: dict[str, DecisionRecorded] = {}
    for message in replay_messages(bus, ("acquisitions",)):
        if (
            isinstance(message, DecisionRecorded)
            and message.kind is DecisionKind.MODELS_SWAPPED
            and message.acquisition_id == acquisition_id
        ):
            # What is said again is said in the same order: the first time counts.
            decisions.setdefault(message.identity, message)
    return list(decisions.values())


@dataclass(frozen=True, slots=True)
class ModelDesk:
    """The networks of one acquisition, for whoever decides about them.

    Attributes
    ----------
    store, bus
        Of the run or the deployed system.
    acquisition_id
        Which acquisition.
    deployed_dir
        Folder of the networks that the system was set up with.
    """

    store: ArtefactStore
    bus: Bus
    acquisition_id: str
    deployed_dir: Path

    @property
    def shelf(self) -> ModelShelf:
        """Where published networks lie."""
        return ModelShelf(self.store)

    def deployed(self) -> ModelSet:
        """Return the networks that the system was set up with."""
        return read_model_set(self.deployed_dir)

    def swaps(self) -> list[Swap]:
        """Return the decisions so far, oldest first."""
        return swaps_of(self.bus, self.store, self.acquisition_id)

    def current(self) -> ModelSet:
        """Return the networks of nuclei that are confirmed from now on."""
        swaps = self.swaps()
        return swaps[-1].model_set if swaps else self.deployed()

    def publish(self, folder: Path) -> ModelPublished:
        """Put a trained network into the store and say so on the bus; return what was said."""
        message = self.shelf.put_network(folder)
        producer = self.bus.producer()
        try:
            producer.publish([outgoing(Publication("models", message))])
        finally:
            producer.close()
        return message

    def with_networks(self, addresses: Sequence[str]) -> ModelSet:
        """Return the current set with networks in the places of their namesakes, or of all (`composed`).

        Raises
        ------
        UnknownModelError
            If one was not published, or has no place in the set.
        MisfitError
            If they do not fit together.
        """
        current = self.current()
        cards = [self._card(address) for address in addresses]
        try:
            chosen = composed(current, cards)
        except ValidationError as error:
            said = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
            raise MisfitError(said) from error
        versions = sorted({card.torch_version for card in chosen.cards})
        if len(versions) > 1:
            raise MisfitError(
                f"these networks were exported for torch {' and '.join(versions)}, and one process runs one torch: "
                "train again with the release that is deployed"
            )
        return chosen

    def use(self, chosen: ModelSet, wanted: UseModels) -> str:
        """Ask for a swap; return the name of the request.

        Parameters
        ----------
        chosen
            The networks.
        wanted
            Who decides, why, and from which z on; its `model_set` is that of `chosen`.

        Raises
        ------
        SwapWaitsError
            If another one waits to be decided.
        """
        if waiting := self.waiting():
            raise SwapWaitsError(
                f"{waiting} waits for ingest, which answers when it runs: look at `models history`, then ask again"
            )
        self.put(chosen)
        return RequestBox(self.store, self.acquisition_id).leave(wanted)

    def put(self, chosen: ModelSet) -> None:
        """Put a set, and those networks of it that the system was set up with, where services find them."""
        there = set(self.shelf.addresses())
        for address in chosen.names:
            if address not in there:
                self.shelf.put_network(self.deployed_dir / address)
        self.shelf.put_set(chosen)
        self.shelf.serve(chosen.digest)

    def waiting(self) -> str | None:
        """Return the name of a swap that waits to be decided."""
        decided = {decision.request_id for decision in _decisions(self.bus, self.acquisition_id)}
        box = RequestBox(self.store, self.acquisition_id)
        asked = (name for name, request in box.waiting(()) if isinstance(request, UseModels))
        return next((name for name in asked if name not in decided), None)

    def earlier(self) -> ModelSet:
        """Return the networks before the last swap.

        Raises
        ------
        NoEarlierModelsError
            If there was none.
        """
        swaps = self.swaps()
        if not swaps:
            raise NoEarlierModelsError(f"{self.acquisition_id} has had no other networks than those it was set up with")
        return swaps[-2].model_set if len(swaps) > 1 else self.deployed()

    def _card(self, address: str) -> ModelCard:
        deployed = self.deployed_dir / address
        if (deployed / "card.json").exists():
            return read_card(deployed)
        found = [known for known in self.shelf.addresses() if address in {known, known.rpartition("-")[0]}]
        if len(found) != 1:
            raise UnknownModelError(
                f"{len(found)} published networks are called {address!r}: give an address, as `models list` prints it"
            )
        return self.shelf.card(found[0])
