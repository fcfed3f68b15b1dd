"""How long what is over is kept. Knows no database, and no setting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final, TypeAlias

STATES: Final = ("finished", "failed", "cancelled")
"""The states in which operations are kept for a while, or for ever."""

ATTEMPTS: Final = "attempts"
"""What the age of old attempts is called, of operations that have not ended."""

SLOTS: Final = "slots"
"""What the age of slots of recurrences is called, of which no operation is left."""

DAY: Final = 86_400

DEFAULTS: Final[Mapping[str, int]] = {
    "finished": 7 * DAY,
    "failed": 90 * DAY,
    "cancelled": 7 * DAY,
    ATTEMPTS: 90 * DAY,
    SLOTS: 7 * DAY,
}
"""What holds where a project says nothing, in seconds."""

_KNOWN: Final = (*STATES, ATTEMPTS, SLOTS)

Age: TypeAlias = "float | int | timedelta | None"
"""A span of time, in seconds or as a timedelta; None for one without an end."""


def problems(where: str, value: object) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with a retention.

    Args:
        where: what it is called, for the sentence.
        value: what should be a dict of ages by state.
    """
    if not isinstance(value, Mapping):
        yield f"{where} must be a dict of ages by state, in seconds or as timedelta, not {value!r}."
        return
    for state, age in value.items():
        if state not in _KNOWN:
            yield f"{where} has no state {state!r} (known: {', '.join(_KNOWN)})."
        elif age is not None and not _is_age(age):
            yield (
                f"{where}[{state!r}] must be a number of seconds, at least 0, a timedelta, or None "
                f"to keep them for ever, not {age!r}."
            )


def complete(retention: Mapping[str, Age] | None) -> dict[str, Age]:
    """Return what a project says, and what holds of the rest; nothing at all if it is None, which
    keeps everything for ever.
    """
    return {} if retention is None else {**DEFAULTS, **retention}


def seconds_of(retention: Mapping[str, Age]) -> dict[str, float]:
    """Return after how many seconds operations in each state go, attempts and slots; without those
    that stay.
    """
    return {state: _seconds(age) for state, age in retention.items() if age is not None}


def _is_age(value: object) -> bool:
    if isinstance(value, timedelta):
        return value >= timedelta(0)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return 0 <= value < math.inf


def _seconds(age: float | int | timedelta) -> float:
    return age.total_seconds() if isinstance(age, timedelta) else float(age)
