"""Where a crop and a canvas lie."""

Plane = tuple[tuple[int, int], tuple[int, int]]


def window(centroid_yx_px: tuple[float, float], window_yx_px: tuple[int, int], field_shape: tuple[int, int]) -> Plane:
    """Place a window round a centroid, moved inwards at the border so that it holds nothing but raw pixels.

    Parameters
    ----------
    centroid_yx_px
        Middle of the nucleus in the slice.
    window_yx_px
        Rows and columns of the window; a field that is smaller is taken whole.
    field_shape
        Rows and columns of the slice.

    Returns
    -------
    tuple
        Origin and shape, (y, x).

    Examples
    --------
    >>> window((50.0, 197.2), (100, 100), (300, 200))
    ((0, 100), (100, 100))
    >>> window((50.0, 30.0), (100, 100), (80, 200))
    ((0, 0), (80, 100))
    """
    (top, height), (left, width) = (
        _place(middle, length, size)
        for middle, length, size in zip(centroid_yx_px, window_yx_px, field_shape, strict=True)
    )
    return (top, left), (height, width)


def _place(middle: float, length: int, size: int) -> tuple[int, int]:
    length = min(length, size)
    return min(max(round(middle - length / 2), 0), size - length), length


def canvas(centroid_yx_px: tuple[float, float], window_yx_px: tuple[int, int], windows: int = 2) -> Plane:
    """Place the plane that a nucleus's label volume lies in; unlike a window it may reach beyond the field.

    Returns
    -------
    tuple
        Origin, which may be negative, and shape, (y, x).

    Examples
    --------
    >>> canvas((50.0, 30.4), (100, 100))
    ((-50, -70), (200, 200))
    """
    height, width = (windows * length for length in window_yx_px)
    return (round(centroid_yx_px[0] - height / 2), round(centroid_yx_px[1] - width / 2)), (height, width)
