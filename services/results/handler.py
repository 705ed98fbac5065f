"""Lets volumes grow in the results folder while a run goes on."""

from __future__ import annotations

from collections.abc import Sequence

from services.results.assembly import Results
from services.runtime.errors import PermanentError
from services.runtime.handler import Answer, Publication, Received


class ResultsHandler:
    """Brings what each message adds to a volume; publishes nothing.

    Parameters
    ----------
    results
        The folder to grow.
    """

    name = "results"
    topics: tuple[str, ...] = ("volumes", "components")
    batch_size = 64

    def __init__(self, results: Results) -> None:
        self._results = results

    def handle(self, received: Sequence[Received]) -> Sequence[Answer]:
        """Bring the new files of every volume that the messages tell of, once each.

        Raises
        ------
        TransientError
            If the store or the disk is out.
        """
        self._results.grow(item.message for item in received)
        return [Answer() for _ in received]

    def dead_lettered(self, received: Received, fault: PermanentError) -> Sequence[Publication]:
        """Nobody waits for results: nothing travels on."""
        del received, fault
        return ()
