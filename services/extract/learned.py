"""Nuclei by a small network on a reduced image: for material in which neither thresholds nor membranes find them.

OpenCV runs the network, so that detection needs no torch; `services/trainer/onnx.py` writes what it reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from services.contracts.detector import DetectorCard
from services.contracts.keys import sha256
from services.extract.contours import GreyImage
from services.extract.outlines import Outline, make_outline
from services.extract.profiles import DetectionProfile

NETWORKS = Path(__file__).parent / "networks"
CORE_PX, MARGIN_PX = 1024, 256
"""Images are cut into tiles of so many pixels, which see so many more around them."""
OF_NETWORKS = ("network", "closing_nm", "opening_nm")

Mask = npt.NDArray[np.uint8]


class DetectorError(ValueError):
    """The network of a detection profile is not there, or is not what its description says."""


class Detector:
    """A network that says of every pixel whether it lies in a nucleus.

    Parameters
    ----------
    folder, name
        Where `NAME.onnx` and `NAME.json` lie.

    Raises
    ------
    DetectorError
        If they do not.
    """

    def __init__(self, folder: Path, name: str) -> None:
        try:
            self.card = DetectorCard.model_validate_json((folder / f"{name}.json").read_bytes())
            content = (folder / f"{name}.onnx").read_bytes()
        except (OSError, ValueError) as error:
            raise DetectorError(f"there is no detector {name!r} in {folder}: {error}") from error
        if sha256(content) != self.card.onnx_sha256:
            raise DetectorError(f"{folder / name}.onnx is not the file that {name}.json describes")
        self._onnx = np.frombuffer(content, np.uint8)

    def mask(self, grey: GreyImage) -> Mask:
        """Return 1 where there is a nucleus, 0 elsewhere.

        Parameters
        ----------
        grey
            uint8, (y, x), pixels of `card.voxel_size_nm`.
        """
        # OpenCV's networks keep what they are shown: one for every image, so that several may be looked at at once.
        network = cv2.dnn.readNetFromONNX(self._onnx)
        found = np.zeros(grey.shape, np.uint8)
        for rows, columns in _tiles(grey.shape[0], grey.shape[1]):
            y, x = (slice(max(0, part.start - MARGIN_PX), part.stop + MARGIN_PX) for part in (rows, columns))
            seen = self._seen(network, grey[y, x])
            top, left = rows.start - y.start, columns.start - x.start
            height, width = rows.stop - rows.start, columns.stop - columns.start
            found[rows, columns] = seen[top : top + height, left : left + width]
        return found

    def _seen(self, network: cv2.dnn.Net, grey: GreyImage) -> Mask:
        height, width = grey.shape
        multiple = self.card.shape_multiple_px
        # At least two of its coarsest pixels along either axis.
        ends = [(0, max(-size % multiple, 2 * multiple - size)) for size in grey.shape]
        padded = np.pad(grey, ends, mode="symmetric").astype(np.float32)
        values = (padded - np.float32(self.card.mean)) / np.float32(self.card.sd)
        network.setInput(values[None, None])
        logits = np.asarray(network.forward())[0, :, :height, :width]
        return np.asarray(logits.argmax(axis=0) == self.card.nucleus_channel, np.uint8)


@lru_cache(maxsize=4)
def detector(name: str) -> Detector:
    """Return one of the networks that ship with the program.

    Raises
    ------
    DetectorError
        If there is none of the name.
    """
    return Detector(NETWORKS, name)


def said(profile: DetectionProfile) -> dict[str, object]:
    """Return what a profile decides, the very network included; of networks nothing is said where none is asked."""
    settings = dataclasses.asdict(profile)
    if profile.method == "network":
        return settings | {"network": detector(profile.network).card.onnx_sha256}
    return {name: value for name, value in settings.items() if name not in OF_NETWORKS}


def find_learned(grey: GreyImage, profile: DetectionProfile, voxel_nm: float) -> list[Outline]:
    """Find the outlines of nuclei by a profile's network.

    Parameters
    ----------
    grey
        uint8, (y, x), square pixels.
    profile
        Names the network; lobes and specks are judged, and sizes counted, by its lengths.
    voxel_nm
        Edge of a pixel.
    """
    network = detector(profile.network)
    shape = (grey.shape[0], grey.shape[1])
    pixel_nm = network.card.voxel_size_nm
    small = resized(grey, voxel_nm / pixel_nm)
    mask = cleaned(network.mask(small), profile, pixel_nm)
    scale = np.divide(shape, small.shape)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = []
    for contour in contours:
        points_yx = np.asarray(contour.reshape(-1, 2)[:, ::-1], np.int32)
        if len(points_yx) < 3 or not _is_large_enough(points_yx, mask.shape, profile, pixel_nm):
            continue
        whole = np.rint((points_yx + 0.5) * scale - 0.5)
        found.append(make_outline(np.clip(whole, 0, np.subtract(shape, 1)).astype(np.int32), shape))
    return found


def resized(grey: GreyImage, scale: float) -> GreyImage:
    """Return an image of so many times its size, averaged down or interpolated up.

    >>> resized(np.zeros((10, 20), np.uint8), 0.5).shape
    (5, 10)
    """
    height, width = (max(1, round(size * scale)) for size in grey.shape)
    if (height, width) == grey.shape:
        return grey
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (width, height), interpolation=how), np.uint8)


def cleaned(mask: Mask, profile: DetectionProfile, pixel_nm: float) -> Mask:
    """Close gaps between lobes, open what is thin, and fill holes.

    Parameters
    ----------
    mask
        uint8, (y, x): 1 in nuclei.
    profile
        `closing_nm` and `opening_nm` are radii.
    pixel_nm
        Edge of a pixel.
    """
    closing, opening = (_disc(length / pixel_nm) for length in (profile.closing_nm, profile.opening_nm))
    # Morphology takes what lies outside for background: a nucleus at the border would lose its rim there.
    margin = max(len(closing), len(opening))
    wide = cv2.copyMakeBorder(mask, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    wide = cv2.morphologyEx(cv2.morphologyEx(wide, cv2.MORPH_CLOSE, closing), cv2.MORPH_OPEN, opening)
    inner = np.ascontiguousarray(wide[margin:-margin, margin:-margin])
    contours, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, 1, cv2.FILLED), np.uint8)


def _is_large_enough(
    points_yx: npt.NDArray[np.int32], shape: tuple[int, ...], profile: DetectionProfile, pixel_nm: float
) -> bool:
    area_um2 = float(cv2.contourArea(np.ascontiguousarray(points_yx[:, ::-1]))) * pixel_nm**2 / 1e6
    at_border = bool((points_yx <= 0).any() or (points_yx >= np.subtract(shape, 1)).any())
    least = profile.min_visible_area_um2 if at_border else profile.min_area_um2
    return least <= area_um2 <= profile.max_area_um2


def _disc(radius_px: float) -> Mask:
    edge = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge)), np.uint8)


def _tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, height, CORE_PX):
        for left in range(0, width, CORE_PX):
            yield slice(top, min(top + CORE_PX, height)), slice(left, min(left + CORE_PX, width))
