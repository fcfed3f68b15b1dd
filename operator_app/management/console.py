"""Where commands write: a terminal, a pipe, a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.text import Text

WIDE: Final = 10_000
"""Characters of a line in a file or pipe."""


_colours: ContextVar[bool | None] = ContextVar("operator_app_colours", default=None)


@contextmanager
def colours(wanted: bool | None) -> Iterator[None]:
    """Let what `console_of()` returns in the block have colours, or none; with None those that a
    terminal has, unless NO_COLOR is set.
    """
    token = _colours.set(wanted)
    try:
        yield
    finally:
        _colours.reset(token)


def printable(words: str) -> str:
    """Return somebody's words without what a terminal would obey, or hide: a space stands for each
    such letter. Lines stay lines.
    """
    return "".join(each if each.isprintable() or each == "\n" else " " for each in words)


class _Console(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        """Make a string, the cell of a table say, what is written; but nothing to be obeyed."""
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        """Leave it to the command, as for what is written without a console."""
        raise BrokenPipeError


def console_of(out: OutputWrapper) -> Console:
    """Return the console of a command. Where there is no terminal nothing is cut to the width of
    one; brackets in somebody's words are no markup, `:fire:` is no emoji, and of a string that is
    printed or stands in a table only what is printable is written. A `Text` is written as it is.
    """
    wanted = _colours.get()
    return _Console(
        file=out,  # type: ignore[arg-type]
        width=None if out.isatty() else WIDE,
        highlight=False,
        markup=False,
        emoji=False,
        no_color=None if wanted is None else not wanted,
        force_terminal=True if wanted else None,
    )


def leave_pipe() -> None:
    """Write no more into a pipe that nobody reads, and let Python say nothing of it at its end."""
    with suppress(OSError, ValueError):  # It is no file, as in tests.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
