"""Why a file is not a readable slice: one base for every format, with a path-safe reason."""

from __future__ import annotations

from typing import ClassVar


class FormatError(ValueError):
    """A file that cannot be read as grey pages.

    Attributes
    ----------
    reason
        Short name of the fact, one of a fixed set.
    may_grow
        Whether a file that is still being written can look like this, so that it is worth another look
        when it has changed.
    """

    reason: ClassVar[str] = "unreadable_file"
    may_grow: ClassVar[bool] = False
