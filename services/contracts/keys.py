"""Artefact keys: an identity path plus a digest of the recipe (design decision 1).

A key never holds a clock or an arrival order, so a repeat overwrites the same artefact with the same
bytes; a new input, model or parameter changes the digest, so a stale result is never served.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

# First parts of keys that belong to no acquisition.
REGISTER, RUNTIME, DEAD_LETTERS, MODELS, TRAININGS = "acquisitions", "runtime", "dead-letters", "models", "trainings"
RESERVED = frozenset({REGISTER, RUNTIME, DEAD_LETTERS, MODELS, TRAININGS})


def digest(recipe: Mapping[str, object]) -> str:
    """Return a 16-digit hexadecimal digest of a recipe.

    Parameters
    ----------
    recipe
        Everything the artefact depends on besides its identity: input hashes, parameters, the model,
        the numeric profile and a stage version raised by hand. Values must be JSON.

    Examples
    --------
    >>> digest({"input": "ab", "version": 1}) == digest({"version": 1, "input": "ab"})
    True
    >>> digest({"version": 1}) == digest({"version": 2})
    False
    """
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256(payload: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal.

    >>> sha256(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(payload).hexdigest()


def raw_key(acquisition_id: str, z: int, content_sha256: str) -> str:
    """Key of a slice's untouched bytes."""
    return f"{acquisition_id}/raw/z{z:06d}-{content_sha256[:16]}"


def outlines_key(acquisition_id: str, z: int, recipe: str) -> str:
    """Key of the outlines of one slice."""
    return f"{acquisition_id}/outlines/z{z:06d}-{recipe}"


def quality_key(acquisition_id: str, z: int, recipe: str) -> str:
    """Key of what one slice says of its quality."""
    return f"{acquisition_id}/quality/z{z:06d}-{recipe}"


def slice_digest_key(acquisition_id: str, z: int, recipe: str) -> str:
    """Key of one slice made small."""
    return f"{acquisition_id}/digests/z{z:06d}-{recipe}"


def places_key(acquisition_id: str, solution: str) -> str:
    """Key of the places of all slices that a solution over a whole run gave."""
    return f"{acquisition_id}/places/{solution}"


def crop_key(acquisition_id: str, nucleus_id: str, z: int, recipe: str) -> str:
    """Key of one crop with its mask."""
    return f"{acquisition_id}/nuclei/{nucleus_id}/crops/z{z:06d}-{recipe}.tif"


def depths_key(acquisition_id: str, nucleus_id: str, z_last: int, recipe: str) -> str:
    """Key of the measured depths of a nucleus's planes."""
    return f"{acquisition_id}/nuclei/{nucleus_id}/depths/z{z_last:06d}-{recipe}.json"


def planes_key(acquisition_id: str, nucleus_id: str, z: int, recipe: str) -> str:
    """Key of one label plane with its confidence."""
    return f"{acquisition_id}/nuclei/{nucleus_id}/planes/z{z:06d}-{recipe}"


def volume_prefix(acquisition_id: str, nucleus_id: str, recipe: str) -> str:
    """Prefix of everything that belongs to one version of a nucleus's label volume."""
    return f"{acquisition_id}/nuclei/{nucleus_id}/volume-{recipe}"
