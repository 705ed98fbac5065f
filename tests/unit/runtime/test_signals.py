"""SIGTERM and SIGINT set an event, whatever the main thread is doing."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from services.runtime.signals import STOP_SIGNALS, stop_event_on_signals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_sets_the_event(number: signal.Signals) -> None:
    with stop_event_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(10.0)


def test_a_second_signal_does_no_harm() -> None:
    with stop_event_on_signals() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10.0)


def test_the_former_handlers_return() -> None:
    former = [signal.getsignal(number) for number in STOP_SIGNALS]
    with stop_event_on_signals():
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != former
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == former


@pytest.mark.timeout(60)
def test_a_signal_while_the_main_thread_works_with_the_event_does_not_lock_up() -> None:
    # A handler that set the event itself would wait for a lock that its own thread holds.
    with stop_event_on_signals() as stop:

        def send() -> None:
            for _ in range(300):
                os.kill(os.getpid(), signal.SIGTERM)

        sender = threading.Thread(target=send)
        sender.start()
        while sender.is_alive():
            stop.wait(0.0)
            stop.clear()
        sender.join()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10.0)
