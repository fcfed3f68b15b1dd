"""What commands take as text, checked: numbers, spans and moments of time, kinds."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from typing import Final

from django.core.management.base import CommandError

from operator_app.models import Operation, kinds
from operator_app.moments import moment_of

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


def kind(label: str) -> type[Operation]:
    """Return the kind "app.Model".

    Raises:
        CommandError: if there is none.
    """
    try:
        return kinds.of_label(label)
    except ValueError as error:
        raise CommandError(str(error)) from error


def moment(option: str, text: str) -> datetime:
    """Return a moment, on the project's clock where it says no other.

    Raises:
        CommandError: if it is none.
    """
    try:
        return moment_of(text)
    except ValueError as error:
        raise CommandError(f"{option} {error}.") from error


def when(text: str) -> datetime | timedelta:
    """Return a moment, or how far from now it is: 2h is so long ago, +2h is to come.

    Raises:
        ArgumentTypeError: if it is none.
    """
    try:
        return moment_of(text)
    except ValueError:
        pass
    try:
        return duration(text[1:]) if text.startswith("+") else -duration(text)
    except argparse.ArgumentTypeError:
        wanted = "a moment as 2026-12-24T18:00, or 90s, 10m, 2h, 1d for so long ago, +2h to come"
        raise argparse.ArgumentTypeError(f"{wanted}; not {text!r}") from None


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
