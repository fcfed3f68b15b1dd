"""The engine's own transactions: short, taken for writing at once, retried where that is safe."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.models import Model, QuerySet

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=Model)

TRIES: Final = 5
_RETRIED_SQLSTATES: Final = {"40P01", "40001"}
_RETRIED_MYSQL_ERRORS: Final = {1020, 1205, 1213}
_READ_ONLY: Final = "25006"
"""The SQLSTATE of a write on a PostgreSQL that is a standby, or has become one."""


@contextmanager
def writing(alias: str) -> Iterator[None]:
    """Open a transaction that writes.

    On SQLite it takes the write lock at its start, whatever the project's `transaction_mode`: one
    that reads first and writes later fails with "database is locked" at once, without waiting for
    the lock, if somebody else has written in between.
    """
    connection = connections[alias]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic(using=alias):
            yield
        return
    connection.ensure_connection()  # Which sets the mode.
    mode = connection.transaction_mode  # type: ignore[attr-defined]
    connection.transaction_mode = "IMMEDIATE"  # type: ignore[attr-defined]
    try:
        with transaction.atomic(using=alias):
            yield
    finally:
        connection.transaction_mode = mode  # type: ignore[attr-defined]


def in_transaction(alias: str, work: Callable[[], T]) -> T:
    """Return `work()`, run in a transaction; again if that lost a deadlock.

    Only a transaction opened here is tried again, up to `TRIES` times: inside the caller's one, a
    lost deadlock has undone the caller's own statements too, which only the caller can repeat.
    """
    nested = connections[alias].in_atomic_block
    for left in range(0 if nested else TRIES - 1, -1, -1):
        try:
            with writing(alias):
                return work()
        except OperationalError as error:
            if not left or not lost_to_another(error):
                raise
            time.sleep(random.uniform(0.005, 0.05))
    raise AssertionError("unreachable: the last round returns or raises")


def unlocked(rows: QuerySet[ModelT]) -> list[ModelT]:
    """Lock those of these rows that nobody else has locked, and return them. One query, inside a
    transaction.
    """
    features = connections[rows.db].features
    if not features.has_select_for_update_skip_locked:
        # SQLite, where the transaction holds the only write lock; or an old server, where the
        # guard of the UPDATE decides alone.
        return list(rows)
    no_key = bool(features.has_select_for_no_key_update)
    return list(rows.select_for_update(skip_locked=True, no_key=no_key))


def lost_to_another(error: BaseException) -> bool:
    """Whether the database undid the transaction in favour of another: trying again is right."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in _RETRIED_SQLSTATES:
        return True
    return bool(error.args) and error.args[0] in _RETRIED_MYSQL_ERRORS


def is_away(error: BaseException) -> bool:
    """Whether an error says nothing about what was written, but that the database cannot be written
    now: it is gone, locked, full, or read-only.
    """
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    return getattr(error.__cause__, "sqlstate", None) == _READ_ONLY
