"""The circuit breaker: when so many operations of a kind fail that the others had better wait.
Knows no database.

The pattern is Michael Nygard's ("Release It!", Stability Patterns): a closed circuit counts
failures, an open one lets nothing through, and one that has cooled down lets one through, whose
outcome closes or opens it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from operator_app.validation import check_count, check_errors, check_seconds

GROWTH: Final = 2.0
"""By how much the cool-down grows with each trial that fails."""
MOST: Final = 1_000
"""How many failures may be asked for: the time of each is kept until there are so many."""


@dataclass(frozen=True, kw_only=True)
class CircuitBreaker:
    """Lets the operations of a kind wait while too many of them fail; an option of `Policy`.

    After `failures` errors of the types in `on` within `within` seconds, on all operators together,
    the kind is paused. After the cool-down one operation is tried. If it succeeds, the kind goes
    on; if it fails with such an error, the kind waits on, each time twice as long. What waits is
    charged nothing.

    Args:
        failures: how many it takes, 1 to 1,000.
        within: seconds between the first and the last of them.
        cooldown: seconds until the first trial.
        max_cooldown: seconds between two trials at most; not less than `cooldown` in any case.
        on: the exception types that count. By default those that say that somebody else is not
            there: `OSError`, with `ConnectionError` and `TimeoutError`.

    Raises:
        ValueError, TypeError: for a value out of range or of the wrong type, naming it.
    """

    failures: int = 5
    within: float = 60.0
    cooldown: float = 60.0
    max_cooldown: float = 3600.0
    on: Sequence[type[BaseException]] = (OSError,)

    def __post_init__(self) -> None:
        check_count("CircuitBreaker.failures", self.failures, least=1)
        if self.failures > MOST:
            raise ValueError(f"CircuitBreaker.failures is at most {MOST:,}, not {self.failures!r}.")
        for name in ("within", "cooldown", "max_cooldown"):
            value = getattr(self, name)
            if value is None:
                raise ValueError(f"CircuitBreaker.{name} must be a number of seconds above 0.")
            check_seconds(f"CircuitBreaker.{name}", value)
        check_errors("CircuitBreaker.on", self.on)
        if not self.on:
            raise ValueError("CircuitBreaker.on is empty: no error would ever count.")

    def counts(self, error: BaseException | None) -> bool:
        """Whether an error is of a type that counts."""
        return isinstance(error, tuple(self.on))

    def recent(self, failed_at: Iterable[float]) -> list[float]:
        """Return, in order, those of these moments that lie within `within` seconds of the last
        one; at most as many as it takes. Pure.

        Args:
            failed_at: when operations have failed, in seconds on any one clock.
        """
        moments = sorted(failed_at)
        return [each for each in moments if moments[-1] - each <= self.within][-self.failures :]

    def is_tripped(self, failed_at: Sequence[float]) -> bool:
        """Whether these recent failures open the circuit. Pure."""
        return len(failed_at) >= self.failures

    def next_cooldown(self, last: float) -> float:
        """Return the cool-down after a trial that failed, in seconds: twice the last one, up to
        `max_cooldown`. Pure.
        """
        longest = max(self.cooldown, self.max_cooldown)
        return min(longest, max(self.cooldown, last * GROWTH))
