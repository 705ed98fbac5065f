"""Named settings of detection: as printed, as run by the authors, and as this program recommends."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Method = Literal["contours", "rings", "network"]
REFERENCE_VOXEL_NM = 4.0


class UnknownProfileError(ValueError):
    """No profile of detection has this name."""


class ProfileValueError(ValueError):
    """A setting of a profile lies outside its range."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionProfile:
    """Settings of detection; every length in nm, so that they hold at any voxel size.

    ``method="contours"`` is the manuscript's chain and uses the first group of fields. ``method="rings"`` looks for the
    membrane itself, as a closed dark line whose inside is brighter, and uses the third group. ``method="network"`` asks
    a small network on a reduced image, and uses the last. The second is for all.

    Parameters
    ----------
    name
        Name in provenance.
    method
        Which of the three finds the outlines.
    blur_kernel_nm, blur_sigma_nm
        Gaussian blur: 11 pixels of 4 nm; the sigma that OpenCV derives from them is 2 pixels. Kernels are rounded to an
        odd number of pixels and are never under 3. From 16 nm on the sigma is half a pixel or less, and the blur does
        next to nothing: such pixels have averaged already.
    threshold_window_nm, threshold_offset_grey
        Adaptive threshold with a Gaussian window: a pixel is bright when it exceeds the window's mean less the offset.
    gradient_kernel_nm, gradient_repeats
        Morphological gradient with an ellipse of 7 pixels of 4 nm, and how often it is taken. From 12 nm on the ellipse
        has its least size, 3 pixels, so that the lines it draws are wider than printed: 48 nm at 16 nm per pixel.
    min_vertices, vertex_tolerance
        A contour simplified to this part of its perimeter must keep at least so many vertices to count as elliptical.
    min_solidity
        Least part of its convex hull that a contour fills (method "contours"); 0 asks for nothing.
    min_area_um2, max_area_um2
        Area of a nucleus in a slice. For one cut by the border (method "rings") it bounds the whole circle.
    min_visible_area_um2
        Least area inside the field of a nucleus cut by the border (method "rings").
    max_residual, min_axis_ratio
        Greatest root mean square distance from the fitted ellipse as a part of its radius, and least ratio of its axes
        (method "rings").
    search_voxel_nm
        Finer images are first averaged down to this pixel size (method "rings").
    smoothing_nm
        Sigma of the Gaussian blur before membranes are looked for.
    band_nm, band_gap_nm
        The two bands a line is compared with: their width, and how far from the line they begin.
    step_weight
        Weight of "inside brighter than outside" against "line darker than both sides".
    ridge_limit, step_limit
        Where the two are cut off, in textures: the slice's own standard deviation from its local mean.
    min_evidence, min_support, supporting_evidence
        A ring is accepted when the mean evidence along its visible part reaches the first, in textures, and the part of
        it whose evidence reaches the third is at least the second.
    max_overlap
        Two accepted rings share at most this part of the smaller; the better one stays.
    network
        Name of the network (method "network").
    closing_nm, opening_nm
        Radii by which gaps between the lobes of a nucleus are closed, and what is thin is cut off (method "network").
    """

    name: str
    method: Method
    blur_kernel_nm: float = 44.0
    blur_sigma_nm: float = 8.0
    threshold_window_nm: float = 2508.0
    threshold_offset_grey: float = 7.0
    gradient_kernel_nm: float = 28.0
    gradient_repeats: int = 1
    min_vertices: int = 9
    vertex_tolerance: float = 0.01
    min_solidity: float = 0.0
    min_area_um2: float = 4.8
    max_area_um2: float = 12.8
    min_visible_area_um2: float = 1.2
    max_residual: float = 0.08
    min_axis_ratio: float = 0.6
    search_voxel_nm: float = 16.0
    smoothing_nm: float = 24.0
    band_nm: float = 90.0
    band_gap_nm: float = 45.0
    step_weight: float = 0.6
    ridge_limit: float = 4.6
    step_limit: float = 8.0
    min_evidence: float = 2.2
    min_support: float = 0.82
    supporting_evidence: float = 1.6
    max_overlap: float = 0.25
    network: str = ""
    closing_nm: float = 400.0
    opening_nm: float = 300.0

    def __post_init__(self) -> None:
        if self.method not in ("contours", "rings", "network"):
            raise ProfileValueError(f"method is 'contours', 'rings' or 'network', not {self.method!r}")
        if (self.method == "network") != bool(self.network):
            raise ProfileValueError("a profile names a network if its method is 'network', and only then")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _MAY_BE_ANYTHING:
                continue
            if not math.isfinite(value) or value <= 0:
                raise ProfileValueError(f"{field.name} of a detection profile must be above 0, not {value}")
        if self.min_area_um2 >= self.max_area_um2:
            raise ProfileValueError(f"min_area_um2 {self.min_area_um2} must be below max_area_um2 {self.max_area_um2}")


