"""Exact labelling of a volume while it grows.

A plane is read once, as runs of one class. Runs that touch within a plane form *sections*; sections that touch from
plane to plane form the *components* of a block of planes, and components that meet at the faces of blocks form
*objects*. What is known about an object is summed up as its sections come, so that nothing has to hold the volume.

`StreamingLabeller` takes the planes; `LabelTables` is what it knows, finished or not, and goes to bytes and back;
`label_volume` labels a volume that is all there, block by block; `amended_with` puts in, replaces or takes out a plane
that the front has passed; `components_of` takes several classes as one; `contacts_of` counts the faces between objects;
`changes_between` tells what happened between two looks; `remove_small_regions` is the reading of small-object removal
plane by plane; `cut_out` gives the tables of some objects alone.
"""

from services.imaging.labelling.blocks import ZBlock
from services.imaging.labelling.changes import ObjectChanges, changes_between
from services.imaging.labelling.components import Components, components_of
from services.imaging.labelling.contacts import CONTACT_DTYPE, contacts_of
from services.imaging.labelling.cutting import cut_out
from services.imaging.labelling.errors import (
    AbsentPlaneError,
    CorruptTablesError,
    InvalidParametersError,
    InvalidPlaneError,
    LabellingFinishedError,
    PlaneNotFinalError,
    PlaneOrderError,
    UnknownMergeError,
    WindowOutsideCanvasError,
)
from services.imaging.labelling.labeller import StreamingLabeller
from services.imaging.labelling.parameters import LabellingParameters
from services.imaging.labelling.planes import PlaneWindow
from services.imaging.labelling.regions import remove_small_regions
from services.imaging.labelling.repair import CONTINUATION_DTYPE, Amended, amended_with
from services.imaging.labelling.rows import MERGE_DTYPE, OBJECT_DTYPE, ObjectRows, first_voxels
from services.imaging.labelling.tables import LabelTables
from services.imaging.labelling.volumes import clean_volume, join_blocks, label_block, label_volume, paint_volume

__all__ = [
    "CONTACT_DTYPE",
    "CONTINUATION_DTYPE",
    "MERGE_DTYPE",
    "OBJECT_DTYPE",
    "AbsentPlaneError",
    "Amended",
    "Components",
    "CorruptTablesError",
    "InvalidParametersError",
    "InvalidPlaneError",
    "LabelTables",
    "LabellingFinishedError",
    "LabellingParameters",
    "ObjectChanges",
    "ObjectRows",
    "PlaneNotFinalError",
    "PlaneOrderError",
    "PlaneWindow",
    "StreamingLabeller",
    "UnknownMergeError",
    "WindowOutsideCanvasError",
    "ZBlock",
    "amended_with",
    "changes_between",
    "clean_volume",
    "components_of",
    "contacts_of",
    "cut_out",
    "first_voxels",
    "join_blocks",
    "label_block",
    "label_volume",
    "paint_volume",
    "remove_small_regions",
]
