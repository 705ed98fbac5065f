"""Post-processing as a process of its own: ``python -m services.postprocess``, told by `FIBSEM_*` variables."""

import sys

from services.postprocess.handler import PostprocessHandler
from services.runtime.hosting import Site, host_handler
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.sets import voxel_sizes
from services.runtime.segmenter.shelf import ModelShelf


def make(site: Site) -> PostprocessHandler:
    """Return the handler."""
    models = read_model_set(site.deployment.models)
    voxel_of = voxel_sizes(ModelShelf(site.store), models)
    return PostprocessHandler(site.store, models.voxel_size_nm, site.deployment.method.small_objects, voxel_of)


if __name__ == "__main__":
    sys.exit(host_handler(make))
