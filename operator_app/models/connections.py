"""The connections of an operator's threads: kept, checked, recycled; never one per job."""

from __future__ import annotations

import time
from typing import Any, Final

from django.db import connections

KEPT_FOR: Final = 600.0
"""Seconds after which a healthy connection is opened anew."""

_OPENED: Final = "_operator_app_opened"


def tidy() -> None:
    """Make this thread's connections fit for the next job. Call it between jobs.

    A connection that had an error is closed unless it still answers, one older than `KEPT_FOR` is
    closed, a transaction left open is rolled back, and the query log that Django keeps under DEBUG
    is emptied. No query on a healthy connection. Inside `atomic()` (a test) nothing is touched.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or connection.in_atomic_block:
            continue
        _roll_back(connection)
        connection.queries_log.clear()
        if connection.errors_occurred:
            if connection.is_usable():
                connection.errors_occurred = False
            else:
                connection.close()
                continue
        _recycle(connection)


def reset() -> None:
    """Close this thread's connections, so that the next query opens new ones."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


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
