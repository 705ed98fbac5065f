"""Places of all slices of a run, found at its end: an artefact that an amended version follows."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from services.contracts.keys import sha256
from services.imaging.registration.affine import Affine

Six = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class PlacesFormatError(ValueError):
    """Bytes that are not the places of a run's slices."""


class SolvedSlice(BaseModel):
    """Where one slice lies.

    Attributes
    ----------
    digest_sha256
        Of the slice made small: another slice at this z lies elsewhere.
    place
        Six numbers of its final place, of reduced planes counted from their middles; in the order of `Affine`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    place: Six


class Solution(BaseModel):
    """Where all slices of a run lie, by z.

    Examples
    --------
    >>> solution = Solution(slices={4: SolvedSlice(digest_sha256="0" * 64, place=(1, 0, 0, 1, 2.5, -1))})
    >>> Solution.from_bytes(solution.to_bytes()) == solution, solution.of(4, "0" * 64).shift_y, solution.of(4, "1" * 64)
    (True, 2.5, None)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slices: dict[int, SolvedSlice]

    def of(self, z: int, digest_sha256: str) -> Affine | None:
        """Return the place of a slice; None if the solution was not found with this very slice."""
        known = self.slices.get(z)
        return None if known is None or known.digest_sha256 != digest_sha256 else Affine(*known.place)

    def to_bytes(self) -> bytes:
        """Return the artefact; the same places give the same bytes."""
        return self.model_dump_json().encode()

    @property
    def name(self) -> str:
        """What it is known by: the first 16 digits of the artefact's SHA-256."""
        return sha256(self.to_bytes())[:16]

    @classmethod
    def from_bytes(cls, payload: bytes) -> Solution:
        """Read what :meth:`to_bytes` wrote.

        Raises
        ------
        PlacesFormatError
            If the bytes are anything else.
        """
        try:
            return cls.model_validate_json(payload)
        except ValidationError as error:
            raise PlacesFormatError(f"not the places of slices: {error.error_count()} faults") from error
