"""The segmenters of several model sets: the one that was deployed, and those that decisions named since."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.contracts.model_card import ModelSet
from services.runtime.errors import PermanentError, TransientError
from services.runtime.segmenter.port import ModelSetError, Segmenter
from services.runtime.segmenter.shelf import ModelShelf, UnknownModelError

# A nucleus stays with the set it was opened with: at a swap two sets are in use, and a third where somebody compares.
MOST_OPEN = 3

OpenSet = Callable[[str], Segmenter]


@dataclass(frozen=True, slots=True)
class OtherSets:
    """Model sets besides the one that was deployed.

    Attributes
    ----------
    segmenter_of
        From a set's digest to its networks.
    voxel_of
        From a set's digest to the pixel edge of its networks, in nm.
    """

    segmenter_of: Callable[[str], Segmenter]
    voxel_of: Callable[[str], float]


class Segmenters:
    """Opens the segmenter of a set when it is first asked for; keeps those that were asked for last.

    Parameters
    ----------
    open_set
        From a set's digest to its segmenter.
    """

    def __init__(self, open_set: OpenSet) -> None:
        self._open_set = open_set
        self._opened: OrderedDict[str, Segmenter] = OrderedDict()

    def of(self, digest: str) -> Segmenter:
        """Return the segmenter of a set.

        Raises
        ------
        UnknownModelError
            If no such set was published.
        TransientError
            If its networks cannot be run here now, which a roll-back or another release of the system mends.
        """
        found = self._opened.pop(digest, None)
        if found is None:
            while len(self._opened) >= MOST_OPEN:
                self._opened.popitem(last=False)[1].close()
            found = self._open(digest)
        self._opened[digest] = found
        return found

    def close(self) -> None:
        """Close all of them."""
        while self._opened:
            self._opened.popitem()[1].close()

    def _open(self, digest: str) -> Segmenter:
        try:
            return self._open_set(digest)
        except UnknownModelError:
            raise
        except ModelSetError as error:
            raise TransientError("segmenter", f"the networks of set {digest[:12]} cannot be used: {error}") from error


def served_name(model: str, digest: str) -> str:
    """Return the name under which a model server serves a set besides the one that it was built with.

    >>> served_name("nucleus", "0123456789abcdef")
    'nucleus-0123456789ab'
    """
    return f"{model}-{digest[:12]}"


def opened_here(shelf: ModelShelf, folder: Path, profile: str) -> OpenSet:
    """Return what runs the networks of a set in this process.

    Parameters
    ----------
    shelf
        Where sets lie.
    folder
        Where networks are kept on this machine.
    profile
        Numeric profile.
    """

    def open_set(digest: str) -> Segmenter:
        # Only here is torch needed.
        from services.runtime.segmenter.in_process import InProcessSegmenter  # noqa: PLC0415

        place = folder / digest[:12]
        model_set = shelf.bring_set(digest, place)
        return InProcessSegmenter(place, profile, fusion=model_set.fusion)

    return open_set


def voxel_sizes(shelf: ModelShelf, deployed: ModelSet) -> Callable[[str], float]:
    """Return what tells the pixel edge, in nm, of the networks of a set by its digest; of an unknown one the default.

    Parameters
    ----------
    shelf
        Where other sets lie.
    deployed
        The set at hand.
    """
    known = {deployed.digest: deployed.voxel_size_nm}

    def voxel_of(digest: str) -> float:
        if digest not in known:
            try:
                known[digest] = shelf.read_set(digest).voxel_size_nm
            except UnknownModelError:
                # Decisions name sets that were published, so this is an insane message, or a nucleus that was opened
                # with networks of an earlier set-up. Whoever segments it says what is wrong.
                return deployed.voxel_size_nm
            except ModelSetError as error:
                raise PermanentError("other_models", str(error)) from error
        return known[digest]

    return voxel_of
