"""Runs many windows through networks: in parallel threads on a CPU, in fixed batches on a GPU.

On a CPU parallel over windows, never within one: each window is computed alone on one thread, so that its
bits depend on neither the batch nor the number of threads, and no thread waits at a barrier for a core that
another process holds (inside one crop, two threads on two busy cores cost 8 ms of waiting per operator).
On a GPU every batch is filled up to one size, for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch

from services.runtime.segmenter.port import CANARY_NORMALISATION, Segmented, canary_crop
from services.runtime.segmenter.windows import Window

GPU_BATCH_WINDOWS = 8


class SegmentsWindows(Protocol):
    """What a runner needs of networks."""

    device: torch.device

    def padded_shape(self, window: Window) -> tuple[int, int]:
        """Return the rows and columns that the networks see of a window."""

    def segment(self, windows: Sequence[Window], batch_windows: int = 1) -> list[Segmented]:
        """Segment windows of one padded shape, at most `batch_windows` of them."""


class WindowRunner:
    """Runs windows through networks.

    Parameters
    ----------
    networks
        Loaded networks.
    threads
        Windows computed at the same time on a CPU.
    batch_windows
        Windows per batch on a GPU; 1 on a CPU.

    Raises
    ------
    ValueError
        If there are no threads.

    Attributes
    ----------
    batch_windows
        As it stands: halved each time the device ran out of memory.
    out_of_memory_count
        How often it did.
    """

    def __init__(self, networks: SegmentsWindows, threads: int, batch_windows: int | None = None) -> None:
        if threads < 1:
            raise ValueError(f"a segmenter needs at least one thread, got {threads}")
        on_cpu = networks.device.type == "cpu"
        self._networks = networks
        self.batch_windows = batch_windows or (1 if on_cpu else GPU_BATCH_WINDOWS)
        self.out_of_memory_count = 0
        self._at_once = threads if on_cpu else self.batch_windows
        self._pool = ThreadPoolExecutor(threads if on_cpu else 1, "segment", initializer=_enter_worker)

    def run(self, windows: Sequence[Window]) -> list[Segmented | None]:
        """Segment windows, whatever their shapes.

        Returns
        -------
        list of Segmented or None
            In order; None where one window alone is too large for the device's memory, after all others had
            their turn.
        """
        batches = list(self._batches(windows))
        answers: list[Segmented | None] = [None] * len(windows)
        for positions, answered in zip(batches, self._pool.map(lambda p: self._run(windows, p), batches), strict=True):
            for position, answer in zip(positions, answered, strict=True):
                answers[position] = answer
        for position, answer in enumerate(answers):
            if answer is None:
                # The others are done and their memory is free.
                (answers[position],) = self._pool.submit(self._run, windows, [position]).result()
        return answers

    def answer_canary(self) -> Segmented | None:
        """Segment the canary."""
        (answer,) = self.run([Window(canary_crop(), CANARY_NORMALISATION)])
        return answer

    def warm_up(self, shape_yx: tuple[int, int]) -> None:
        """Fill every thread and one batch with a common shape, so that the first real crop waits for nothing."""
        blank = Window(np.full(shape_yx, 170, np.uint8), CANARY_NORMALISATION)
        self.run([blank] * self._at_once)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown()

    def _batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """Yield positions of windows that go together, those of one padded shape in order."""
        alike: dict[tuple[int, int], list[int]] = {}
        for position, window in enumerate(windows):
            alike.setdefault(self._networks.padded_shape(window), []).append(position)
        for positions in alike.values():
            for first in range(0, len(positions), self.batch_windows):
                yield positions[first : first + self.batch_windows]

    def _run(self, windows: Sequence[Window], positions: Sequence[int]) -> list[Segmented | None]:
        """Segment one batch; when memory is short, its halves, down to one window."""
        size = self.batch_windows
        answers: list[Segmented | None] = []
        for first in range(0, len(positions), size):
            part = positions[first : first + size]
            try:
                answers += self._networks.segment([windows[position] for position in part], size)
            except torch.OutOfMemoryError:
                self.out_of_memory_count += 1
                if size == 1:
                    answers.append(None)
                    continue
            else:
                continue
            # Out of the except clause: the exception holds the frames, and those hold the device's memory.
            _give_back_memory()
            self.batch_windows = max(1, size // 2)
            answers += self._run(windows, part)
        return answers


def _enter_worker() -> None:
    """Keep a window on the thread that works on it."""
    torch.set_num_threads(1)


def _give_back_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
