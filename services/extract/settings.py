"""Settings of detection and following, as a run gives them."""

from __future__ import annotations

import dataclasses

from services.contracts.values import VoxelSize
from services.extract.profiles import PROFILES, DetectionProfile, get_profile
from services.extract.tracks import FollowingParams
from services.imaging.forecasting.sizes import ANYTHING, GERM_LINE, SizePrior

AreaLimits = tuple[float, float]


def detection_profile(name: str, area_um2: AreaLimits | None = None) -> DetectionProfile:
    """Return a profile by name, with other limits of the section of a nucleus if the user gave them."""
    profile = get_profile(name)
    if area_um2 is None:
        return profile
    smallest, largest = area_um2
    return dataclasses.replace(profile, min_area_um2=smallest, max_area_um2=largest)


def expected_sizes(name: str, area_um2: AreaLimits | None = None) -> SizePrior:
    """Return how large nuclei are expected to be: those of the germ line, unless the settings look for others."""
    return GERM_LINE if name in PROFILES and area_um2 is None else ANYTHING


def following_parameters(voxel: VoxelSize, window_um: float) -> FollowingParams:
    """Return how outlines are joined at a voxel size, with crops of this edge."""
    return FollowingParams(voxel_zyx_nm=voxel.zyx_nm, window_nm=1000 * window_um)
