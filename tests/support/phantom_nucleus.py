"""One nucleus of the phantom with its truth, and what is measured on its labels."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from services.components.measuring.lattice import Lattice, bounding_box
from services.components.measuring.painting import NucleusImage
from services.components.measuring.record import measured_nucleus
from services.contracts.rows import MeasuredNucleus, NucleusRow
from services.simulator.anatomy import Anatomy
from services.simulator.nucleus import body_volume_nm3
from services.simulator.phantom import Phantom, PhantomSpec


@dataclass(frozen=True, eq=False)
class MeasuredPhantom:
    """What was measured and what is true; the time is that of measuring alone."""

    measured: MeasuredNucleus
    sc_lengths_um: tuple[float, ...]
    volume_um3: float
    nucleolus_um3: float
    anatomy: Anatomy
    shape: tuple[int, ...]
    cpu_s: float
    wall_s: float


def measured_phantom(voxel_nm: float, seed: int, anatomy: Anatomy | None = None) -> MeasuredPhantom:
    """Measure a whole nucleus of a phantom that keeps its chromosomes apart, as bivalents."""
    built = anatomy or Anatomy()
    spec = PhantomSpec(
        seed=seed, voxel_nm=voxel_nm, n_nuclei=1, neighbours=False, contact_fraction=0.0,
        anatomy=built,
    )  # fmt: skip
    phantom = Phantom(spec)
    truth = phantom.nuclei[0]
    image = _labels(phantom, truth.ident)
    row = NucleusRow(nucleus_id="n1", z_first=0, z_last=image.classes.shape[0], state="closed", chromosome_count=6)
    cpu, wall = time.process_time(), time.perf_counter()
    measured = measured_nucleus(image, row, 6)
    return MeasuredPhantom(
        measured=measured,
        sc_lengths_um=tuple(length / 1000 for length in truth.chromosomes.sc_lengths_nm),
        volume_um3=body_volume_nm3(truth.shape.body, built.envelope_nm / 2) / 1e9,
        nucleolus_um3=body_volume_nm3(truth.shape.nucleolus) / 1e9,
        anatomy=built,
        shape=image.classes.shape,
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - wall,
    )


def _labels(phantom: Phantom, ident: int) -> NucleusImage:
    classes = np.zeros(phantom.shape_zyx, np.uint8)
    bivalents = np.zeros(phantom.shape_zyx, np.uint16)
    for z in range(phantom.shape_zyx[0]):
        plane = phantom.truth(z)
        mine = plane.nuclei == ident
        classes[z][mine] = plane.classes[mine]
        bivalents[z][mine] = plane.bivalents[mine]
    box = bounding_box(classes > 0)
    assert box is not None
    lattice = Lattice((phantom.spec.voxel_nm,) * 3).cropped(box, phantom.shape_zyx[0])
    return NucleusImage(classes[box].copy(), bivalents[box].copy(), classes[box].astype(np.uint32), lattice)
