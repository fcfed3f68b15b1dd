"""The connections of an operator's threads: kept, checked, recycled; never one per job."""

from __future__ import annotations

import select
import time
from typing import Any, Final

from django.db import connections

KEPT_FOR: Final = 600.0
"""Seconds after which a healthy connection is opened anew."""
TRUSTED_FOR: Final = 1.0
"""Seconds that a connection may be idle and is still taken to be healthy, unasked."""

_OPENED: Final = "_operator_app_opened"
_USED: Final = "_operator_app_used"
_doubted_at = -1.0
"""When a thread of this process last found that the database was away."""


def are_doubtful(tidied_at: float) -> bool:
    """Whether `freshen()` may have anything to ask of connections that were tidy at this moment, by
    the monotonic clock. No queries.
    """
    return tidied_at <= _doubted_at or time.monotonic() - tidied_at > TRUSTED_FOR


def are_untidy() -> bool:
    """Whether `tidy()` may have a query to make. If not, this does all that it would do."""
    now = time.monotonic()
    for connection in _mine():
        opened = getattr(connection, _OPENED, None)
        if (
            opened is None
            or opened[0] is not connection.connection
            or now - opened[1] > KEPT_FOR
            or connection.errors_occurred
            or not connection.autocommit
        ):
            return True
        connection.queries_log.clear()
        setattr(connection, _USED, now)
    return False


def freshen(*, ask: bool = True) -> None:
    """Drop those of this thread's connections that the server has dropped. Call it before a job.

    A restarted server, or one that ends idle connections, tells nobody: the next statement fails,
    which would be charged to an operation that has done nothing. One ping for a connection that was
    idle for `TRUSTED_FOR` or that was open when another thread lost its own; otherwise no query.

    Args:
        ask: whether one that was idle is asked though nothing speaks against it. The engine's own
            work, which is tried again, can do without.
    """
    now = time.monotonic()
    for connection in _mine():
        if _is_doubtful(connection, now, ask=ask):
            if connection.is_usable():
                setattr(connection, _USED, time.monotonic())
            else:
                connection.close()


def answers(alias: str) -> bool:
    """Whether this thread's connection still answers: after an error, whose fault it was. One ping
    at most; False if it could not even be opened.
    """
    connection = connections[alias]
    return connection.connection is not None and bool(connection.is_usable())


def tidy() -> None:
    """Make this thread's connections fit for the next job. Call it between jobs.

    A connection that had an error is closed unless it still answers, one older than `KEPT_FOR` is
    closed, a transaction left open is rolled back, and the query log that Django keeps under DEBUG
    is emptied. No query on a healthy connection. Inside `atomic()` (a test) nothing is touched.
    """
    for connection in _mine():
        _roll_back(connection)
        connection.queries_log.clear()
        if connection.connection is None:
            continue  # It could not be rolled back. On MySQL, Django would ping it nevertheless.
        if connection.errors_occurred:
            if connection.is_usable():
                connection.errors_occurred = False
            else:
                connection.close()
                continue
        setattr(connection, _USED, time.monotonic())
        _recycle(connection)


def reset() -> None:
    """Close this thread's connections, so that the next query opens new ones."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def lost() -> None:
    """Close this thread's connections after an outage; other threads are to ask theirs."""
    global _doubted_at  # noqa: PLW0603  (one fact about the process, for all its threads)
    _doubted_at = time.monotonic()
    reset()


def _mine() -> list[Any]:
    """Return this thread's connections that are open, and not inside `atomic()`."""
    return [
        connection
        for connection in connections.all(initialized_only=True)
        if connection.connection is not None and not connection.in_atomic_block
    ]


def _is_doubtful(connection: Any, now: float, *, ask: bool) -> bool:
    used = getattr(connection, _USED, None)
    if used is None or used < _doubted_at:
        return True
    return now - used > TRUSTED_FOR and (ask or not _is_quiet(connection))


def _is_quiet(connection: Any) -> bool:
    """Whether the server has sent nothing since the last answer, where that can be told without
    asking it. The end of a session is something that it sends. No query.
    """
    if connection.vendor != "postgresql" or not hasattr(select, "poll"):
        return False
    try:
        poll = select.poll()
        poll.register(connection.connection.fileno(), select.POLLIN)
        return not poll.poll(0)
    except Exception:
        return False  # It was closed.


def _roll_back(connection: Any) -> None:
    """End a transaction that user code began by hand and did not end."""
    if connection.get_autocommit():
        return
    try:
        connection.rollback()
        connection.set_autocommit(True)
    except Exception:
        connection.close()


def _recycle(connection: Any) -> None:
    opened = getattr(connection, _OPENED, None)
    if opened is None or opened[0] is not connection.connection:
        setattr(connection, _OPENED, (connection.connection, time.monotonic()))
    elif time.monotonic() - opened[1] > KEPT_FOR:
        connection.close()
