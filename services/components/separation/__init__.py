"""Chromosomes from the label volume of a nucleus: methods of one interface, chosen by name.

`separate` takes the run tables of a nucleus and gives a chromosome number for every voxel of chromatin, whatever
objects the voxels were connected to. The methods, by name:

- ``cc26``: the largest 26-connected objects, as the manuscript counts them; chromosomes that touch are one.
- ``sc_watershed``: every connected piece of the synaptonemal complex (SC) grows by distance; gaps over-split.
- ``sc_link_watershed``: pieces of the SC are linked to tracks, the cheapest link first, and the tracks grow.
- ``path_cover``: of all ways to link the pieces to as many tracks as expected, the cheapest one, to its optimum.

While a nucleus grows, `groups_of` gives the groups of objects that closed, to be separated one by one; `stands` says
whether the whole nucleus bears them out.
"""

from services.components.separation.connected import cc26
from services.components.separation.groups import (
    Group,
    GroupChromosome,
    GroupRows,
    chromosomes_by_group,
    groups_of,
    stands,
    worth_telling,
)
from services.components.separation.methods import (
    DEFAULT,
    METHODS,
    Nucleus,
    UnknownMethodError,
    named,
    separate,
    target_of,
)
from services.components.separation.result import Chromosome, Doubt, Separated, Suspect, Target, TargetError

__all__ = [
    "DEFAULT",
    "METHODS",
    "Chromosome",
    "Doubt",
    "Group",
    "GroupChromosome",
    "GroupRows",
    "Nucleus",
    "Separated",
    "Suspect",
    "Target",
    "TargetError",
    "UnknownMethodError",
    "cc26",
    "chromosomes_by_group",
    "groups_of",
    "named",
    "separate",
    "stands",
    "target_of",
    "worth_telling",
]
