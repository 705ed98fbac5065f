"""Detection or following as a process of its own: ``python -m services.extract detect|follow``.

Two processes, since detection scales out over slices, and following needs one follower per acquisition.
"""

import argparse
import sys

from services.extract.detect import DetectHandler
from services.extract.follow import FollowHandler, FollowSettings
from services.extract.registering import registration_params
from services.extract.settings import detection_profile, expected_sizes
from services.runtime.hosting import Site, host_handler
from services.runtime.segmenter.cards import read_model_set
from services.runtime.segmenter.sets import voxel_sizes
from services.runtime.segmenter.shelf import ModelShelf


def detect(site: Site) -> DetectHandler:
    """Return the handler of detection."""
    method = site.deployment.method
    profile = detection_profile(method.profile, method.nucleus_area_um2)
    registered = method.registration != "none"
    return DetectHandler(
        site.store,
        profile,
        site.metrics,
        whole_field=method.whole_field,
        digests=registered,
        repair=method.repair,
    )


def follow(site: Site) -> FollowHandler:
    """Return the handler of following; nuclei are pinned to the networks whose cards are here, or that slices name."""
    method = site.deployment.method
    models = read_model_set(site.deployment.models)
    area = method.nucleus_area_um2
    settings = FollowSettings(
        method.window_um,
        models.digest,
        models.voxel_size_nm,
        method.whole_field,
        registration=registration_params(method.registration, method.registration_trend, method.registration_delay),
        measured_thickness=method.slice_thickness == "measured",
        repair=method.repair,
        sizes=expected_sizes(method.profile, area),
        least_area_um2=detection_profile(method.profile, area).min_area_um2,
    )
    return FollowHandler(site.store, settings, site.metrics, voxel_sizes(ModelShelf(site.store), models))


def main(words: list[str] | None = None) -> int:
    """Run the half that the argument names."""
    parser = argparse.ArgumentParser(prog="python -m services.extract", description=__doc__)
    parser.add_argument("half", choices=("detect", "follow"))
    half = parser.parse_args(words).half
    return host_handler(detect if half == "detect" else follow)


if __name__ == "__main__":
    sys.exit(main())
