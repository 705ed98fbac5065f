"""What a labeller refuses, one class per fact."""


class InvalidParametersError(ValueError):
    """A labelling parameter lies outside its range."""


class InvalidPlaneError(ValueError):
    """A plane is not a two-dimensional uint8 array."""


class WindowOutsideCanvasError(ValueError):
    """A plane's window does not lie inside the canvas."""


class PlaneOrderError(ValueError):
    """A plane came at another z than the next one."""


class AbsentPlaneError(ValueError):
    """A plane was asked for that was skipped or has not come."""

    def __init__(self, z: int) -> None:
        super().__init__(f"The plane at z = {z} was skipped or has not come")


class PlaneNotFinalError(ValueError):
    """A cleaned plane was asked for while the fate of one of its objects is open."""

    def __init__(self, z: int, clean_final_z: int) -> None:
        super().__init__(f"The plane at z = {z} is not final; those before z = {clean_final_z} are")


class LabellingFinishedError(ValueError):
    """A plane was added to a labelling that was finished."""


class CorruptTablesError(ValueError):
    """Bytes are not the tables they claim to be."""


class UnknownMergeError(ValueError):
    """An object is gone, and the merges do not say where."""
