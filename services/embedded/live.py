"""A page on a run that is at work: what is advised, and the newest slice with what the networks see in it.

Where slices come faster than they are segmented, the picture degrades by rule, never the results: it is then drawn from
one network on crops of half the resolution, at half the size, and says so. Results lag on disk and are computed in
full. The page reads what the run wrote and writes nothing that a result is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import structlog

from services.contracts.classes import LabelClass
from services.contracts.messages import CropExtracted, CropSegmented, SliceIngested
from services.contracts.model_card import ClassSource, FusionRules, ModelSet
from services.embedded.load import waiting_slices
from services.embedded.progress import Progress
from services.extract.reading import SliceReader
from services.imaging.planes import decode_planes
from services.inference.crops import read_crop
from services.report.colours import CLASS_COLOURS
from services.runtime.bus.port import Bus, Consumer
from services.runtime.bus.replay import messages_of
from services.runtime.clock import Clock
from services.runtime.errors import PermanentError, TransientError
from services.runtime.segmenter.port import CropRefusedError, ModelSetError, Normalisation, Segmenter
from services.runtime.store.port import ArtefactCorruptError, ArtefactMissingError, ArtefactStore

log = structlog.get_logger()

PAGE, PICTURE = "live.html", "live.png"
# More slices than this waiting: the picture is a preview.
MOST_WAITING = 8.0
EVERY_S = 60.0
# The page takes at most one part in so many of the time.
SHARE = 50.0
WIDTH_PX, PREVIEW_WIDTH_PX = 1200, 600
PREVIEW_SHRINK = 2
KEPT_SLICES = 64
_AT_ONCE = 2000
_OPACITY = 0.45

PREVIEW_FUSION = FusionRules(
    foreground=(
        ClassSource(class_id=LabelClass.CHROMOSOME, network="chromatin"),
        ClassSource(class_id=LabelClass.NUCLEOLUS, network="chromatin"),
    ),
    background="chromatin",
)
"""The one network of a preview, where there are three."""

Plane = npt.NDArray[np.uint8]
_TROUBLES = (
    OSError,
    PermanentError,
    TransientError,
    CropRefusedError,
    ModelSetError,
    ArtefactMissingError,
    ArtefactCorruptError,
)


def preview_fusion(models: ModelSet) -> FusionRules:
    """Return the rules of a preview, which asks one network."""
    return models.fusion if len(models.cards) == 1 else PREVIEW_FUSION


@dataclass(slots=True)
class _Slice:
    """What came of one slice so far."""

    place: SliceIngested | None = None
    crops: dict[str, CropExtracted] = field(default_factory=dict)
    segmented: dict[str, CropSegmented] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every crop of it was segmented."""
        return self.place is not None and bool(self.crops) and self.crops.keys() <= self.segmented.keys()


