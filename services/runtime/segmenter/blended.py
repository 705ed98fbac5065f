"""Labels stacks of planes by one network: whole where they are small, else in windows that are blended.

For networks that see neighbouring planes or blocks, or whose reach is too wide for exact tiles; a running acquisition
is segmented by `networks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.contracts.architectures import AnyArchitecture
from services.imaging.blending import Blend, windows
from services.runtime.segmenter.port import Plane

WINDOW_PX, WINDOW_PLANES = 512, 32
# Of a stream in three dimensions, so many planes are labelled at once, with so many around for context.
CORE_PLANES, MARGIN_PLANES = 24, 8
# A plane up to this edge is labelled whole.
WHOLE_PX = 768

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class WindowSizes:
    """How planes and blocks are cut.

    Attributes
    ----------
    window_px
        Edge of windows; in three dimensions a quarter of it.
    whole_px
        Edge of the largest plane that is labelled whole.
    window_planes
        Planes of a window in three dimensions.
    """

    window_px: int = WINDOW_PX
    whole_px: int = WHOLE_PX
    window_planes: int = WINDOW_PLANES


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What a network says of a plane or a stack of planes.

    Attributes
    ----------
    channels
        uint8, (y, x) or (z, y, x): the likeliest channel; of equal ones the first.
    confidence
        uint8, of that shape: 255 times the probability of that channel, rounded.
    """

    channels: Plane
    confidence: Plane


class BlendedNetwork:
    """One network, ready to label.

    Parameters
    ----------
    network
        From (n, planes, y, x) to logits (n, outputs, y, x), or (n, 1, z, y, x) to (n, outputs, z, y, x).
    architecture
        What it needs to see.
    outputs
        Number of channels.
    device
        Where the network is.
    sizes
        How planes and blocks are cut.
    """

    def __init__(
        self,
        network: Network,
        architecture: AnyArchitecture,
        outputs: int,
        device: str = "cpu",
        sizes: WindowSizes = WindowSizes(),
    ) -> None:
        self._network, self._outputs, self._device = network, outputs, device
        self._multiple = architecture.shape_multiple_px
        self.neighbours, self._is_flat = architecture.neighbours, architecture.dimensions == 2
        self._sizes = sizes

    def label(self, grey_zyx: Plane, mean: float, sd: float) -> Plane:
        """Return the channel of each pixel of a stack.

        Parameters
        ----------
        grey_zyx
            uint8, (z, y, x), planes that follow each other.
        mean, sd
            Normalisation: (grey - mean) / sd.

        Returns
        -------
        numpy.ndarray
            uint8, (z, y, x), channels of the network.
        """
        return self._decide(grey_zyx, mean, sd).channels

    def label_stream(self, planes: Iterable[Plane], mean: float, sd: float) -> Iterator[Plane]:
        """Yield the channels of each plane of a stack in turn; see `decided_stream`."""
        return (answer.channels for answer in self.decided_stream(planes, mean, sd) if answer is not None)

    def decided_stream(
        self,
        planes: Iterable[Plane],
        mean: float,
        sd: float,
        wanted: Callable[[int], bool] = lambda _plane: True,
    ) -> Iterator[Decided | None]:
        """Yield what is said of each plane of a stack in turn; only a few planes are held at a time.

        Parameters
        ----------
        planes
            uint8, (y, x), of one shape, in order of z.
        mean, sd
            Normalisation.
        wanted
            By position, whether a plane's answer is wanted; nothing is computed for others alone, and None is yielded
            or an answer that fell off. What is wanted decides nothing about an answer.
        """
        core, margin = (1, self.neighbours) if self._is_flat else (CORE_PLANES, MARGIN_PLANES)
        coming, held, first, at = iter(planes), list[Plane](), 0, 0
        while True:
            held += islice(coming, at - first + core + margin - len(held))
            here = at - first
            if here >= len(held):
                return
            numbers = range(at, at + min(core, len(held) - here))
            if not any(wanted(number) for number in numbers):
                yield from (None for _ in numbers)
            elif self._is_flat:
                around = np.clip(np.arange(here - margin, here + margin + 1), 0, len(held) - 1)
                yield self._decide_middle(np.stack([held[z] for z in around]), mean, sd)
            else:
                block = self._decide(np.stack(held), mean, sd)
                shown = slice(here, here + core)
                yield from map(Decided, block.channels[shown], block.confidence[shown])
            at += core
            dropped = max(0, at - margin - first)
            held, first = held[dropped:], first + dropped

    def label_middle(self, around_zyx: Plane, mean: float, sd: float) -> Plane:
        """Return the channels of the middle plane of a stack of `2 * neighbours + 1`, uint8 (y, x)."""
        return self._decide_middle(around_zyx, mean, sd).channels

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each channel.

        Parameters
        ----------
        image
            Normalised, float32, (planes, y, x) or (1, z, y, x).

        Returns
        -------
        numpy.ndarray
            float32, (channel, y, x) or (channel, z, y, x).
        """
        shape = image.shape[1:]
        padded = self._padded(image)
        window = self._window(padded.shape[1:])
        blend = Blend(self._outputs, padded.shape[1:])
        for where in windows(padded.shape[1:], window):
            blend.add(self._answer(padded[(slice(None), *where)]), where)
        return blend.mean()[(slice(None), *(slice(size) for size in shape))]

    def _decide(self, grey_zyx: Plane, mean: float, sd: float) -> Decided:
        values = (grey_zyx.astype(np.float32) - np.float32(mean)) / np.float32(sd)
        if not self._is_flat:
            return _decided(self.probabilities(values[None]))
        planes = [self._decide_plane(values, z) for z in range(len(values))]
        return Decided(np.stack([plane.channels for plane in planes]), np.stack([plane.confidence for plane in planes]))

    def _decide_middle(self, around_zyx: Plane, mean: float, sd: float) -> Decided:
        values = (around_zyx.astype(np.float32) - np.float32(mean)) / np.float32(sd)
        return _decided(self.probabilities(values))

    def _decide_plane(self, values: NDArray[np.float32], z: int) -> Decided:
        around = np.clip(np.arange(z - self.neighbours, z + self.neighbours + 1), 0, len(values) - 1)
        return _decided(self.probabilities(values[around]))

    def _answer(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(image))[None].to(self._device)
            return np.asarray(self._network(batch)[0].float().softmax(dim=0).cpu().numpy(), np.float32)

    def _padded(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mirror the ends until every edge is a multiple, and at least two, of the coarsest stride."""
        widths = [(0, max(-size % self._multiple, 2 * self._multiple - size)) for size in image.shape[1:]]
        return np.pad(image, [(0, 0), *widths], mode="symmetric")

    def _window(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        sizes = self._sizes
        wanted = [sizes.window_px] * 2 if self._is_flat else [sizes.window_planes, *[sizes.window_px // 4] * 2]
        whole = [sizes.whole_px] * 2 if self._is_flat else wanted
        return tuple(
            size if size <= most else max(2, part // self._multiple) * self._multiple
            for size, part, most in zip(shape, wanted, whole, strict=True)
        )


def _decided(probabilities: NDArray[np.float32]) -> Decided:
    confidence = np.rint(255 * np.clip(probabilities.max(axis=0), 0, 1)).astype(np.uint8)
    return Decided(np.asarray(probabilities.argmax(axis=0), np.uint8), confidence)
