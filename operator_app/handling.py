"""Handlers of the operating system's signals, for a while."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], None]


@contextmanager
def handling(
    handlers: Mapping[signal.Signals, Handler], *, for_good: bool = False
) -> Iterator[None]:
    """Handle these signals in the block, and as before after it.

    Only the main thread can: elsewhere the signals are left to whoever has them.

    Args:
        handlers: by signal.
        for_good: whether they stay after the block, for a process that ends with it. A signal in
            between would kill it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items() if not for_good else ():
            signal.signal(number, handler)
