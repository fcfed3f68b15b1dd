"""The delays between attempts."""

from __future__ import annotations

import doctest
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from operator_app import Backoff, backoff, moments
from operator_app.moments import later
from tests.once import once

pytestmark = once

unhurried = settings(deadline=None)
finite = {"allow_nan": False, "allow_infinity": False}
backoffs = st.builds(
    Backoff,
    first=st.floats(0, 1e12, **finite),
    factor=st.floats(1, 1e6, **finite),
    cap=st.floats(0, 1e12, **finite),
    jitter=st.floats(0, 1),
)
failure_counts = st.integers(1, 10**9)
draws = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("module", [backoff, moments])
def test_the_examples_in_the_docstrings_are_true(module: Any) -> None:
    """What the docstrings show is what happens."""
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@unhurried
@given(backoffs, failure_counts, draws)
@example(Backoff(first=5e-324, factor=2, cap=1e9), 10**9, 0.0)
@example(Backoff(first=1e-300, factor=10, cap=1e10), 400, 0.0)
@example(Backoff(first=10, factor=2, cap=3600), 500, 0.5)
@example(Backoff(first=10, factor=1, cap=3600), 10**9, 0.5)
@example(Backoff(first=0, factor=2, cap=3600), 10**9, 0.5)
def test_a_delay_is_never_negative_and_never_above_the_cap(
    waits: Backoff, failures: int, drawn: float
) -> None:
    """Whatever the options and however many failures, 0 <= delay <= cap; nothing overflows."""
    assert 0 <= waits.delay(failures, rng=lambda: drawn) <= waits.cap


@unhurried
@given(backoffs, failure_counts, draws)
@example(Backoff(first=5e-324, factor=2, cap=1e9), 10**9, 0.0)
def test_jitter_only_shortens(waits: Backoff, failures: int, drawn: float) -> None:
    """The jittered delay lies between (1 - jitter) and 1 times the plain one."""
    plain = waits.delay(failures, rng=lambda: 0.0)
    jittered = waits.delay(failures, rng=lambda: drawn)
    assert plain * (1 - waits.jitter) * (1 - 1e-9) <= jittered <= plain


@unhurried
@given(
    st.floats(0.001, 1e6, **finite),
    st.floats(1, 10, **finite),
    st.floats(0.001, 1e9, **finite),
    st.integers(1, 100),
)
def test_the_delay_follows_its_formula(
    first: float, factor: float, cap: float, failures: int
) -> None:
    """Without jitter the n-th delay is min(cap, first * factor ** (n - 1))."""
    waits = Backoff(first=first, factor=factor, cap=cap)
    assert waits.delay(failures) == pytest.approx(min(cap, first * factor ** (failures - 1)))


@unhurried
@given(backoffs, st.integers(1, 10_000))
def test_delays_do_not_shrink(waits: Backoff, failures: int) -> None:
    """One failure more never means a shorter plain delay."""
    sooner, delay = (waits.delay(n, rng=lambda: 0.0) for n in (failures, failures + 1))
    assert sooner <= delay


@unhurried
@given(st.lists(st.floats(0, 1e9, **finite), min_size=1, max_size=20), failure_counts)
def test_a_list_gives_its_delays_and_repeats_the_last(steps: list[float], failures: int) -> None:
    """The n-th failure waits for the n-th item, then for the last one for ever."""
    expected = steps[failures - 1] if failures <= len(steps) else steps[-1]
    assert Backoff.listed(steps).delay(failures) == expected


def test_a_list_is_not_capped() -> None:
    """A day in a list is a day: whoever writes the delays down means them."""
    assert Backoff.listed([10, 86_400]).delay(2) == 86_400


@pytest.mark.parametrize("failures", [500, 10**9])
def test_many_failures_do_not_overflow(failures: int) -> None:
    """The power is never taken where it would not fit."""
    assert Backoff.exponential(10, factor=2, cap=3600, jitter=0).delay(failures) == 3600
    assert Backoff.exponential(10, factor=1.0001, cap=3600, jitter=0).delay(10**9) == 3600


def test_the_defaults_are_those_of_the_documentation() -> None:
    """10 seconds, doubled each time, at most an hour, a quarter of it drawn at random."""
    assert Backoff.exponential() == Backoff(first=10, factor=2, cap=3600, jitter=0.25)


def test_jitter_is_drawn_anew_each_time() -> None:
    """Operations that failed together do not come back together."""
    waits = Backoff.exponential(10, jitter=0.5)
    delays = {waits.delay(1) for _ in range(50)}
    assert len(delays) > 40
    assert all(5 < delay <= 10 for delay in delays)


def test_a_fixed_backoff_may_be_longer_than_the_usual_cap() -> None:
    """A day is a day."""
    assert Backoff.fixed(86_400).delay(7) == 86_400


def test_a_list_can_be_jittered() -> None:
    """Jitter shortens the delays of a list too."""
    assert Backoff.listed([100], jitter=0.5).delay(1, rng=lambda: 0.5) == 75


@pytest.mark.parametrize(
    "options",
    [
        {"first": -1},
        {"first": "10"},
        {"first": None},
        {"first": True},
        {"first": float("nan")},
        {"first": float("inf")},
        {"first": 10**400},
        {"factor": 0.5},
        {"factor": 0},
        {"cap": -1},
        {"cap": float("inf")},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"steps": (1, -1)},
        {"steps": ("1",)},
    ],
)
def test_a_bad_value_is_refused_where_the_backoff_is_made(options: dict[str, Any]) -> None:
    """A backoff that cannot work never exists."""
    with pytest.raises(ValueError, match=r"[Bb]ackoff"):
        Backoff(**options)


def test_an_empty_list_is_refused() -> None:
    """A list without delays says nothing; the message names what is meant."""
    with pytest.raises(ValueError, match="max_attempts=1 for no retry"):
        Backoff.listed([])


@unhurried
@given(st.floats(0, allow_nan=False))
@example(float("inf"))
def test_a_moment_later_is_always_a_moment(seconds: float) -> None:
    """However long the delay, the result is a datetime, not before the start, and of its zone."""
    for zone in (None, timezone.utc, timezone(timedelta(hours=14))):
        start = datetime(2026, 1, 1, tzinfo=zone)
        end = later(start, seconds)
        assert end >= start
        assert end.tzinfo is zone
