"""Components as a process of its own: ``python -m services.components``, told by `FIBSEM_*` variables."""

import sys

from services.components.handler import ComponentsHandler
from services.runtime.hosting import Site, host_handler


def make(site: Site) -> ComponentsHandler:
    """Return the handler."""
    method = site.deployment.method
    return ComponentsHandler(site.store, method.chromosomes, method.chromosomes_method, homologs=method.counts_homologs)


if __name__ == "__main__":
    sys.exit(host_handler(make))
