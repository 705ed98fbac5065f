"""What file names say: which mask belongs to which image, which nucleus, which plane."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ROLE = (
    r"(?:cp_)?(?:masks?|labels?|labelled|labeled|seg|segmentation|annotations?|annotated|gt|truth"
    r"|images?|img|raw|grey|gray)"
)
_SUFFIX_ROLE = re.compile(rf"[_.\- ]+{_ROLE}$", re.IGNORECASE)
_PREFIX_ROLE = re.compile(rf"^{_ROLE}[_.\- ]+", re.IGNORECASE)
_OME = re.compile(r"\.ome$", re.IGNORECASE)
_PLANE = re.compile(
    r"^(?P<nucleus>.*?)[_.\- ]*(?<![a-zA-Z])(?:z|slice|plane|section)[_=\- ]*(?P<z>\d+)$", re.IGNORECASE
)
_NUMBERED = re.compile(r"^(?P<nucleus>.*[^\d_.\- ])[_.\- ]+(?P<z>\d+)$")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 68


@dataclass(frozen=True, slots=True)
class Place:
    """Nucleus or stack, and plane, as far as a name tells them."""

    nucleus: str | None
    z: int | None


def stem_of(file_name: str) -> str:
    """Return a file's name without its suffix, `.ome` included.

    >>> stem_of("a.0001.ome.tif")
    'a.0001'
    """
    return _OME.sub("", file_name.rpartition(".")[0] or file_name)


def key_of(file_name: str) -> str:
    """Return what an image and its mask have in common in their names.

    >>> [key_of(name) for name in ("n3_z12.tif", "n3_z12_labels.ome.tiff", "Mask-n3_z12.png")]
    ['n3_z12', 'n3_z12', 'n3_z12']
    """
    stem = stem_of(file_name)
    return _PREFIX_ROLE.sub("", _SUFFIX_ROLE.sub("", stem)) or stem


def place_of(stem: str, pattern: str | None = None) -> Place:
    """Return nucleus and plane that a name tells.

    Parameters
    ----------
    stem
        Name without suffix.
    pattern
        Regular expression with the groups `nucleus` and `z`, or one of them; None: a number after `z`, `slice`,
        `plane` or `section`, else a number at the end, is the plane, and what precedes it the nucleus.

    Examples
    --------
    >>> place_of("nucleus-3_z0012"), place_of("VK1_ROI1_4x4x4nm.0120")
    (Place(nucleus='nucleus-3', z=12), Place(nucleus='VK1_ROI1_4x4x4nm', z=120))
    >>> place_of("overview")
    Place(nucleus=None, z=None)
    """
    if pattern is not None:
        found = re.search(pattern, stem)
        told = found.groupdict() if found else {}
        z = told.get("z")
        return Place(told.get("nucleus") or None, int(z) if z and z.isdigit() else None)
    found = _PLANE.match(stem) or _NUMBERED.match(stem)
    if found is None or len(found["z"]) > 9:
        return Place(None, None)
    return Place(found["nucleus"] or "stack", int(found["z"]))


def safe_name(stem: str) -> str:
    """Return a name that is safe as a file name anywhere, and short; a name that is both stays.

    >>> safe_name("nucleus 3 (left)"), safe_name("n3_z0012")
    ('nucleus_3_left', 'n3_z0012')
    """
    name = _UNSAFE.sub("_", stem).strip("_.-") or "image"
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 9]}-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
    return name


@dataclass(frozen=True, slots=True)
class Partners:
    """Images and masks by key.

    Attributes
    ----------
    pairs
        Image and mask by position in what was given.
    lonely_images, lonely_masks
        Positions of those without a partner.
    contested
        Positions of masks whose image has another mask already.
    """

    pairs: tuple[tuple[int, int], ...]
    lonely_images: tuple[int, ...]
    lonely_masks: tuple[int, ...]
    contested: tuple[int, ...]


def partners(image_names: Sequence[str], mask_names: Sequence[str]) -> Partners:
    """Match images and masks by their names; a name that is exactly the same wins.

    Examples
    --------
    >>> partners(["a.tif", "b.tif"], ["a_mask.png", "c_mask.png"])
    Partners(pairs=((0, 0),), lonely_images=(1,), lonely_masks=(1,), contested=())
    """
    exact = _positions([stem_of(name) for name in image_names])
    loose = _positions([key_of(name) for name in image_names])
    owner: dict[int, int] = {}
    lonely, contested = [], []
    for mask, name in enumerate(mask_names):
        image = exact.get(stem_of(name), loose.get(key_of(name)))
        if image is None:
            lonely.append(mask)
        elif image in owner:
            contested.append(mask)
        else:
            owner[image] = mask
    unmatched = tuple(image for image in range(len(image_names)) if image not in owner)
    return Partners(tuple(sorted(owner.items())), unmatched, tuple(lonely), tuple(contested))


def _positions(keys: Sequence[str]) -> Mapping[str, int]:
    """Position by key; the first where a key comes twice."""
    positions: dict[str, int] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, position)
    return positions
