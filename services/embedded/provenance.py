"""What results depend on besides the slices; no clock, no path, no machine."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from services.contracts.model_card import ModelSet
from services.embedded.settings import RunSettings
from services.embedded.swaps import Swap

LIBRARIES = ("numpy", "opencv-python-headless", "scikit-image", "numba", "zarr", "imagecodecs")


def _said(settings: RunSettings) -> dict[str, object]:
    """Return the settings that results depend on; of what is off by default nothing is said where it is off."""
    unsaid: set[str] = set()
    if settings.registration == "none":
        unsaid |= {name for name in RunSettings.model_fields if name.startswith("registration")}
    if settings.registration_solution is None:
        unsaid.add("registration_solution")
    if settings.slice_thickness == "nominal":
        unsaid.add("slice_thickness")
    if not settings.repair:
        unsaid.add("repair")
    return {name: value for name, value in settings.fixed().items() if name not in unsaid}


def provenance(
    settings: RunSettings, models: ModelSet, numeric_profile: str, swaps: Sequence[Swap] = ()
) -> dict[str, object]:
    """Return the provenance of a run, as JSON values; swaps only where there were any."""
    swapped = {"swaps": [swap.as_json() for swap in swaps]} if swaps else {}
    return swapped | {
        "acquisition": settings.acquisition,
        "voxel_nm": list(settings.voxel_size.zyx_nm),
        "software": {
            "fibsem-nuclei": version("fibsem-nuclei"),
            # Networks run on the torch that they were exported for, wherever that is, or not at all.
            "torch": ", ".join(sorted({card.torch_version for card in models.cards})),
            **{name: version(name) for name in LIBRARIES},
        },
        "settings": _said(settings),
        "models": {
            "digest": models.digest,
            "networks": list(models.names),
            "fusion": models.fusion.model_dump(mode="json"),
        },
        "numeric_profile": numeric_profile,
    }