_MAY_BE_ANYTHING = frozenset({"name", "method", "network", "threshold_offset_grey", "step_weight", "min_solidity"})

_AS_RUN = DetectionProfile(name="as-run", method="contours", gradient_repeats=3)

PROFILES: Mapping[str, DetectionProfile] = MappingProxyType(
    {
        "manuscript": dataclasses.replace(_AS_RUN, name="manuscript", gradient_repeats=1),
        "as-run": _AS_RUN,
        "recommended": DetectionProfile(name="recommended", method="rings", max_area_um2=20.0),
    }
)
"""The named profiles.

``manuscript`` and ``as-run`` are the manuscript's chain and differ in the gradient alone: printed once, run thrice.
``recommended`` replaces threshold, gradient and contour by a search for the membrane; the window of sizes reaches
20 um2, since equators of germ-line nuclei exceed the 12.8 um2 that were run.
"""

EXAMPLES: Mapping[str, DetectionProfile] = MappingProxyType(
    {
        "hela-40nm": dataclasses.replace(
            _AS_RUN,
            name="hela-40nm",
            gradient_repeats=1,
            blur_kernel_nm=200.0,
            blur_sigma_nm=40.0,
            threshold_offset_grey=5.0,
            gradient_kernel_nm=200.0,
            min_area_um2=12.0,
            max_area_um2=120.0,
            min_solidity=0.65,
        ),
        "hela-learned": DetectionProfile(
            name="hela-learned",
            method="network",
            network="hela-40nm",
            min_area_um2=12.0,
            max_area_um2=120.0,
            min_visible_area_um2=3.0,
        ),
    }
)
"""Settings for other material: cultured HeLa cells in block-face images of 40 nm, with large, irregular nuclei.

``hela-learned`` finds them by a network that learned from fields composed of true shapes and textures (task `hela` of
`make science`).
"""

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "blur_kernel_nm": "printed: 11 x 11",
        "blur_sigma_nm": "as run: what OpenCV derives from the kernel",
        "threshold_window_nm": "as run: an eighth of the height of ROI1, 627 pixels; printed without a size",
        "threshold_offset_grey": "as run; not printed",
        "gradient_kernel_nm": "printed: 7 x 7, elliptical",
        "gradient_repeats": "printed once; as run three times, one on the other",
        "min_vertices": "as run; printed as 'elliptical outlines'",
        "vertex_tolerance": "as run; not printed",
        "min_area_um2": "as run: 300 000 pixels; printed as 'a specific size range'",
        "max_area_um2": "as run: 800 000 pixels; printed as 'a specific size range'",
    }
)
"""Where the numbers of ``manuscript`` and ``as-run`` come from; what is not listed plays no part in them."""


def get_profile(name: str) -> DetectionProfile:
    """Find a profile, or an example, by its name.

    Raises
    ------
    UnknownProfileError
        If there is none.

    Examples
    --------
    >>> get_profile("as-run").gradient_repeats
    3
    """
    known = {**PROFILES, **EXAMPLES}
    if name not in known:
        raise UnknownProfileError(f"no profile of detection is called {name!r}; there are {', '.join(sorted(known))}")
    return known[name]
