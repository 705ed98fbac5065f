"""A loop that stops turning looks unhealthy."""

from __future__ import annotations

from services.runtime.clock import ManualClock
from services.runtime.health import Heartbeat


def test_a_loop_that_turns_is_alive() -> None:
    clock = ManualClock()
    heartbeat = Heartbeat(clock, limit_s=60.0)
    for _ in range(5):
        clock.advance(50.0)
        heartbeat.tick()
    assert heartbeat.alive()
    assert heartbeat.age_s() == 0.0


def test_a_loop_that_does_not_turn_is_not() -> None:
    clock = ManualClock()
    heartbeat = Heartbeat(clock, limit_s=60.0)
    clock.advance(60.0)
    assert heartbeat.alive()
    clock.advance(0.5)
    assert not heartbeat.alive()
    assert heartbeat.age_s() == 60.5


def test_a_loop_that_turns_again_is_alive_again() -> None:
    clock = ManualClock()
    heartbeat = Heartbeat(clock, limit_s=1.0)
    clock.advance(10.0)
    heartbeat.tick()
    assert heartbeat.alive()
