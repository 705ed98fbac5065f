"""What the command line writes to a person: progress, tables, and failures in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.runtime.errors import PermanentError, SetupError, TransientError

OUT = Console()
ERR = Console(stderr=True)

FACTS = (ValueError, OSError, LookupError, RuntimeError, TransientError, PermanentError, SetupError)
BUGS = frozenset({ValueError, RuntimeError, KeyError, IndexError})


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while something is done; yields what is told how many are done, and of how many."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=ERR, transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def failure(error: Exception) -> bool:
    """Print what went wrong and what to do; return False for a bug, which deserves its stack trace.

    Errors that say a fact to the user are ValueError, OSError or LookupError subclasses and the runtime's own.
    """
    if not isinstance(error, FACTS) or type(error) in BUGS:
        return False
    ERR.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
    ERR.print(str(error), markup=False, highlight=False, soft_wrap=True)
    return True
