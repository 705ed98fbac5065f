"""Simulate an acquisition: slices as a microscope writes them, and the truth beside them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from services.simulator.artefacts import artefacts_from
from services.simulator.microscope import ImageFormat, Microscope, due_slices
from services.simulator.phantom import Phantom, PhantomSpec
from services.simulator.truth import TruthWriter


class SpecError(ValueError):
    """A size or a number that no phantom can have."""


def spec_for(
    seed: int,
    voxel_nm: float = 16.0,
    nuclei: int = 3,
    slices: int | None = None,
    artefacts: Iterable[str] = (),
    *,
    in_a_row: bool = False,
) -> PhantomSpec:
    """Choose a field for so many whole nuclei.

    Parameters
    ----------
    seed
        Of everything random, 0 or more.
    voxel_nm
        Size of a voxel.
    nuclei
        Nuclei that lie entirely inside the field; with none there are the neighbours that its border cuts.
    slices
        Number of slices; None for as many as hold the nuclei with their caps. Fewer cut the nuclei in z.
    artefacts
        ``NAME`` or ``NAME=STRENGTH`` each.
    in_a_row
        Whether the whole nuclei lie side by side: a narrow field that shows little of their neighbours.

    Returns
    -------
    PhantomSpec
        With its number of slices and the shape of its field filled in.

    Raises
    ------
    SpecError
        If a number is out of range.
    UnknownArtefactError, ArtefactStrengthError
        If an artefact is not understood.

    Examples
    --------
    >>> spec = spec_for(7)
    >>> spec.n_slices, spec.shape_yx_px
    (400, (608, 656))
    """
    if seed < 0:
        raise SpecError(f"the seed must be 0 or more, not {seed}")
    if not (math.isfinite(voxel_nm) and 1 <= voxel_nm <= 200):
        raise SpecError(f"the voxel size must be between 1 and 200 nm, not {voxel_nm}")
    if nuclei < 0:
        raise SpecError(f"there cannot be {nuclei} nuclei")
    if slices is not None and slices < 1:
        raise SpecError(f"there must be at least one slice, not {slices}")
    spec = PhantomSpec(seed, voxel_nm, nuclei, n_slices=slices, in_a_row=in_a_row, artefacts=artefacts_from(artefacts))
    n_slices, height, width = spec.shape_zyx
    return replace(spec, n_slices=n_slices, shape_yx_px=(height, width))


def simulate(
    directory: Path,
    spec: PhantomSpec,
    *,
    period_s: float | None,
    progress: Callable[[int, int], None],
    wait: Callable[[float], object],
    image_format: ImageFormat = "grey8",
) -> None:
    """Write ``directory/slices`` and ``directory/truth``; called again after a stop, it goes on.

    Parameters
    ----------
    directory
        Made if it is not there.
    spec
        What to simulate.
    period_s
        Seconds from slice to slice; None for no waiting.
    progress
        Is told, after every slice, how many are done and how many there are.
    wait
        Waits so many seconds.
    image_format
        Pixels of the files.

    Raises
    ------
    OtherAcquisitionError
        If the directory holds another acquisition.
    """
    folder = directory / "slices"
    folder.mkdir(parents=True, exist_ok=True)
    phantom = Phantom(spec)
    truth = TruthWriter(directory / "truth", phantom, image_format)
    microscope = Microscope(phantom, folder, image_format, period_s, wait)
    n_slices, known = phantom.shape_zyx[0], truth.done
    for z in range(n_slices):
        if z >= known:
            truth.add(z, phantom.truth(z))
        for due in due_slices(z, n_slices, phantom.faults):
            if not (z < known and microscope.complete(due)):
                microscope.acquire(due)
        progress(z + 1, n_slices)
    microscope.finish()
