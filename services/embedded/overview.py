"""A few slices with the nuclei found in them, small enough for the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from services.contracts.messages import CropExtracted, Message, SliceIngested
from services.contracts.values import PlaneKind
from services.extract.reading import SliceReader
from services.imaging.planes import decode_crop
from services.runtime.store.port import ArtefactStore

PICTURES = 6
WIDEST_PX = 1200
INSIDE = 2


def write_overview(folder: Path, store: ArtefactStore, read: Callable[[], Iterable[Message]]) -> None:
    """Write pictures of evenly chosen slices, with the contours of their nuclei as JSON beside them.

    Parameters
    ----------
    folder
        Made anew.
    store
        Where slices and crops are.
    read
        Returns everything on the topics `slices` and `crops`; called twice, so that only what is chosen
        need be held.
    """
    chosen = set(_evenly(sorted({message.z for message in read() if isinstance(message, SliceIngested)})))
    places: dict[int, SliceIngested] = {}
    nuclei: dict[int, list[CropExtracted]] = {}
    for message in read():
        if isinstance(message, SliceIngested) and message.z in chosen:
            places[message.z] = message
        elif isinstance(message, CropExtracted) and message.z in chosen and message.kind is not PlaneKind.CAP:
            nuclei.setdefault(message.z, []).append(message)
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.png"), *folder.glob("*.json")]:
        old.unlink()
    reader = SliceReader(store, keep=1)
    for z, place in sorted(places.items()):
        _write_slice(folder, place, nuclei.get(z, []), reader, store)


def _evenly(zs: list[int]) -> list[int]:
    count = min(PICTURES, len(zs))
    return [zs[int((index + 0.5) * len(zs) / count)] for index in range(count)]


def _write_slice(
    folder: Path, place: SliceIngested, crops: list[CropExtracted], reader: SliceReader, store: ArtefactStore
) -> None:
    grey = reader.read(place)
    scale = min(1.0, WIDEST_PX / grey.shape[1])
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    (folder / f"z{place.z:06d}.png").write_bytes(cv2.imencode(".png", small)[1].tobytes())
    outlines = [
        {"nucleus_id": crop.nucleus_id, "contour": (contour * scale).round(1).tolist(), "clipped": False}
        for crop in crops
        if len(contour := _contour(crop, store)) > 2
    ]
    content = {"z": place.z, "pixel_nm": place.voxel_size.x_nm / scale, "outlines": outlines}
    (folder / f"z{place.z:06d}.json").write_text(json.dumps(content) + "\n")


def _contour(crop: CropExtracted, store: ArtefactStore) -> npt.NDArray[np.float64]:
    """Return the outline of a nucleus in pixels of its slice, (n, 2), (y, x)."""
    _, mask = decode_crop(store.get(crop.crop))
    found, _ = cv2.findContours((mask == INSIDE).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not found:
        return np.empty((0, 2))
    largest = max(found, key=cv2.contourArea)
    contour: npt.NDArray[np.float64] = largest.reshape(-1, 2)[:, ::-1] + np.array(crop.window.origin_yx, np.float64)
    return contour
