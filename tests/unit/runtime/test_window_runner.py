"""Windows are run in batches; when the device's memory is short in smaller ones, to the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from services.runtime.segmenter.port import Normalisation
from services.runtime.segmenter.window_runner import WindowRunner
from services.runtime.segmenter.windows import Window
from tests.support.segmenter_parts import ScarceMemory, inverted

SMALL = [Window(np.full((4, 5), k, np.uint8), Normalisation(0.0, 1.0)) for k in range(7)]
LARGE = Window(np.full((10, 10), 200, np.uint8), Normalisation(0.0, 1.0))


def opened(room: int, batch_windows: int = 4) -> tuple[WindowRunner, ScarceMemory]:
    networks = ScarceMemory(room)
    return WindowRunner(networks, threads=1, batch_windows=batch_windows), networks


@pytest.fixture
def ample() -> Iterator[tuple[WindowRunner, ScarceMemory]]:
    runner, networks = opened(10_000)
    yield runner, networks
    runner.close()


def test_batches_are_filled_up_to_one_size_and_hold_one_shape(ample: tuple[WindowRunner, ScarceMemory]) -> None:
    runner, networks = ample
    answers = runner.run([*SMALL[:3], LARGE, *SMALL[3:]])
    assert networks.batches == [(4, 4), (3, 4), (1, 4)]
    for answer, window in zip(answers, [*SMALL[:3], LARGE, *SMALL[3:]], strict=True):
        assert answer is not None
        np.testing.assert_array_equal(answer.confidence_yx, inverted(window.grey_yx).confidence_yx)


def test_no_windows_give_no_answers(ample: tuple[WindowRunner, ScarceMemory]) -> None:
    runner, networks = ample
    assert runner.run([]) == []
    assert networks.batches == []


def test_out_of_memory_halves_the_batch_for_good_and_changes_no_answer() -> None:
    runner, networks = opened(room=40)
    answers = runner.run(SMALL)
    assert [answer.confidence_yx[0, 0] for answer in answers if answer is not None] == [255 - k for k in range(7)]
    assert networks.batches == [(4, 4), (2, 2), (2, 2), (2, 2), (1, 2)]
    assert runner.batch_windows == 2
    assert runner.out_of_memory_count == 1
    runner.run(SMALL[:2])
    assert networks.batches[5:] == [(2, 2)]
    runner.close()


def test_a_window_that_does_not_fit_alone_is_tried_again_when_the_others_are_done() -> None:
    runner, networks = opened(room=80)
    answers = runner.run([SMALL[0], LARGE, SMALL[1]])
    assert [answer is None for answer in answers] == [False, True, False]
    # The small ones first, the large one in batches of 4, 2, 1, and once more at the end.
    assert networks.batches == [(2, 4), (1, 4), (1, 2), (1, 1), (1, 1)]
    runner.close()


def test_a_window_that_fits_once_the_others_are_gone_is_answered() -> None:
    runner, networks = opened(room=80)
    first_try = networks.segment

    def segment(windows: list[Window], batch_windows: int = 1) -> list[object]:
        if len(networks.batches) == 4:
            networks.room = 100
        return list(first_try(windows, batch_windows))

    networks.segment = segment  # type: ignore[method-assign, assignment]
    assert None not in runner.run([SMALL[0], LARGE])
    runner.close()


def test_a_runner_without_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        WindowRunner(ScarceMemory(1), threads=0)
