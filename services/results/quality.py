"""The quality of slices in results: a row for each, and how many unreliable ones nuclei, chromosomes, objects span."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator

from services.contracts.messages import Message, SliceJudged
from services.contracts.rows import ChromosomeRow, NucleusRow, ObjectRow, SliceRow

_LOG, _SQUARE = "log_", "_pct2"
_DIGITS = 6


class SliceBook:
    """What was said of the slices of an acquisition, whatever the order in which it came."""

    def __init__(self) -> None:
        self._told: dict[int, SliceJudged] = {}
        self._unreliable: list[int] | None = None
        # First and last z (half open) of the objects of every chromosome of every nucleus.
        self._extents: dict[tuple[str, int], tuple[int, int]] = {}

    def take(self, message: Message) -> None:
        """Take in a message if it is about the quality of a slice; the last one about a slice stands."""
        if isinstance(message, SliceJudged):
            self._told[message.z] = message
            self._unreliable = None

    @property
    def repaired(self) -> bool:
        """Whether any slice was changed by a repair."""
        return any(told.repairs for told in self._told.values())

    def rows(self) -> Iterator[SliceRow]:
        """Yield a row for every slice, by z."""
        for _, told in sorted(self._told.items()):
            yield slice_row(told)

    def unreliable_in(self, z_first: int, z_last: int) -> int:
        """Count the unreliable slices from one z to another, inclusive; absent ones are among them."""
        if self._unreliable is None:
            self._unreliable = sorted(z for z, told in self._told.items() if not told.reliable)
        return bisect.bisect_right(self._unreliable, z_last) - bisect.bisect_left(self._unreliable, z_first)

    def mark_nuclei(self, rows: Iterable[NucleusRow]) -> Iterator[NucleusRow]:
        """Yield the rows of nuclei with the number of their unreliable slices."""
        for row in rows:
            counted = None if row.z_last is None else self.unreliable_in(row.z_first, row.z_last)
            yield row.model_copy(update={"unreliable_slices": counted}) if self._told else row

    def mark_objects(self, rows: Iterable[ObjectRow]) -> Iterator[ObjectRow]:
        """Yield the rows of objects with the number of unreliable slices between their first and last.

        Chromosomes can be marked once those of their objects were yielded.
        """
        for row in rows:
            if row.chromosome is not None:
                first, end = self._extents.get((row.nucleus_id, row.chromosome), (row.z0, row.z1))
                self._extents[row.nucleus_id, row.chromosome] = min(first, row.z0), max(end, row.z1)
            counted = self.unreliable_in(row.z0, row.z1 - 1)
            yield row.model_copy(update={"unreliable_slices": counted}) if self._told else row

    def mark_chromosomes(self, rows: Iterable[ChromosomeRow]) -> Iterator[ChromosomeRow]:
        """Yield the rows of chromosomes with the number of unreliable slices from their first object to their last.

        One that no object belongs to is not marked.
        """
        for row in rows:
            extent = self._extents.get((row.nucleus_id, row.chromosome)) if self._told else None
            if extent is None:
                yield row
            else:
                yield row.model_copy(update={"unreliable_slices": self.unreliable_in(extent[0], extent[1] - 1)})


def slice_row(told: SliceJudged) -> SliceRow:
    """Return the row of a slice; what was told as a logarithm, or as a square, stands there as a number."""
    scores = {}
    for score in told.scores:
        name, value = score.quantity, score.value
        if name.startswith(_LOG):
            name, value = name.removeprefix(_LOG), _rounded(math.exp(value))
        elif name.endswith(_SQUARE):
            name, value = name.removesuffix("2"), _rounded(math.copysign(math.sqrt(abs(value)), value))
        if name in SliceRow.model_fields:
            scores[name] = value
    return SliceRow.model_validate(
        {
            "z": told.z,
            "reliable": told.reliable,
            "troubles": tuple(trouble.trouble for trouble in told.troubles),
            "severity": max((trouble.severity for trouble in told.troubles), default=0.0),
            "absent": told.absent,
            "repairs": told.repairs,
            "thickness_nm": told.thickness_nm,
            **scores,
        }
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
