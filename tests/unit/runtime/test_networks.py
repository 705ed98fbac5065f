"""Networks give a window the same bytes whatever batch it is in, and a batch is filled up without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import services.inference
from services.contracts.model_card import ClassSource, FusionRules
from services.runtime.segmenter.networks import Networks
from services.runtime.segmenter.port import Normalisation, Segmented
from services.runtime.segmenter.serving_description import planes_sha256
from services.runtime.segmenter.window_runner import WindowRunner
from services.runtime.segmenter.windows import Window
from tests.contract.segmenter_suite import nucleus_like

MEMBRANE_ALONE = FusionRules(foreground=(ClassSource(class_id=5, network="membrane"),), background="membrane")
# Two of one shape, one that is padded to it, one of another; two acquisitions.
WINDOWS = [
    Window(nucleus_like(shape, seed), Normalisation(165.0 + seed, 20.0))
    for seed, shape in enumerate([(40, 48), (40, 48), (37, 45), (64, 48)])
]


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks(Path(services.inference.__path__[0]) / "models", MEMBRANE_ALONE)


@pytest.fixture(params=[1, 2, 3])
def runner(networks: Networks, request: pytest.FixtureRequest) -> Iterator[WindowRunner]:
    opened = WindowRunner(networks, threads=2, batch_windows=request.param)
    yield opened
    opened.close()


def hashes(answers: list[Segmented | None]) -> list[str]:
    return [planes_sha256(answer) for answer in answers if answer is not None]


def test_a_batch_answers_as_its_windows_alone_to_the_bit(networks: Networks, runner: WindowRunner) -> None:
    alone = [planes_sha256(networks.segment([window])[0]) for window in WINDOWS]
    assert len(set(alone)) == 4
    assert hashes(runner.run(WINDOWS)) == alone


def test_each_window_is_normalised_by_its_own_acquisition(runner: WindowRunner) -> None:
    first = WINDOWS[0]
    other = Window(first.grey_yx, Normalisation(120.0, 60.0))
    both = hashes(runner.run([first, other]))
    assert both == [*hashes(runner.run([first])), *hashes(runner.run([other]))]
    assert both[0] != both[1]


def test_the_padded_shape_is_what_the_networks_see(networks: Networks) -> None:
    # The membrane network halves four times: multiples of 16, and two of them at least.
    assert [networks.padded_shape(window) for window in WINDOWS] == [(48, 48), (48, 48), (48, 48), (64, 48)]
    assert networks.padded_shape(Window(np.zeros((1, 17), np.uint8), Normalisation(0.0, 1.0))) == (32, 32)
