"""Time as a port."""

from __future__ import annotations

import threading

import pytest

from services.runtime.clock import Clock, ManualClock, SystemClock


@pytest.fixture(params=[SystemClock, ManualClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


def test_waiting_takes_at_least_the_time_asked_for(clock: Clock) -> None:
    before_s = clock.monotonic_s()
    assert clock.wait(0.01) is False
    assert clock.monotonic_s() - before_s >= 0.01


def test_a_set_event_ends_the_wait_at_once(clock: Clock) -> None:
    event = threading.Event()
    event.set()
    before_s = clock.monotonic_s()
    assert clock.wait(600.0, event) is True
    assert clock.monotonic_s() - before_s < 60.0


def test_an_event_set_from_another_thread_ends_the_wait() -> None:
    event = threading.Event()
    thread = threading.Thread(target=event.set)
    thread.start()
    assert SystemClock().wait(600.0, event) is True
    thread.join()


def test_waiting_less_than_nothing_returns(clock: Clock) -> None:
    assert clock.wait(-1.0) is False


def test_both_times_move_together() -> None:
    clock = ManualClock(monotonic_s=10.0, unix_s=1000.0)
    clock.advance(2.5)
    assert (clock.monotonic_s(), clock.unix_s()) == (12.5, 1002.5)


def test_the_clock_of_the_machine_tells_this_century() -> None:
    assert 1.7e9 < SystemClock().unix_s() < 4.2e9
