"""Where commands write: a terminal, a pipe, a file."""

from __future__ import annotations

from typing import Final

from django.core.management.base import OutputWrapper
from rich.console import Console

WIDE: Final = 10_000
"""Characters of a line in a file or pipe."""


def console_of(out: OutputWrapper) -> Console:
    """Return the console of a command. Where there is no terminal nothing is cut to the width of
    one; brackets in somebody's words are no markup.
    """
    width = None if out.isatty() else WIDE
    return Console(file=out, width=width, highlight=False, markup=False)  # type: ignore[arg-type]
