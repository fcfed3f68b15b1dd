"""The log records that an operation's `run()` emits, kept with its job.

They are taken where records are made, not by a handler. A handler on the root logger would see
nothing of loggers that do not propagate, and it would change what a project without LOGGING sees:
Python prints warnings by itself, and `basicConfig()` does something, only while there is none.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar, Final

from operator_app import conf
from operator_app.models.current import current_job
from operator_app.reports import storable, text_of

LIMIT: Final = 64_000
"""Characters that are kept of one attempt; the last ones count."""

_FORMAT: Final = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
_PROBE: Final = "operator_app.probe"


class Captured:
    """The lines of one attempt, of bounded size; filled from any thread."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size = 0
        self._dropped = 0
        self._lock = threading.Lock()

    def add(self, line: str) -> None:
        """Keep a line, and drop the oldest ones that no longer fit."""
        line = line[-LIMIT:]
        with self._lock:
            self._lines.append(line)
            self._size += len(line) + 1
            while self._size > LIMIT and len(self._lines) > 1:
                self._size -= len(self._lines.popleft()) + 1
                self._dropped += 1

    @property
    def text(self) -> str:
        """All that is kept, as a database can store it."""
        with self._lock:
            head = [f"… {self._dropped:,} earlier lines were dropped …"] if self._dropped else []
            return storable("\n".join([*head, *self._lines]))


class RecordFactory:
    """Makes log records as the factory before it does, and keeps each with the job that is running
    where it is made, if there is one.

    By a context variable, so that jobs in other threads and tasks do not get it.
    """

    probed: ClassVar[int] = 0
    """How often one of them was asked whether it is in place."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Return a new record."""
        record = self._make(name, *args, **kwargs)
        if name == _PROBE:
            RecordFactory.probed += 1
        job = current_job.get()
        # A record without a name is a shell, to be filled with one that came from elsewhere.
        if job is not None and name and name != "operator_app" and record.levelno >= _level():
            _keep(record, job.captured)
        return record


_lock: Final = threading.Lock()


def install() -> None:
    """Put a factory in place, once; again only if somebody has replaced it without calling it."""
    if isinstance(logging.getLogRecordFactory(), RecordFactory):
        return
    with _lock:
        current = logging.getLogRecordFactory()
        if not _is_in_place(current):
            logging.setLogRecordFactory(RecordFactory(current))


def _is_in_place(current: Callable[..., logging.LogRecord]) -> bool:
    """Whether a factory ends up calling one of ours: another library may have wrapped it."""
    before = RecordFactory.probed
    try:
        current(_PROBE, logging.NOTSET, "", 0, "", (), None)
    except Exception:
        return True  # Logging is broken; to get between would not mend it.
    return RecordFactory.probed > before


def _level() -> int:
    level: int = logging.getLevelName(conf.get().LOG_LEVEL)
    return level


def _keep(record: logging.LogRecord, captured: Captured) -> None:
    try:
        # A copy, since formatting leaves its text on the record for the project's handlers to find.
        captured.add(_FORMAT.format(copy(record)))
    except Exception:
        # A record whose arguments do not fit: the project's own handlers say so.
        message = f"{text_of(record.msg)} (its arguments do not fit)"
        captured.add(f"{record.levelname} {record.name}: {message}")
