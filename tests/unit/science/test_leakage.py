"""A split by image is as large as the one it is compared with, and leaks where that one does not."""

from __future__ import annotations

import numpy as np
import pytest

from services.trainer.splits import Sample, leaks
from tests.benchmarks.science.baseline import CANDIDATES, Baseline
from tests.benchmarks.science.epfl6 import DISTANCE_PLANES, FOLDS
from tests.benchmarks.science.leakage import by_image
from tests.benchmarks.science.membranes import ISBI
from tests.benchmarks.science.pictures import Picture

PLANES = sorted(FOLDS[0].training | FOLDS[0].validation | FOLDS[0].test)
NOTHING = np.zeros((1, 1), np.uint8)
PICTURES = [Picture(f"z{z:03}", "stack", z, NOTHING, NOTHING) for z in (*PLANES, 500)]


@pytest.mark.parametrize("seed", range(4))
def test_planes_are_divided_at_random_into_parts_as_large(seed: int) -> None:
    honest = FOLDS[0].split(PICTURES)
    leaking = by_image(PICTURES, honest, seed)
    parts = [(split.training, split.validation, split.test) for split in (honest, leaking)]
    assert [len(part) for part in parts[0]] == [len(part) for part in parts[1]]
    assert sorted(name for part in parts[1] for name in part) == [f"z{z:03}" for z in PLANES]
    assert leaking.left_out == ("z500",)
    samples = [Sample(picture.name, picture.stack, picture.z) for picture in PICTURES]
    assert not leaks(honest, samples, DISTANCE_PLANES)
    assert len(leaks(leaking, samples, DISTANCE_PLANES)) > 5
    assert by_image(PICTURES, honest, seed) == leaking


def test_every_candidate_has_the_same_time_and_the_same_patches() -> None:
    jobs = [Baseline._job(ISBI, name) for name in CANDIDATES]
    assert 2 * sum(job.share for job in jobs) == pytest.approx(1.0)
    assert len({str(job.optimiser) for job in jobs}) == 1
    assert len({str(job.architecture) for job in jobs}) == len(CANDIDATES)
