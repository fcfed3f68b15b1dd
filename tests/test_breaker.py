"""The circuit breaker as a value: what counts, and when it is too much."""

from __future__ import annotations

from typing import Any

import pytest

from operator_app import CircuitBreaker, Policy
from tests.once import once

pytestmark = once


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"failures": 0}, "CircuitBreaker.failures must be a whole number >= 1, not 0"),
        ({"failures": 1.5}, "CircuitBreaker.failures must be a whole number"),
        ({"failures": 1_001}, "at most 1,000, not 1001"),
        ({"within": 0}, "CircuitBreaker.within must be a number of seconds above 0"),
        ({"within": None}, "CircuitBreaker.within must be a number of seconds above 0"),
        ({"cooldown": -1}, "CircuitBreaker.cooldown must be"),
        ({"max_cooldown": float("inf")}, "CircuitBreaker.max_cooldown must be"),
        ({"on": ()}, "CircuitBreaker.on is empty"),
    ],
)
def test_what_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CircuitBreaker(**options)


@pytest.mark.parametrize("on", ["OSError", (1,), OSError])
def test_what_are_no_errors(on: Any) -> None:
    with pytest.raises(TypeError, match=r"CircuitBreaker\.on must be a sequence of exception"):
        CircuitBreaker(on=on)


def test_a_policy_takes_nothing_else() -> None:
    with pytest.raises(TypeError, match=r"Policy\.circuit_breaker must be a CircuitBreaker, not 5"):
        Policy(circuit_breaker=5)  # type: ignore[arg-type]
    assert Policy(circuit_breaker=None).circuit_breaker is None


def test_what_counts() -> None:
    """By default that somebody else is not there."""
    breaker = CircuitBreaker()
    assert breaker.counts(ConnectionRefusedError()) and breaker.counts(TimeoutError())
    assert not breaker.counts(ValueError()) and not breaker.counts(None)
    assert CircuitBreaker(on=[ValueError]).counts(UnicodeError())


def test_what_is_recent() -> None:
    """Those within the time before the last one, in order, and no more than it takes."""
    breaker = CircuitBreaker(failures=3, within=10)
    assert breaker.recent([]) == []
    assert breaker.recent([5.0, 1.0, 15.0]) == [5.0, 15.0]
    assert breaker.recent([1.0, 2.0, 3.0, 4.0]) == [2.0, 3.0, 4.0]
    assert breaker.recent([100.0, 2.0]) == [100.0]
    assert not breaker.is_tripped([1.0, 2.0]) and breaker.is_tripped([1.0, 2.0, 3.0])


def test_the_cooldown_grows_up_to_its_cap() -> None:
    breaker = CircuitBreaker(cooldown=10, max_cooldown=35)
    cooldowns = [10.0]
    for _ in range(4):
        cooldowns.append(breaker.next_cooldown(cooldowns[-1]))
    assert cooldowns == [10, 20, 35, 35, 35]


def test_the_cap_is_not_below_the_cooldown() -> None:
    assert CircuitBreaker(cooldown=100, max_cooldown=10).next_cooldown(100) == 100


def test_a_cooldown_that_was_made_longer_counts_at_once() -> None:
    """As a deploy may do while the circuit is open."""
    assert CircuitBreaker(cooldown=500).next_cooldown(10) == 500
