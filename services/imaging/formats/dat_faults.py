"""Why a file is not a readable Janelia `.dat` slice: one small error per fact."""

from __future__ import annotations

from services.imaging.formats.faults import FormatError


class DatError(FormatError):
    """A `.dat` file that cannot be read."""

    reason = "unreadable_dat"


class TruncatedHeaderError(DatError):
    """The file ends within the header."""

    reason = "truncated_header"
    may_grow = True


class UnknownVersionError(DatError):
    """The version of the file is none of those whose fields are known."""

    reason = "unknown_dat_version"
    # A file whose size is reserved before its bytes arrive may hold the magic number and zeros.
    may_grow = True


class ContradictoryHeaderError(DatError):
    """The header says what cannot be: no pixels, five detectors, a length too short for its own pixels."""

    reason = "contradictory_header"
    may_grow = True


class TruncatedPixelsError(DatError):
    """The file is shorter than its header says; what is absent is never made up."""

    reason = "truncated_pixels"
    may_grow = True


class ChannelNotNamedError(DatError):
    """The file holds several detectors, and none was named."""

    reason = "channel_not_named"


class NoSuchChannelError(DatError):
    """The channel named is not in the file."""

    reason = "no_such_channel"


class NoSuchPageError(DatError):
    """A file holds one page."""

    reason = "no_such_page"


class TooLargeError(DatError):
    """The page is beyond the limit that was set."""

    reason = "too_large"
