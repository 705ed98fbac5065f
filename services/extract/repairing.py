"""Repairs of slices as the settings ask for them; the slice that was ingested stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from services.contracts.messages import SliceIngested, SliceJudged
from services.extract.reading import SliceReader
from services.imaging.quality.kinds import SPOILING, Trouble
from services.imaging.repairing.destriping import destriped
from services.imaging.repairing.gain import NO_SHIFT, Level, Shift, level_after, regained

# Raised by hand when the same slice is repaired otherwise.
STAGE_VERSION = 1

Grey = npt.NDArray[np.uint8]


class RepairingReader:
    """Reads slices as networks are to see them; keeps the last one.

    Parameters
    ----------
    reader
        Reads them as they are.
    destripe
        Whether curtains are taken out.
    """

    def __init__(self, reader: SliceReader, *, destripe: bool) -> None:
        self._reader = reader
        self._destripe = destripe
        self._last: tuple[str, Grey] | None = None

    def read(self, place: SliceIngested, shift: Shift = NO_SHIFT) -> Grey:
        """Return a slice, uint8 (y, x), without the shift of the detector that it has.

        Raises
        ------
        PermanentError, TransientError
            As `SliceReader.read`.
        """
        if not self._destripe and shift == NO_SHIFT:
            return self._reader.read(place)
        if self._last is None or self._last[0] != place.identity:
            grey = self._reader.read(place)
            if self._destripe:
                grey = destriped(grey, (place.voxel_size.y_nm, place.voxel_size.x_nm))
            self._last = (place.identity, regained(grey, shift))
        return self._last[1]

    def changes(self, place: SliceIngested) -> bool:
        """Whether destriping changes a slice."""
        return self._destripe and self.read(place) is not self._reader.read(place)


def repair_recipe(repairs: Sequence[str], shift: Shift = NO_SHIFT) -> dict[str, object]:
    """Return what keys of artefacts say of the repairs behind them; nothing where there was none."""
    if not repairs:
        return {}
    shifted = {} if shift == NO_SHIFT else {"shift": asdict(shift)}
    return {"repair": sorted(repairs), "repair_version": STAGE_VERSION} | shifted


def level_with(level: Level, told: SliceJudged) -> Level:
    """Return where the detector stands with a slice, by what was told of it; a spoilt one says nothing."""
    scores = {score.quantity: score.value for score in told.scores}
    troubles = {trouble.trouble for trouble in told.troubles}
    if "mean_grey" not in scores or troubles & SPOILING:
        return level
    stepped = Trouble.BRIGHTNESS_STEP in troubles
    return level_after(level, scores["mean_grey"], scores["log_contrast"], stepped=stepped)
