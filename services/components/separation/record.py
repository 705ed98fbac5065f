"""What a separation says of its chromosomes, as rows beside what is measured on them."""

from __future__ import annotations

from services.components.separation.field import Zyx
from services.components.separation.result import Separated, Suspect
from services.contracts.rows import ChromosomeRow, MeasuredNucleus, SuspectRow

_DIGITS = 6


def with_doubts(measured: MeasuredNucleus, separated: Separated, canvas_origin_zyx_nm: Zyx) -> MeasuredNucleus:
    """Return the rows of a nucleus with confidence, complexes and suspects; the same separation, the same rows.

    Parameters
    ----------
    measured
        What was measured.
    separated
        The separation that it was measured on.
    canvas_origin_zyx_nm
        Where the canvas begins in the acquisition: places are told in the acquisition.
    """
    said = {chromosome.number: chromosome for chromosome in separated.chromosomes}
    rows: list[ChromosomeRow] = []
    for row in measured.chromosomes:
        known = said.get(row.chromosome)
        if known is None:
            rows.append(row)
            continue
        length_um = None if known.sc_length_nm is None else round(known.sc_length_nm / 1000, _DIGITS)
        update = {
            "bivalent": known.bivalent or None,
            "confidence": _rounded(known.confidence),
            "sc_path_um": length_um,
            "sc_found": _rounded(known.sc_found),
        }
        rows.append(row.model_copy(update=update))
    suspects = (
        _suspect_row(measured.nucleus_id, rank, suspect, canvas_origin_zyx_nm)
        for rank, suspect in enumerate(separated.suspects, 1)
    )
    return measured.model_copy(update={"chromosomes": tuple(rows), "suspects": tuple(suspects)})


def _suspect_row(nucleus_id: str, rank: int, suspect: Suspect, origin_zyx_nm: Zyx) -> SuspectRow:
    place = suspect.place_zyx_nm
    z, y, x = (
        (None, None, None) if place is None else (round(a + b, 1) for a, b in zip(place, origin_zyx_nm, strict=True))
    )
    return SuspectRow(
        nucleus_id=nucleus_id,
        rank=rank,
        doubt=suspect.doubt.value,
        chromosomes=",".join(map(str, suspect.chromosomes)),
        score=round(suspect.score, _DIGITS),
        reason=suspect.reason,
        z_nm=z,
        y_nm=y,
        x_nm=x,
    )


def _rounded(share: float | None) -> float | None:
    return None if share is None else min(1.0, max(0.0, round(share, _DIGITS)))
