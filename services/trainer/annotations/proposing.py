"""The beginning of a class map: the values, colours or names that masks hold, for a person to name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from services.contracts.classes import LabelClass
from services.trainer.annotations.coco import CocoFile
from services.trainer.annotations.reading import read_mask
from services.trainer.annotations.sources import files_of
from services.trainer.annotations.webknossos import WebKnossosVolume

_MOST_FILES, _MOST_VALUES = 50, 64


def proposed_map(masks: Path) -> str:
    """Return a class map to fill in, as TOML: each value with its share of the pixels, most frequent first.

    Parameters
    ----------
    masks
        As for an import; of a folder, the first 50 files are read.

    Raises
    ------
    UnreadableAnnotationError
        If they cannot be read.
    """
    names = ", ".join(member.label for member in LabelClass)
    head = f"# classes: {names}, or others under [classes]; also: unlabelled\n"
    if masks.suffix.lower() == ".json":
        found = sorted(set(CocoFile(masks).category_names.values()))
        return head + 'unannotated = "?"\n\n[categories]\n' + "".join(f'"{name}" = "?"\n' for name in found)
    if masks.suffix.lower() == ".zip":
        with WebKnossosVolume(masks) as volume:
            lines = [f'{number} = "?"  # {name}\n' for number, name in sorted(volume.segment_names.items())]
        return head + '[values]\n0 = "unlabelled"\n' + "".join(lines)
    counts, is_colour = _count(masks)
    return head + _lines(counts, is_colour=is_colour)


def _count(masks: Path) -> tuple[Mapping[int, int], bool]:
    counts: Counter[int] = Counter()
    colours = []
    for path in files_of(masks)[:_MOST_FILES]:
        mask = read_mask(path)
        colours.append(mask.is_colour)
        values, pixels = np.unique(mask.values_zyx, return_counts=True)
        counts.update(dict(zip(values.tolist(), pixels.tolist(), strict=True)))
    return counts, all(colours)


def _lines(counts: Mapping[int, int], *, is_colour: bool) -> str:
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [
        (f'"#{value:06x}"' if is_colour else f"{value}") + f' = "?"  # {count / total:.3%} of the pixels\n'
        for value, count in ranked[:_MOST_VALUES]
    ]
    more = f"# and {len(ranked) - _MOST_VALUES} more\n" if len(ranked) > _MOST_VALUES else ""
    return ("[colours]\n" if is_colour else "[values]\n") + "".join(lines) + more
