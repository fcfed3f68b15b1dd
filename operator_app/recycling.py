"""When a process has done enough, and what it is doing: nothing here knows operations."""

from __future__ import annotations

import math
import resource
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
LEFT_FOR_GOOD: Final = 3
"""The exit code of an operator under a parent that a person has told to leave: nobody is to take
its place.
"""


@dataclass(frozen=True)
class Limits:
    """After how much an operator leaves by itself, once what it runs has ended.

    Args:
        operations: how many it has run; None for no limit.
        seconds: how long it has lived; None for no limit.
        rss: how much memory it takes, in MiB; None for no limit.
    """

    operations: int | None = None
    seconds: float | None = None
    rss: float | None = None
    since: float = field(default_factory=time.monotonic)

    def left(self, taken: int) -> float:
        """Return how many more operations may be taken; infinity for no limit."""
        return math.inf if self.operations is None else max(0, self.operations - taken)

    def reached(self, ran: int) -> str | None:
        """Return which limit has been reached, as part of a sentence; None for none."""
        if self.operations is not None and ran >= self.operations:
            return f"it has run {ran} operations"
        if self.seconds is not None and time.monotonic() - self.since >= self.seconds:
            return f"it has lived for {self.seconds:g} s"
        # Not before it has run something: a limit below what an idle process takes would have it
        # started over and over, for nothing.
        if ran and self.rss is not None and (taken := memory() / MIB) >= self.rss:
            return f"it takes {taken:.0f} MiB of memory"
        return None


def memory() -> int:
    """Return the resident set of this process in bytes: now on Linux, elsewhere at its highest."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest * (1 if sys.platform == "darwin" else 1024)
    return pages * resource.getpagesize()


def stacks() -> str:
    """Return where every thread of this process is, as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = ["Where every thread is:"]
    for ident, frame in sys._current_frames().items():
        parts.append(f"Thread {names.get(ident, ident)}:")
        parts.append("".join(traceback.format_stack(frame)))
    return "\n".join(parts)
