"""The wake-up call within a process."""

from __future__ import annotations

import os
import signal
import threading
import time

from operator_app.wakeups import Wakeup
from tests.once import once

pytestmark = once

LONG = 20.0
"""Seconds that no test sleeps; one that does has lost a call."""


def test_a_sleep_without_a_call_ends_by_itself() -> None:
    """Nobody calls: the sleep lasts as long as it was to last, and says that there was no call."""
    wakeup, started = Wakeup(), time.monotonic()
    assert wakeup.sleep(0.05) is False
    assert time.monotonic() - started >= 0.05


def test_no_sleep_at_all() -> None:
    """A sleep of zero or less returns at once and leaves a call for the next sleep."""
    wakeup = Wakeup()
    wakeup.call()
    assert wakeup.sleep(0) is False
    assert wakeup.sleep(-1) is False
    assert wakeup.sleep(LONG) is True


def test_a_call_before_the_sleep_is_not_lost() -> None:
    """A call between the look for work and the sleep ends that sleep."""
    wakeup = Wakeup()
    wakeup.clear()
    wakeup.call()
    assert wakeup.sleep(LONG) is True


def test_clear_forgets_every_earlier_call() -> None:
    """clear() forgets all calls so far, but no later one, and tells if there were any."""
    wakeup = Wakeup()
    for _ in range(5):
        wakeup.call()
    assert wakeup.clear() is True
    assert wakeup.clear() is False
    assert wakeup.sleep(0.01) is False
    wakeup.call()
    assert wakeup.sleep(LONG) is True


def test_a_call_from_another_thread_ends_the_sleep() -> None:
    """A thread that calls wakes the sleeper at once."""
    wakeup = Wakeup()
    timer = threading.Timer(0.05, wakeup.call)
    timer.start()
    assert wakeup.sleep(LONG) is True
    timer.join()


def test_a_call_from_a_signal_handler_ends_the_sleep() -> None:
    """A signal handler that interrupts the sleep itself may call, and ends it."""
    wakeup = Wakeup()
    before = signal.signal(signal.SIGUSR1, lambda *_: wakeup.call())
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        started = time.monotonic()
        assert wakeup.sleep(LONG) is True
        assert time.monotonic() - started < LONG / 2
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_storm_of_signals_and_threads_neither_deadlocks_nor_loses_the_last_call() -> None:
    """However signals and threads call while another clears and sleeps, the last call is heard."""
    wakeup, calls = Wakeup(), 2_000
    seen = 0

    def on_signal(*_: object) -> None:
        nonlocal seen
        seen += 1
        wakeup.call()

    before = signal.signal(signal.SIGUSR1, on_signal)

    def storm() -> None:
        for _ in range(calls):
            os.kill(os.getpid(), signal.SIGUSR1)
            wakeup.call()

    thread = threading.Thread(target=storm)
    try:
        thread.start()
        while thread.is_alive():
            wakeup.clear()
            # Whatever was called since is seen by the sleep, so this ends soon, every time.
            if thread.is_alive():
                wakeup.sleep(0.005)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen > 0
    wakeup.clear()
    wakeup.call()
    assert wakeup.sleep(LONG) is True
