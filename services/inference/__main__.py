"""Inference as a process of its own: ``python -m services.inference``, told by `FIBSEM_*` variables.

``python -m services.inference shadow`` compares a candidate's answers with those in use, beside it.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from services.inference.handler import InferenceHandler
from services.inference.shadow import ShadowHandler
from services.runtime.deployment import open_set_of, segmenter_of
from services.runtime.hosting import Site, host_handler
from services.runtime.segmenter.sets import OtherSets, Segmenters, voxel_sizes
from services.runtime.segmenter.shelf import ModelShelf


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
        others = OtherSets(_published_sets(site).of, voxel_sizes(ModelShelf(site.store), segmenter.model_set()))
        handler = InferenceHandler(
            segmenter, site.store, site.metrics, site.clock, site.deployment.batch_crops, others=others
        )
        unless_made.pop_all()
    site.resources.callback(segmenter.close)
    for card in segmenter.model_set().cards:
        site.metrics.set("fibsem_model_info", 1, model=card.name, sha=card.address)
    site.metrics.set("fibsem_dependency_up", 1, dependency="segmenter")
    site.metrics.set("fibsem_inference_canary_ok", float(segmenter.ready()))
    return handler


def make_shadow(site: Site) -> ShadowHandler:
    """Return the handler that compares."""
    sets, member = _published_sets(site), site.deployment.member
    return site.resources.enter_context(ShadowHandler(site.store, sets.of, site.metrics, site.clock, member))


def _published_sets(site: Site) -> Segmenters:
    folder = Path(site.resources.enter_context(tempfile.TemporaryDirectory(prefix="models-")))
    sets = Segmenters(open_set_of(site.deployment, site.store, site.metrics, folder))
    site.resources.callback(sets.close)
    return sets


def _require_profile(found: str, wanted: str) -> None:
    if found != wanted:
        raise OtherProfileError(
            f"the networks compute with profile {found}, FIBSEM_METHOD__NUMERIC_PROFILE says {wanted}: "
            "set both alike, since results of the two differ"
        )


def main(words: list[str] | None = None) -> int:
    """Run the service that the argument names."""
    parser = argparse.ArgumentParser(prog="python -m services.inference", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("service", "shadow"), default="service")
    return host_handler(make_shadow if parser.parse_args(words).what == "shadow" else make)


if __name__ == "__main__":
    sys.exit(main())
