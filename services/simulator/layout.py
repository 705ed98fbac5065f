"""Where nuclei lie: hexagonal sheets of the germ line, with neighbours that the field's border cuts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.simulator.anatomy import Anatomy
from services.simulator.nucleus import NucleusShape, nucleus_shape
from services.simulator.randomness import Stream, generator

FloatArray = NDArray[np.float64]

CAP_NM = 700.0
"""Free depth before and after a whole nucleus, which the method's crops reach into."""
BORDER_NM = 350.0
"""Free distance between a whole nucleus and the field's border."""
NARROW_BORDER_NM = 150.0
"""The same for nuclei in a row, whose field is to show no more than slivers of their neighbours."""
ROW_PITCH = 0.88
"""Distance of the rows of a sheet, in units of the spacing within a row."""
_HALF_NM = 2350.0


@dataclass(frozen=True)
class Arrangement:
    """How nuclei are laid out.

    Attributes
    ----------
    whole
        Number of nuclei that must lie entirely inside the field.
    layers
        Sheets stacked along z; whole nuclei are dealt out over them.
    spacing_nm
        Distance of neighbouring centres before they are pushed apart.
    gap_nm
        Least distance between two envelopes; 0 lets neighbours touch.
    neighbours
        Whether nuclei cut by the x and y borders surround the whole ones.
    in_a_row
        Whether the whole ones of a layer lie side by side: a narrow field that shows little of their neighbours.
    """

    whole: int = 3
    layers: int = 1
    spacing_nm: float = 4900.0
    gap_nm: float = 150.0
    neighbours: bool = True
    in_a_row: bool = False


@dataclass(frozen=True)
class Place:
    """A nucleus' shape and where it lies; ``index`` is the number its randomness comes from."""

    index: int
    requested: bool
    centre_zyx_nm: FloatArray
    shape: NucleusShape


def _row_capacities(columns: int, rows: int) -> list[int]:
    """Whole sites of each row: odd rows are shifted by half a pitch and hold one less."""
    return [columns - row % 2 if columns > 1 else 1 for row in range(rows)]


def sheet_shape(count: int) -> tuple[int, int]:
    """Rows and columns of the smallest sheet with at least ``count`` whole sites.

    Examples
    --------
    >>> sheet_shape(1), sheet_shape(2), sheet_shape(3), sheet_shape(8)
    ((1, 1), (1, 2), (2, 2), (3, 3))
    """
    best = (count * 10, 1, count)
    for columns in range(1, count + 1):
        rows = 1
        while sum(_row_capacities(columns, rows)) < count:
            rows += 1
        area = columns * rows + abs(columns - rows)
        best = min(best, (area, rows, columns))
    return best[1], best[2]


