"""Why a file is not a readable grey TIFF: one small error per fact, each with a path-safe reason."""

from __future__ import annotations

from services.imaging.formats.faults import FormatError


class TiffError(FormatError):
    """A TIFF file, or what was taken for one, that cannot be read as grey pages."""

    reason = "unreadable_tiff"


class EmptyFileError(TiffError):
    """The file has no bytes."""

    reason = "empty_file"
    may_grow = True


class NotATiffError(TiffError):
    """The first bytes are not those of a TIFF."""

    reason = "not_a_tiff"
    # A file whose size is reserved before its bytes arrive begins with zeros for a while.
    may_grow = True


class TruncatedHeaderError(TiffError):
    """The file ends within the TIFF header."""

    reason = "truncated_header"
    may_grow = True


class TruncatedDirectoryError(TiffError):
    """A directory, or a value it points to, is not inside the file."""

    reason = "truncated_directory"
    may_grow = True


class MalformedDirectoryError(TiffError):
    """A directory contradicts itself or lacks what every page must have."""

    reason = "malformed_directory"
    may_grow = True


class TruncatedStripError(TiffError):
    """A strip or tile is not inside the file, or is shorter than its pixels."""

    reason = "truncated_strip"
    may_grow = True


class DecodeFailedError(TiffError):
    """A strip or tile is inside the file, but its bytes do not unpack to its pixels."""

    reason = "decode_failed"
    may_grow = True


class UnsupportedDtypeError(TiffError):
    """Pixels are not whole numbers of 8 or 16 bits."""

    reason = "unsupported_dtype"


class UnsupportedCompressionError(TiffError):
    """The compression is none of those that are read."""

    reason = "unsupported_compression"


class UnsupportedLayoutError(TiffError):
    """The colour space or the arrangement of samples is not read."""

    reason = "unsupported_layout"


class UnequalChannelsError(TiffError):
    """The channels of a colour page differ, and none was named."""

    reason = "unequal_channels"


class NoSuchChannelError(TiffError):
    """The channel named is not in the page."""

    reason = "no_such_channel"


class NoSuchPageError(TiffError):
    """The page asked for is not in the file."""

    reason = "no_such_page"


class TooLargeError(TiffError):
    """The page or the number of pages is beyond the limit that was set."""

    reason = "too_large"
