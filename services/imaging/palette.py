"""Colours for single chromosomes, said once for pictures and for exported files."""

CHROMOSOME_COLOURS: tuple[tuple[int, int, int], ...] = (
    (214, 68, 74),
    (46, 134, 193),
    (240, 150, 40),
    (124, 181, 24),
    (141, 95, 211),
    (31, 161, 135),
    (226, 98, 168),
    (236, 204, 76),
    (58, 76, 178),
    (169, 113, 75),
    (96, 196, 236),
    (92, 116, 92),
)
"""Red, green and blue, 0 to 255, of twelve chromosomes by rank: easy to tell apart on white and on grey."""
