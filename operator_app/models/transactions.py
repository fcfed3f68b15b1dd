"""The engine's own transactions: short, taken for writing at once, retried where that is safe."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, TypeVar

from django.db import Error, InterfaceError, OperationalError, connections, transaction
from django.db.models import Model, QuerySet

from operator_app import conf

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=Model)

TRIES: Final = 5
_RETRIED_SQLSTATES: Final = {"40P01", "40001"}
_RETRIED_MYSQL_ERRORS: Final = {1020, 1205, 1213}
_ENDED_SESSION: Final = ("08", "57P")
"""How the SQLSTATEs begin that say that the server has ended a session, or does not begin one."""
_ENDED_SESSION_MYSQL: Final = {1927, 2006, 2013, 2055, 4031}
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
    lost deadlock has undone the caller's own statements too, which only the caller can repeat. And
    only such a one is ended by the server, but on SQLite, if this process falls silent in it for
    as long as makes an operator count as dead.
    """
    nested = connections[alias].in_atomic_block

    def wrapped() -> T:
        with writing(alias), nullcontext() if nested else _given_up_when_silent(alias):
            return work()

    return in_statement(alias, wrapped)


def in_statement(alias: str, work: Callable[[], T]) -> T:
    """Return `work()`, which makes one statement, a transaction by itself; again if that lost a
    deadlock, as `in_transaction()` does.
    """
    nested = connections[alias].in_atomic_block
    for left in range(0 if nested else TRIES - 1, -1, -1):
        try:
            return work()
        except OperationalError as error:
            if not left or not lost_to_another(error):
                raise
            # Longer each time, so that many who are at it come one after the other at last.
            time.sleep(random.uniform(0.1, 1.0) * 0.05 * 2 ** (TRIES - 1 - left))
    raise AssertionError("unreachable: the last round returns or raises")


@contextmanager
def _given_up_when_silent(alias: str) -> Iterator[None]:
    """Let the server end this transaction if nothing comes for a heartbeat's timeout.

    A process that is stopped, or a machine that is paused, between two statements would keep its
    locks for as long as that lasts, and nobody could rescue what is locked. One round trip on
    PostgreSQL, two on MySQL and MariaDB, which know it for whole sessions only; not counted among
    the queries.
    """
    connection = connections[alias]
    if connection.vendor == "postgresql":
        milliseconds = max(1, round(1000 * conf.get().HEARTBEAT.timeout))
        # For this transaction only, also behind a pooler that gives each one another session.
        _say(connection, f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}")
        yield
    elif connection.vendor == "mysql":
        seconds = max(1, math.ceil(conf.get().HEARTBEAT.timeout))
        usual = "@operator_app_wait_timeout"
        _say(connection, f"SET {usual} = @@wait_timeout, SESSION wait_timeout = {seconds}")
        try:
            yield
        finally:
            # Outside of it the session may be idle for long: the caller's run() may wait.
            with suppress(Error):  # It is gone, which the caller meets and says better.
                _say(connection, f"SET SESSION wait_timeout = {usual}")
    else:
        yield


def _say(connection: Any, statement: str) -> None:
    """Execute a statement on the raw connection, so that it shows in no query log."""
    with connection.wrap_database_errors, connection.connection.cursor() as cursor:
        cursor.execute(statement)


def unlocked(rows: QuerySet[ModelT, T]) -> list[T]:
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


def lock_in_order(operations: QuerySet[Any, Any]) -> None:
    """Lock operations in the order of their ids, as whoever locks many does. An UPDATE alone takes
    them in whatever order it finds them, and deadlocks with others. One query, none on SQLite.
    """
    features = connections[operations.db].features
    if features.has_select_for_update:  # On SQLite the transaction has the only lock there is.
        no_key = bool(features.has_select_for_no_key_update)
        rows = operations.order_by("pk").select_for_update(no_key=no_key)
        # With a column that no index has, so that the rows are found by their ids, and in order.
        list(rows.values_list("pk", "created_at"))


def lost_to_another(error: BaseException) -> bool:
    """Whether the database undid the transaction in favour of another: trying again is right."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in _RETRIED_SQLSTATES:
        return True
    return bool(error.args) and error.args[0] in _RETRIED_MYSQL_ERRORS


def is_end_of_session(error: BaseException) -> bool:
    """Whether an error says that this session is over: a new one may be had at once."""
    cause: Any = error.__cause__
    if hasattr(cause, "sqlstate"):
        # The driver itself, which finds the other end gone, has no state.
        return cause.sqlstate is None or cause.sqlstate.startswith(_ENDED_SESSION)
    return bool(error.args) and error.args[0] in _ENDED_SESSION_MYSQL


def is_away(error: BaseException) -> bool:
    """Whether an error says nothing about what was written, but that the database cannot be written
    now: it is gone, locked, full, or read-only.
    """
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    return getattr(error.__cause__, "sqlstate", None) == _READ_ONLY
