from __future__ import annotations

from collections.abc import Callable

import pytest

from services.simulator.anatomy import COARSE_ANATOMY
from services.simulator.artefacts import artefacts_from
from services.simulator.phantom import Phantom, PhantomSpec

MakeSpec = Callable[..., PhantomSpec]


def coarse_spec(*artefacts: str, seed: int = 5, n_nuclei: int = 1, n_slices: int | None = None) -> PhantomSpec:
    """One nucleus of about 64 pixels, at 64 nm, in a second."""
    return PhantomSpec(
        seed=seed,
        voxel_nm=64.0,
        n_nuclei=n_nuclei,
        n_slices=n_slices,
        contact_gap_nm=130.0,
        contact_fraction=0.0,
        neighbours=False,
        anatomy=COARSE_ANATOMY,
        artefacts=artefacts_from(artefacts),
    )


@pytest.fixture(scope="session")
def make_spec() -> MakeSpec:
    return coarse_spec


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return Phantom(coarse_spec())
