"""Chromosomes from the objects of a nucleus: methods of one interface, chosen by name."""

from __future__ import annotations

from collections.abc import Callable

from services.imaging.labelling import Components, LabelTables, components_of

CHROMOSOME = 2
SYNAPTONEMAL_COMPLEX = 4

HOMOLOGS = 12
BIVALENTS = 6

Separation = Callable[[LabelTables, int], Components]


class UnknownMethodError(ValueError):
    """No method of separation has that name."""


def cc26(tables: LabelTables, expected: int) -> Components:
    """Return the largest 26-connected components, as the manuscript does (4.4 and domain.md 4, Post-processing).

    Homologs are chromatin alone; bivalents are chromatin held together by the synaptonemal complex between
    the two. Touching chromosomes come out as one: that is the method's limit, which the scores show.

    Parameters
    ----------
    tables
        Run tables of a closed nucleus.
    expected
        How many to keep; up to 6 the synaptonemal complex counts as chromosome.
    """
    classes = {CHROMOSOME, SYNAPTONEMAL_COMPLEX} if expected <= BIVALENTS else {CHROMOSOME}
    return components_of(tables, classes, expected)


METHODS: dict[str, Separation] = {"cc26": cc26}


def method(name: str) -> Separation:
    """Return a method by its name.

    Raises
    ------
    UnknownMethodError
        If there is none.
    """
    if name not in METHODS:
        raise UnknownMethodError(f"no separation is called {name!r}; there are: {', '.join(sorted(METHODS))}")
    return METHODS[name]