class LiveView:
    """Draws the page of a run, now and then.

    Parameters
    ----------
    folder
        Where page and picture go.
    bus, store
        Read for what the run found.
    clock
        Says when to draw again.
    open_preview
        Opens the one network of a preview, when one is first needed.
    """

    def __init__(
        self, folder: Path, bus: Bus, store: ArtefactStore, clock: Clock, open_preview: Callable[[], Segmenter]
    ) -> None:
        self._folder, self._bus, self._store, self._clock = folder, bus, store, clock
        self._open_preview = open_preview
        self._resources = ExitStack()
        self._consumer: Consumer | None = None
        self._reader = SliceReader(store, keep=1)
        self._slices: dict[int, _Slice] = {}
        self._preview: Segmenter | None = None
        self._next_s = float("-inf")
        self.previews = 0

    def look(self, progress: Progress, said: Callable[[], Sequence[str]], *, now: bool = False) -> bool:
        """Draw the page if it is time; return whether it was drawn.

        Nothing that goes wrong here stops the run.
        """
        started_s = self._clock.monotonic_s()
        if not now and started_s < self._next_s:
            return False
        try:
            drawn = self._draw(progress, said)
        except _TROUBLES as error:
            log.warning("live_page_not_drawn", error=str(error))
            drawn = False
        ended_s = self._clock.monotonic_s()
        self._next_s = ended_s + max(EVERY_S, SHARE * (ended_s - started_s))
        return drawn

    def remove(self) -> None:
        """Remove the page."""
        for name in (PAGE, PICTURE):
            (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of everything."""
        self._resources.close()

    def _draw(self, progress: Progress, said: Callable[[], Sequence[str]]) -> bool:
        self._read()
        waiting = waiting_slices(asdict(progress))
        is_preview = waiting > MOST_WAITING
        ready = [
            z for z, found in self._slices.items() if found.place and (found.is_whole or (is_preview and found.crops))
        ]
        mark = ""
        if ready:
            z = max(ready)
            chosen = self._slices[z]
            is_preview = is_preview and not chosen.is_whole
            if is_preview:
                mark = f"PREVIEW: one network, half resolution; {waiting:.0f} slices wait for their results"
            picture = self._picture(chosen, is_preview=is_preview)
            self._write(PICTURE, cv2.imencode(".png", _marked(picture, mark))[1].tobytes())
            self.previews += is_preview
        self._write(PAGE, _page(progress, said(), mark, max(ready, default=None)).encode())
        return True

    def _read(self) -> None:
        if self._consumer is None:
            self._consumer = self._bus.consumer("live", ("slices", "crops", "segmentations"), "live")
            self._resources.callback(self._consumer.close)
        while records := self._consumer.poll(_AT_ONCE, 0.0):
            # A run that is started again shows what is new, without reading all that came before.
            self._consumer.commit({record.place: record.offset + 1 for record in records})
            for message in messages_of(records):
                match message:
                    case SliceIngested():
                        self._slices.setdefault(message.z, _Slice()).place = message
                    case CropExtracted():
                        self._slices.setdefault(message.z, _Slice()).crops[message.nucleus_id] = message
                    case CropSegmented():
                        crop = message.crop
                        self._slices.setdefault(crop.z, _Slice()).segmented[crop.nucleus_id] = message
                    case _:
                        pass
            self._forget()

    def _forget(self) -> None:
        """Keep the newest slices with crops, and the newest that is whole; memory does not grow with the backlog."""
        with_crops = sorted(z for z, found in self._slices.items() if found.crops)
        whole = max((z for z, found in self._slices.items() if found.is_whole), default=-1)
        if len(with_crops) > KEPT_SLICES:
            oldest = with_crops[-KEPT_SLICES]
            for z in [z for z in self._slices if z < oldest and z != whole]:
                del self._slices[z]

    def _picture(self, chosen: _Slice, *, is_preview: bool) -> Plane:
        place = chosen.place
        assert place is not None
        grey = self._reader.read(place)
        scale = min(1.0, (PREVIEW_WIDTH_PX if is_preview else WIDTH_PX) / grey.shape[1])
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        picture = np.asarray(cv2.cvtColor(small, cv2.COLOR_GRAY2RGB), np.uint8)
        for name, crop in sorted(chosen.crops.items()):
            classes = self._previewed(crop) if is_preview else self._classes(chosen.segmented[name])
            _paint(picture, classes, crop, scale)
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8)

    def _classes(self, segmented: CropSegmented) -> Plane:
        return np.asarray(decode_planes(self._store.get(segmented.planes))[0], np.uint8)

    def _previewed(self, crop: CropExtracted) -> Plane:
        if self._preview is None:
            self._preview = self._resources.enter_context(self._open_preview())
        found = read_crop(self._store, crop, self._preview.model_set())
        classes = np.zeros(found.grey.shape, np.uint8)
        if found.region is None:
            return classes
        pixels = found.grey[found.region]
        size = tuple(max(1, edge // PREVIEW_SHRINK) for edge in pixels.shape)
        small = np.ascontiguousarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        (answer,) = self._preview.segment([small], Normalisation(offset=crop.grey.mean, scale=crop.grey.sd))
        classes[found.region] = cv2.resize(answer.classes_yx, pixels.shape[::-1], interpolation=cv2.INTER_NEAREST)
        return np.where(found.mask > 0, classes, 0).astype(np.uint8)

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"{name}.tmp"
        temporary.write_bytes(content)
        temporary.replace(self._folder / name)


def _paint(picture: Plane, classes: Plane, crop: CropExtracted, scale: float) -> None:
    """Lay the classes of a crop over a picture of its slice."""
    low = [round(edge * scale) for edge in crop.window.origin_yx]
    size = [max(1, round(edge * scale)) for edge in crop.window.shape_yx]
    part = picture[low[0] : low[0] + size[0], low[1] : low[1] + size[1]]
    if not part.size:
        return
    shown = cv2.resize(classes, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_NEAREST)
    for label, colour in CLASS_COLOURS.items():
        there = shown == label
        part[there] = np.rint((1 - _OPACITY) * part[there] + _OPACITY * np.array(colour)).astype(np.uint8)


def _marked(picture: Plane, mark: str) -> Plane:
    if not mark:
        return picture
    height = max(24, picture.shape[0] // 24)
    banner = np.full((height, picture.shape[1], 3), (0, 96, 224), np.uint8)
    size = min(height / 34, picture.shape[1] / (len(mark) * 18))
    cv2.putText(banner, mark, (6, round(height * 0.7)), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([banner, picture])


def _page(progress: Progress, said: Sequence[str], mark: str, z: int | None) -> str:
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in said)
    shown = (
        "" if z is None else f'<p>Slice z {z}{": " + escape(mark) if mark else ""}</p><img src="{PICTURE}" alt="z {z}">'
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="30">'
        "<title>A run at work</title><style>body{font:16px/1.5 sans-serif;max-width:76rem;margin:2rem auto;"
        "padding:0 1rem}img{max-width:100%}</style></head><body><h1>A run at work</h1>"
        f"<p>{escape(progress.line())}</p><ul>{sentences}</ul>{shown}</body></html>\n"
    )
