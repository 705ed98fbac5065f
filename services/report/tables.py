"""Rows of tables, CSV or Parquet alike, turned into typed values; what does not parse is named with its place."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from services.report.content import (
    HOMOLOGS,
    CheckRow,
    ChromosomeRow,
    LedgerRow,
    NucleusRow,
    ObjectRow,
    ResultsFormatError,
    SliceRow,
    SuspectRow,
    Zyx,
)

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
T = TypeVar("T")

_TRUE = frozenset({"true", "1", "yes"})
_FALSE = frozenset({"false", "0", "no"})


def nucleus_row(row: Row, place: str) -> NucleusRow:
    """Return a row of the table of nuclei.

    Parameters
    ----------
    row
        Column name to cell; a CSV has text where a Parquet file has numbers.
    place
        File and line, for the message of an error.

    Raises
    ------
    ResultsFormatError
        When a column that must be there is not, or a cell does not parse.
    """
    cells = _Cells(row, place)
    state = cells.needed("state", str)
    if state not in {"closed", "open"}:
        raise ResultsFormatError(f"{place}: state is {state!r}, expected 'closed' or 'open'")
    nucleus_id = cells.needed("nucleus_id", str)
    if "/" in nucleus_id or nucleus_id in {".", ".."}:
        raise ResultsFormatError(f"{place}: nucleus_id {nucleus_id!r} is not a folder name")
    return NucleusRow(
        nucleus_id=nucleus_id,
        z_first=cells.needed("z_first", to_int),
        z_last=cells.optional("z_last", to_int),
        clipped=tuple(side.strip() for side in (cells.optional("clipped", str) or "").split(",") if side.strip()),
        is_closed=state == "closed",
        volume_um3=cells.optional("volume_um3", to_float),
        chromosome_count=cells.optional("chromosome_count", to_int),
        expected_chromosomes=cells.optional("expected_chromosomes", to_int) or HOMOLOGS,
        nucleolus_volume_um3=cells.optional("nucleolus_volume_um3", to_float),
        chromosome_volume_um3=cells.optional("chromosome_volume_um3", to_float),
        sc_volume_um3=cells.optional("sc_volume_um3", to_float),
        membrane_volume_um3=cells.optional("membrane_volume_um3", to_float),
        centroid_nm=cells.point("centroid_z_nm", "centroid_y_nm", "centroid_x_nm"),
        absent_planes=cells.optional("absent_planes", to_int) or 0,
        bridged_planes=cells.optional("bridged_planes", to_int) or 0,
        mean_confidence=cells.optional("mean_confidence", to_float),
        continues=cells.optional("continues", str) or "",
        stage=cells.optional("stage", str) or "",
        checks_failed=cells.optional("checks_failed", to_int),
        area_um2=cells.optional("area_um2", to_float),
        sphericity=cells.optional("sphericity", to_float),
        nucleolus_eccentricity=cells.optional("nucleolus_eccentricity", to_float),
        envelope_thickness_um=cells.optional("envelope_thickness_um", to_float),
        sc_length_um=cells.optional("sc_length_um", to_float),
        sc_tracks=cells.optional("sc_tracks", to_int),
        neighbours=cells.optional("neighbours", to_int),
    )


def object_row(row: Row, place: str) -> ObjectRow:
    """Return a row of the table of objects; parameters and errors as of `nucleus_row`."""
    cells = _Cells(row, place)
    return ObjectRow(
        nucleus_id=cells.needed("nucleus_id", str),
        object_id=cells.needed("object_id", to_int),
        class_name=cells.needed("class", str),
        chromosome=cells.optional("chromosome", to_int),
        voxels=cells.needed("voxels", to_int),
        volume_um3=cells.needed("volume_um3", to_float),
        touches_border=cells.optional("touches_border", to_bool) or False,
        is_open=cells.optional("open", to_bool) or False,
        is_bridged=cells.optional("bridged", to_bool) or False,
    )


def chromosome_row(row: Row, place: str) -> ChromosomeRow:
    """Return a row of the table of chromosomes; parameters and errors as of `nucleus_row`."""
    cells = _Cells(row, place)
    return ChromosomeRow(
        nucleus_id=cells.needed("nucleus_id", str),
        chromosome=cells.needed("chromosome", to_int),
        is_complete=cells.needed("complete", to_bool),
        volume_um3=cells.needed("volume_um3", to_float),
        area_um2=cells.optional("area_um2", to_float),
        sphericity=cells.optional("sphericity", to_float),
        sc_length_um=cells.optional("sc_length_um", to_float),
        contacts=cells.optional("contacts", to_int),
        contact_area_um2=cells.optional("contact_area_um2", to_float),
    )


def check_row(row: Row, place: str) -> CheckRow:
    """Return a row of the table of checks; parameters and errors as of `nucleus_row`."""
    cells = _Cells(row, place)
    return CheckRow(
        nucleus_id=cells.needed("nucleus_id", str),
        check=cells.needed("check", str),
        state=cells.needed("state", str),
        detail=cells.optional("detail", str) or "",
        value=cells.optional("value", to_float),
        low=cells.optional("low", to_float),
        high=cells.optional("high", to_float),
        object_id=cells.optional("object_id", to_int),
        chromosome=cells.optional("chromosome", to_int),
        place_nm=cells.point("z_nm", "y_nm", "x_nm"),
    )


def suspect_row(row: Row, place: str) -> SuspectRow:
    """Return a row of the table of suspects; parameters and errors as of `nucleus_row`."""
    cells = _Cells(row, place)
    return SuspectRow(
        nucleus_id=cells.needed("nucleus_id", str),
        rank=cells.needed("rank", to_int),
        doubt=cells.needed("doubt", str),
        score=cells.needed("score", to_float),
        reason=cells.needed("reason", str),
        chromosomes=cells.optional("chromosomes", str) or "",
        place_nm=cells.point("z_nm", "y_nm", "x_nm"),
    )


def ledger_row(row: Row, place: str) -> LedgerRow:
    """Return a row of the ledger; parameters and errors as of `nucleus_row`."""
    cells = _Cells(row, place)
    return LedgerRow(
        z=cells.optional("z", to_int),
        state=cells.needed("state", str),
        reason=cells.optional("reason", str) or "",
        file=cells.optional("file", str) or "",
    )


def slice_row(row: Row, place: str) -> SliceRow:
    """Return a row of the table of slices; parameters and errors as of `nucleus_row`."""
    cells = _Cells(row, place)
    troubles = cells.optional("troubles", str) or ""
    return SliceRow(
        z=cells.needed("z", to_int),
        troubles=tuple(troubles.split(",")) if troubles else (),
        absent=cells.optional("absent", str) or "",
        severity=cells.needed("severity", to_float),
        thickness_nm=cells.optional("thickness_nm", to_float),
        sharpness=cells.optional("sharpness", to_float),
    )


def to_int(cell: Cell) -> int:
    """Return a whole number from a cell.

    Examples
    --------
    >>> to_int("12"), to_int(12.0)
    (12, 12)
    """
    number = float(cell) if cell is not None else float("nan")
    if number != int(number):
        raise ValueError(f"{cell!r} is not a whole number")
    return int(number)


def to_float(cell: Cell) -> float:
    """Return a number from a cell.

    Examples
    --------
    >>> to_float("0.25")
    0.25
    """
    if cell is None or isinstance(cell, bool):
        raise ValueError(f"{cell!r} is not a number")
    return float(cell)


def to_bool(cell: Cell) -> bool:
    """Return yes or no from a cell.

    Examples
    --------
    >>> to_bool("False"), to_bool(1)
    (False, True)
    """
    word = str(cell).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{cell!r} is neither true nor false")
    return word in _TRUE


class _Cells:
    """Cells of one row; an empty or not-a-number cell counts as absent."""

    def __init__(self, row: Row, place: str) -> None:
        self._row = row
        self._place = place

    def optional(self, column: str, parse: Callable[[Cell], T]) -> T | None:
        cell = self._row.get(column)
        if cell is None or (isinstance(cell, str) and not cell.strip()) or cell != cell:  # noqa: PLR0124 - NaN
            return None
        try:
            return parse(cell)
        except (ValueError, OverflowError) as error:
            raise ResultsFormatError(f"{self._place}: column {column!r}: {error}") from error

    def needed(self, column: str, parse: Callable[[Cell], T]) -> T:
        if column not in self._row:
            raise ResultsFormatError(f"{self._place}: there is no column {column!r}")
        value = self.optional(column, parse)
        if value is None:
            raise ResultsFormatError(f"{self._place}: column {column!r} is empty")
        return value

    def point(self, *columns: str) -> Zyx | None:
        values = [self.optional(column, to_float) for column in columns]
        z, y, x = values
        return None if z is None or y is None or x is None else (z, y, x)