def _per_layer(arrangement: Arrangement) -> int:
    return -(-arrangement.whole // arrangement.layers)


def _rows_and_columns(arrangement: Arrangement) -> tuple[int, int]:
    count = max(1, _per_layer(arrangement))
    return (1, count) if arrangement.in_a_row else sheet_shape(count)


def field_size_nm(arrangement: Arrangement, anatomy: Anatomy) -> tuple[float, float, float]:
    """Size (z, y, x) of the smallest block that holds an arrangement with its caps and borders, in nm.

    Examples
    --------
    >>> field_size_nm(Arrangement(whole=1), Anatomy())
    (6400.0, 5400.0, 5400.0)
    """
    scale = anatomy.nucleus_radius_nm / 2050.0
    half = _HALF_NM * scale
    rows, columns = _rows_and_columns(arrangement)
    # A single column is staggered sideways by nothing, several by half a pitch that stays inside.
    depth = 2 * (half + CAP_NM) + 300 + (arrangement.layers - 1) * _layer_pitch_nm(anatomy)
    border = NARROW_BORDER_NM if arrangement.in_a_row else BORDER_NM
    height = 2 * (half + border) + (rows - 1) * ROW_PITCH * arrangement.spacing_nm
    width = 2 * (half + border) + (columns - 1) * arrangement.spacing_nm
    return depth, height, width


def _layer_pitch_nm(anatomy: Anatomy) -> float:
    return 2 * _HALF_NM * anatomy.nucleus_radius_nm / 2050.0 + 600.0


def _lattice(arrangement: Arrangement, size_nm: tuple[float, float, float]) -> list[tuple[float, float, bool]]:
    """Sites (y, x, whole) of one sheet centred in the field; whole sites come first, row by row."""
    rows, columns = _rows_and_columns(arrangement)
    pitch = arrangement.spacing_nm
    y0 = size_nm[1] / 2 - (rows - 1) / 2 * pitch * ROW_PITCH
    x0 = size_nm[2] / 2 - (columns - 1) / 2 * pitch
    whole: list[tuple[float, float, bool]] = []
    cut: list[tuple[float, float, bool]] = []
    reach = int(max(size_nm[1:]) / pitch) + 2
    for row in range(-reach, rows + reach):
        for column in range(-reach, columns + reach):
            y, x = y0 + row * pitch * ROW_PITCH, x0 + (column + (row % 2) / 2 * (columns > 1)) * pitch
            inside = 0 <= row < rows and 0 <= column < _row_capacities(columns, rows)[row]
            (whole if inside else cut).append((y, x, inside))
    return whole + cut


def _candidates(
    arrangement: Arrangement, anatomy: Anatomy, seed: int, size_nm: tuple[float, float, float]
) -> list[Place]:
    """All nuclei before they are pushed apart: the whole ones of every layer first, then neighbours."""
    rng = generator(seed, Stream.LAYOUT)
    pitch_z = _layer_pitch_nm(anatomy)
    first_z = size_nm[0] / 2 - (arrangement.layers - 1) / 2 * pitch_z
    sites: list[tuple[FloatArray, bool]] = []
    left = arrangement.whole
    for layer in range(arrangement.layers):
        quota = min(left, _per_layer(arrangement))
        left -= quota
        for number, (y, x, inside) in enumerate(_lattice(arrangement, size_nm)):
            jitter = rng.normal(size=3) * (90.0, 130.0, 130.0) * (1.0 if inside else 2.0)
            place = np.array([first_z + layer * pitch_z, y, x]) + np.clip(jitter, -300, 300)
            if (inside and number < quota) or (not inside and arrangement.neighbours):
                sites.append((place, inside))
    sites.sort(key=lambda site: not site[1])
    near = [site for site in sites if site[1] or _may_show(site[0], size_nm, 1.25 * anatomy.nucleus_radius_nm)]
    return [Place(k, inside, place, nucleus_shape(anatomy, seed, k)) for k, (place, inside) in enumerate(near)]


def _may_show(centre: FloatArray, size_nm: tuple[float, float, float], reach_nm: float) -> bool:
    return bool(np.all(centre[1:] > -reach_nm) and np.all(centre[1:] < np.array(size_nm[1:]) + reach_nm))


def _push_apart(places: list[Place], size_nm: tuple[float, float, float], gap_nm: float) -> FloatArray:
    """Centres after overlapping nuclei moved apart and whole ones moved inside the field."""
    centres = np.array([place.centre_zyx_nm for place in places])
    free = np.array([CAP_NM, BORDER_NM, BORDER_NM])
    for _ in range(60):
        moved = False
        for a, one in enumerate(places):
            for b in range(a):
                moved |= _separate(centres, (a, b), (one.shape, places[b].shape), gap_nm)
        for a, one in enumerate(places):
            if one.requested:
                low = free - one.shape.extent_nm[0]
                high = np.array(size_nm) - free - one.shape.extent_nm[1]
                centres[a] = np.where(low <= high, np.clip(centres[a], low, high), (low + high) / 2)
        if not moved:
            break
    return centres


def _separate(
    centres: FloatArray, pair: tuple[int, int], shapes: tuple[NucleusShape, NucleusShape], gap_nm: float
) -> bool:
    """Move two centres apart where their envelopes are nearer than the gap; say whether they were."""
    a, b = pair
    apart = centres[a] - centres[b]
    distance = float(np.linalg.norm(apart))
    if distance > 6500:
        return False
    direction = apart / distance
    radius_a = float(shapes[0].body.surface_radius_nm(-direction[None])[0])
    radius_b = float(shapes[1].body.surface_radius_nm(direction[None])[0])
    lack = radius_a + radius_b + gap_nm - distance
    if lack <= 0.5:
        return False
    centres[a] += direction * lack / 2
    centres[b] -= direction * lack / 2
    return True


def _cut_by_border(place: Place, centre: FloatArray, size_nm: tuple[float, float, float]) -> bool:
    """Whether a border in y or x cuts a nucleus and leaves at least 150 nm of it visible."""
    low, high = (place.shape.extent_nm + centre)[:, 1:]
    size = np.array(size_nm[1:])
    return bool(np.all(high > 150) and np.all(low < size - 150) and (np.any(low < 0) or np.any(high > size)))


def laid_out(arrangement: Arrangement, anatomy: Anatomy, seed: int, size_nm: tuple[float, float, float]) -> list[Place]:
    """Places of all nuclei of a field.

    Parameters
    ----------
    arrangement
        How many, and how near one another.
    anatomy
        Their size.
    seed
        Seed of the acquisition.
    size_nm
        Size of the block (z, y, x).

    Returns
    -------
    list of Place
        The whole nuclei first, then the neighbours.
    """
    places = _candidates(arrangement, anatomy, seed, size_nm)
    centres = _push_apart(places, size_nm, arrangement.gap_nm)
    return [
        Place(place.index, place.requested, centre, place.shape)
        for place, centre in zip(places, centres, strict=True)
        if place.requested or _cut_by_border(place, centre, size_nm)
    ]
