"""The numbers that commands take: what is text on the command line, checked."""

from __future__ import annotations

import argparse


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
