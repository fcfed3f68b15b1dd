"""The numbers that commands take: what is text on the command line, checked."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Final

UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
"""Seconds in each unit of time."""


def count(text: str) -> int:
    """Return a number of things.

    Raises:
        ArgumentTypeError: if it is not a whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """Return a number of seconds.

    Raises:
        ArgumentTypeError: if it is not a finite number of at least 0.
    """
    return _number(text, "a number of seconds, at least 0", least=0.0)


def duration(text: str) -> timedelta:
    """Return a span of time: a number of seconds, or one with a unit, as 90s, 10m, 2h, 1d.

    Raises:
        ArgumentTypeError: if it is none, or not above 0.
    """
    unit = UNITS.get(text[-1:], 1.0)
    number = text[:-1] if text[-1:] in UNITS else text
    try:
        found = timedelta(seconds=float(number) * unit)
    except (ValueError, OverflowError):
        found = timedelta(0)
    if found <= timedelta(0):
        raise argparse.ArgumentTypeError(f"a time as 90s, 10m, 2h or 1d, not {text!r}")
    return found


def size(text: str) -> float:
    """Return a number of MiB.

    Raises:
        ArgumentTypeError: if it is not a finite number of at least 1.
    """
    return _number(text, "a number of MiB, at least 1", least=1.0)


def _number(text: str, wanted: str, *, least: float) -> float:
    problem = argparse.ArgumentTypeError(f"{wanted}, not {text!r}")
    try:
        number = float(text)
    except ValueError:
        raise problem from None
    if not least <= number < float("inf"):
        raise problem
    return number
