"""Inference as a process of its own: ``python -m services.inference``, told by `FIBSEM_*` variables."""

import sys
from contextlib import ExitStack

from services.inference.handler import InferenceHandler
from services.runtime.deployment import segmenter_of
from services.runtime.hosting import Site, host_handler


class OtherProfileError(RuntimeError):
    """The model server computes under another numeric profile than the results are to have."""


def make(site: Site) -> InferenceHandler:
    """Return the handler.

    Raises
    ------
    TransientError
        If the networks are out of reach.
    """
    segmenter = segmenter_of(site.deployment, site.metrics)
    with ExitStack() as unless_made:
        unless_made.callback(segmenter.close)
        _require_profile(segmenter.profile.value, site.deployment.method.numeric_profile)
        handler = InferenceHandler(segmenter, site.store, site.metrics, site.clock, site.deployment.batch_crops)
        unless_made.pop_all()
    site.resources.callback(segmenter.close)
    for card in segmenter.model_set().cards:
        site.metrics.set("fibsem_model_info", 1, model=card.name, sha=card.address)
    site.metrics.set("fibsem_dependency_up", 1, dependency="segmenter")
    site.metrics.set("fibsem_inference_canary_ok", float(segmenter.ready()))
    return handler


def _require_profile(found: str, wanted: str) -> None:
    if found != wanted:
        raise OtherProfileError(
            f"the networks compute with profile {found}, FIBSEM_METHOD__NUMERIC_PROFILE says {wanted}: "
            "set both alike, since results of the two differ"
        )


if __name__ == "__main__":
    sys.exit(host_handler(make))
