"""Post-processing as a process of its own: ``python -m services.postprocess``, told by `FIBSEM_*` variables."""

import sys

from services.contracts.model_card import RECOMMENDED_FUSION
from services.postprocess.handler import PostprocessHandler
from services.runtime.hosting import Site, host_handler
from services.runtime.segmenter.cards import read_model_set


def make(site: Site) -> PostprocessHandler:
    """Return the handler."""
    models = read_model_set(site.deployment.models, RECOMMENDED_FUSION)
    return PostprocessHandler(site.store, models.voxel_size_nm, site.deployment.method.small_objects)


if __name__ == "__main__":
    sys.exit(host_handler(make))
