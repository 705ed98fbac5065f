"""The registration of the end of a run: from what its slices left in the store to the places that fit all links."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from services.contracts.keys import places_key
from services.contracts.messages import Message, OutlinesDetected, SliceAbsent
from services.extract.places import Solution, SolvedSlice
from services.extract.registering import RegistrationRecord, SliceRegistrar
from services.imaging.registration.affine import Affine
from services.imaging.registration.pairs import Link
from services.imaging.registration.solution import refined, ruled
from services.imaging.registration.stream import RegistrationParams
from services.runtime.store.port import ArtefactMissingError, ArtefactStore


class NothingToSolveError(ValueError):
    """A run that left no digests of its slices."""


def solve(outlines: Iterable[Message], store: ArtefactStore, params: RegistrationParams) -> Solution:
    """Return the places of all slices of a run.

    Slices are linked anew, as they were when they came, one after another: memory does not grow with their pixels.

    Parameters
    ----------
    outlines
        What the run said of its slices in `outlines`, in any order.
    store
        Digests of slices.
    params
        How to register; the delay has no meaning here.

    Raises
    ------
    NothingToSolveError
        If no slice was detected, one of them without a digest, which is left only where slices are registered, or a
        slice is neither there nor absent.
    """
    told = {message.slice.z if isinstance(message, OutlinesDetected) else message.z: message
            for message in outlines if isinstance(message, OutlinesDetected | SliceAbsent)}  # fmt: skip
    digests = {z: message.digest for z, message in told.items() if isinstance(message, OutlinesDetected)}
    if not digests or None in digests.values():
        raise NothingToSolveError("its slices were not registered")
    # With a delay of one slice the links of the latest are still there to be read; first places know no delay.
    registrar, record = SliceRegistrar(store, dataclasses.replace(params, delay=1)), RegistrationRecord()
    firsts: dict[int, Affine] = {}
    links: list[Link] = []
    for z, message in sorted(told.items()):
        registrar.settle(record, {z: message}, min(told), None)
        if record.state.next_z != z + 1:
            raise NothingToSolveError(f"nothing is known of its slice {record.state.next_z}")
        links += [link for link in record.state.links if link.moving_z == z]
        if z in digests:
            firsts[z] = record.state.recent[-1].first
    scaled = dataclasses.replace(params, jump_px=record.jump_px)
    places = ruled(refined(firsts, links, max(1.0, math.hypot(*record.centre_yx))), scaled)
    return Solution(
        slices={
            z: SolvedSlice(digest_sha256=ref.sha256, place=places[z].numbers)
            for z, ref in sorted(digests.items())
            if ref is not None
        }
    )


def read_solution(store: ArtefactStore, acquisition_id: str, name: str) -> Solution:
    """Return the solution of a name.

    Raises
    ------
    ArtefactMissingError, PlacesFormatError
        If it is not there, or damaged.
    """
    key = places_key(acquisition_id, name)
    ref = store.find(key)
    if ref is None:
        raise ArtefactMissingError(f"{key} is gone: give the command of this version again with its --refine")
    return Solution.from_bytes(store.get(ref))
