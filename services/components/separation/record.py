"""What a separation says, as JSON beside `labels/chromosomes`."""

from __future__ import annotations

import json
from dataclasses import asdict

from services.components.separation.field import Zyx
from services.components.separation.result import Separated


def record_json(separated: Separated, canvas_origin_zyx_nm: Zyx) -> bytes:
    """Return chromosomes and suspects as JSON; the same separation, the same bytes.

    Parameters
    ----------
    separated
        The separation.
    canvas_origin_zyx_nm
        Where the canvas begins in the acquisition: places are told in the acquisition.
    """
    suspects = []
    for suspect in separated.suspects:
        place = suspect.place_zyx_nm
        if place is not None:
            z, y, x = (round(a + b, 1) for a, b in zip(place, canvas_origin_zyx_nm, strict=True))
            place = (z, y, x)
        suspects.append({**asdict(suspect), "place_zyx_nm": place})
    document = {
        "forced": separated.forced,
        "chromosomes": [asdict(chromosome) for chromosome in separated.chromosomes],
        "suspects": suspects,
    }
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()
