"""Checks of single options: each returns or passes what is good, and says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Final

PRIORITY_MIN: Final = -32768
PRIORITY_MAX: Final = 32767
QUEUE_MAX_LENGTH: Final = 64


class Unset(Enum):
    """The type of `UNSET`, which says: look further down the line for this option."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET


def check_queue(name: object) -> str:
    """Return `name` if it can be the name of a queue; ValueError otherwise."""
    good = isinstance(name, str) and 0 < len(name) <= QUEUE_MAX_LENGTH
    if not isinstance(name, str) or not good or name != name.strip():
        raise ValueError(
            f"A queue is a non-empty string of at most {QUEUE_MAX_LENGTH} characters, with no "
            f"space at its ends, not {name!r}."
        )
    return name


def check_priority(value: object) -> int:
    """Return `value` if it can be a priority; ValueError otherwise."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not PRIORITY_MIN <= value <= PRIORITY_MAX:  # type: ignore[operator]
        raise ValueError(
            f"A priority is a whole number from {PRIORITY_MIN} to {PRIORITY_MAX}, not {value!r}."
        )
    return value  # type: ignore[return-value]


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is UNSET or one of `choices`."""
    if value is not UNSET and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")


def check_count(name: str, value: object, *, least: int) -> None:
    """Raise ValueError unless `value` is UNSET or a whole number of at least `least`."""
    if value is UNSET:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, not {value!r}.")


def check_seconds(name: str, value: object) -> None:
    """Raise ValueError unless `value` is UNSET, None or a finite number of seconds above 0."""
    if value is UNSET or value is None:
        return
    if not is_number(value) or value <= 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}.")


def check_errors(name: str, value: object) -> None:
    """Raise TypeError unless `value` is UNSET or a sequence of exception types."""
    if value is UNSET:
        return
    good = isinstance(value, Sequence) and all(
        isinstance(item, type) and issubclass(item, BaseException) for item in value
    )
    if not good:
        raise TypeError(f"{name} must be a sequence of exception types, not {value!r}.")


def check_names(name: str, value: object) -> None:
    """Raise TypeError unless `value` is UNSET or a sequence of non-empty strings."""
    if value is UNSET:
        return
    # A string is a sequence of strings, too.
    good = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if not good or not all(isinstance(item, str) and item for item in value):  # type: ignore[attr-defined]
        raise TypeError(f"{name} must be a list of names, not {value!r}.")


def is_number(value: object) -> bool:
    """Whether `value` is a finite real number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # A whole number that no float can hold.
        return False
