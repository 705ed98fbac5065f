"""The live display of a run: a table on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.embedded.progress import Progress, duration

LOG_EVERY_S = 15.0


def table(progress: Progress) -> Table:
    """Return the progress as a small table."""
    left = progress.seconds_left
    grid = Table.grid(padding=(0, 2))
    expected = progress.expected if progress.expected is not None else "still acquiring"
    grid.add_row("slices seen", f"[bold]{progress.seen}[/] of {expected}")
    grid.add_row("nuclei followed to", f"slice {progress.followed}")
    grid.add_row("crops segmented", f"[bold]{progress.segmented}[/] of {progress.crops}  ({progress.rate_per_s:.1f}/s)")
    grid.add_row("cleaned for good to", f"slice {progress.final_z}")
    grid.add_row("nuclei", f"[yellow]{progress.nuclei_open} open[/], [green]{progress.nuclei_closed} closed[/]")
    grid.add_row("time", f"{duration(progress.elapsed_s)}, left {duration(left) if left is not None else 'unknown'}")
    if progress.waiting_for:
        grid.add_row("waiting for", f"[bold yellow]{progress.waiting_for}[/]")
    return grid


class RunDisplay:
    """Shows progress as it is told; on a terminal in place, elsewhere every few seconds as a line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._said_at = 0.0
        self._last: Progress | None = None

    def show(self, progress: Progress) -> None:
        """Show the present state."""
        self._last = progress
        if self._live:
            self._live.update(table(progress))
        elif time.monotonic() - self._said_at >= LOG_EVERY_S:
            self._said_at = time.monotonic()
            self._console.print(progress.line(), markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        elif self._last is not None:
            self._console.print(self._last.line(), markup=False, highlight=False, soft_wrap=True)
