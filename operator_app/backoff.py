"""How long to wait before the next attempt. Knows no database."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from operator_app.validation import is_number


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a failed operation is tried again.

    The delay after the n-th failure (n from 1) is

        min(cap, first * factor ** (n - 1)) * (1 - jitter * u)

    with u drawn evenly from [0, 1): exponential backoff with a cap; jitter only ever shortens a
    delay, so that `cap` holds. With `steps`, the n-th of them, the last one repeating, stands in
    place of `min(...)`, uncapped.

    Args:
        first: the delay after the first failure, in seconds.
        factor: by how much the delay grows with each failure; 1 keeps it.
        cap: the longest delay, in seconds.
        jitter: the share of the delay that is drawn at random, 0 to 1.
        steps: the delays in seconds one by one, in place of `first` and `factor`.

    Raises:
        ValueError: for a negative or empty value, naming it.
    """

    first: float = 10.0
    factor: float = 2.0
    cap: float = 3600.0
    jitter: float = 0.0
    steps: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("first", 0), ("factor", 1), ("cap", 0), ("jitter", 0)):
            value = getattr(self, name)
            if not is_number(value) or value < least:
                raise ValueError(f"Backoff.{name} must be a number >= {least}, not {value!r}.")
        if self.jitter > 1:
            raise ValueError(f"Backoff.jitter is a share from 0 to 1, not {self.jitter!r}.")
        for step in self.steps:
            if not is_number(step) or step < 0:
                raise ValueError(f"A backoff is a number of seconds >= 0, not {step!r}.")

    @classmethod
    def exponential(
        cls, first: float = 10, *, factor: float = 2, cap: float = 3600, jitter: float = 0.25
    ) -> Backoff:
        """Return a backoff that grows by `factor` with each failure, up to `cap` seconds.

        >>> [Backoff.exponential(10, jitter=0).delay(n) for n in (1, 2, 3, 500)]
        [10.0, 20.0, 40.0, 3600.0]
        """
        return cls(first=first, factor=factor, cap=cap, jitter=jitter)

    @classmethod
    def fixed(cls, seconds: float, *, jitter: float = 0) -> Backoff:
        """Return a backoff that waits the same number of seconds each time.

        >>> [Backoff.fixed(30).delay(n) for n in (1, 2)]
        [30.0, 30.0]
        """
        return cls(first=seconds, factor=1, cap=seconds, jitter=jitter)

    @classmethod
    def listed(cls, steps: Sequence[float], *, jitter: float = 0) -> Backoff:
        """Return a backoff that takes the delays from a list; the last one repeats.

        >>> [Backoff.listed([10, 30, 60]).delay(n) for n in (1, 2, 3, 4)]
        [10.0, 30.0, 60.0, 60.0]
        """
        if not steps:
            raise ValueError("A backoff list must not be empty; use max_attempts=1 for no retry.")
        return cls(steps=tuple(steps), jitter=jitter)

    def delay(self, failures: int, *, rng: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after the given number of failures (1 or more). Pure.

        `rng` gives the u of the formula. Any number of failures is safe: a power that no float can
        hold is above every cap.
        """
        if self.steps:
            whole = float(self.steps[min(failures, len(self.steps)) - 1])
        else:
            whole = min(float(self.cap), self._uncapped(failures - 1))
        return whole * (1 - self.jitter * rng()) if self.jitter else whole

    def _uncapped(self, power: int) -> float:
        try:
            # As floats, which overflow at once where whole numbers would grow for minutes.
            return float(self.first) * float(self.factor) ** power
        except OverflowError:
            return math.inf if self.first else 0.0


BackoffLike: TypeAlias = (
    Backoff | Sequence[float] | Callable[[BaseException, Any], "float | int | None"]
)


def as_backoff(value: object) -> Backoff | Callable[[BaseException, Any], float | int | None]:
    """Return `value` as a `Backoff`, or as the callable that it is.

    Raises:
        TypeError, ValueError: for anything else, or for a list with a bad delay.
    """
    if isinstance(value, Backoff):
        return value
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return Backoff.listed(value)
    if callable(value):
        return value
    raise TypeError(
        f"Policy.backoff must be a Backoff, a list of seconds or a callable, not {value!r}."
    )
