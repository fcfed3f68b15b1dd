"""The engine's own transactions: short, taken for writing at once, retried where that is safe."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from django.db import Error, InterfaceError, OperationalError, connections, transaction
from django.db.models import Model, QuerySet

from operator_app import conf
from operator_app.models.by_key import by_key

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=Model)

TRIES: Final = 7
"""How often a transaction is begun that loses deadlocks, for up to three seconds in all. Of four
writers that want the same keys in different orders one has lost five in a row."""
_RETRIED_SQLSTATES: Final = {"40P01", "40001"}
_RETRIED_MYSQL_ERRORS: Final = {1020, 1205, 1213}
_ENDED_SESSION: Final = ("08", "57P")
"""How the SQLSTATEs begin that say that the server has ended a session, or does not begin one."""
_ENDED_SESSION_MYSQL: Final = {1927, 2006, 2013, 2055, 4031}
_LOCKED: Final = "55P03"
"""The SQLSTATE of a wait for a lock that was given up."""
_LOCKED_MYSQL: Final = 1205
_USUAL: Final = "@operator_app_wait_timeout"
"""Where a MySQL session remembers how long it may be idle."""
_USUAL_LOCK: Final = "@operator_app_lock_wait_timeout"
"""The same, of how long it may wait for the lock of a row."""
LOCK_WAIT: Final = 1.0
"""Seconds that an impatient thread waits for a lock of somebody else's, on servers."""

_mood = threading.local()
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


@contextmanager
def impatient() -> Iterator[None]:
    """Let transactions of the engine that this thread begins in this block wait for a lock for
    `LOCK_WAIT` seconds and no longer, on servers: then they raise an error that `is_locked()`.

    For an operator's duties. Somebody's transaction that is open for long, or that of a process
    which was stopped, may hold the lock of one row, and all others would wait with it.
    """
    with _in_mood(True):
        yield


@contextmanager
def patient() -> Iterator[None]:
    """Let the transactions of this block, which runs user code, wait as usual."""
    with _in_mood(False):
        yield


def is_impatient() -> bool:
    """Whether this thread is in a block of `impatient()`."""
    return getattr(_mood, "is_impatient", False)


@contextmanager
def _in_mood(impatience: bool) -> Iterator[None]:
    before = is_impatient()
    _mood.is_impatient = impatience
    try:
        yield
    finally:
        _mood.is_impatient = before


def in_transaction(alias: str, work: Callable[[], T]) -> T:
    """Return `work()`, run in a transaction; again if that lost a deadlock.

    Only a transaction opened here is tried again, up to `TRIES` times: inside the caller's one, a
    lost deadlock has undone the caller's own statements too, which only the caller can repeat. And
    only such a one is ended by the server, but on SQLite, if this process falls silent in it for
    as long as makes an operator count as dead.
    """
    nested = connections[alias].in_atomic_block

    def wrapped() -> T:
        silence = Silence(alias)
        try:
            with writing(alias):
                if not nested:
                    silence.limit()
                return work()
        finally:
            silence.lift()

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
            if not left or not lost_to_another(error) or (is_impatient() and is_locked(error)):
                raise
            # Longer each time, so that many who are at it come one after the other at last.
            time.sleep(random.uniform(0.1, 1.0) * 0.05 * 2 ** (TRIES - 1 - left))
    raise AssertionError("unreachable: the last round returns or raises")


class Silence:
    """How long nothing may come in a transaction before the server ends it; and how long it waits.

    A process that is stopped, or a machine that is paused, between two statements would keep its
    locks for as long as that lasts, and nobody could rescue what is locked. On SQLite, where there
    is no server, nothing can be said.

    Args:
        alias: the database, to which this thread is connected when `limit()` is called.
    """

    def __init__(self, alias: str) -> None:
        self._connection = connections[alias]
        self._is_limited = False

    def limit(self) -> None:
        """Let the server end the transaction, in which this is called, if nothing comes for a
        heartbeat's timeout; and its waits for locks, where this thread is impatient. One round
        trip, none on SQLite; not counted among the queries.
        """
        timeout = conf.get().HEARTBEAT.timeout
        if self._connection.vendor == "postgresql":
            limits = {"idle_in_transaction_session_timeout": timeout}
            if is_impatient():
                limits["lock_timeout"] = LOCK_WAIT
            # For this transaction only, also behind a pooler that gives each one another session.
            parts = (
                f"set_config('{name}', '{max(1, round(1000 * seconds))}', true)"
                for name, seconds in limits.items()
            )
            self._say(f"SELECT {', '.join(parts)}")
        elif self._connection.vendor == "mysql":
            # Which knows them for whole sessions only.
            set_to = (
                f"{_USUAL} = @@wait_timeout",
                f"{_USUAL_LOCK} = @@innodb_lock_wait_timeout",
                f"SESSION wait_timeout = {max(1, math.ceil(timeout))}",
                *([f"SESSION innodb_lock_wait_timeout = {LOCK_WAIT:.0f}"] * is_impatient()),
            )
            self._say(f"SET {', '.join(set_to)}")
            self._is_limited = True

    def lift(self) -> None:
        """Let the session be idle as before, once the transaction is over: the caller's `run()` may
        wait. One round trip on MySQL and MariaDB, after `limit()`.
        """
        if self._is_limited and self._connection.connection is not None:
            self._is_limited = False
            with suppress(Error):  # It is gone, which the caller meets and says better.
                self._say(
                    f"SET SESSION wait_timeout = {_USUAL}, "
                    f"SESSION innodb_lock_wait_timeout = {_USUAL_LOCK}"
                )

    def _say(self, statement: str) -> None:
        """Execute a statement on the raw connection, so that it shows in no query log."""
        connection: Any = self._connection
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
        with by_key(rows):
            # With a column that no index has, so that they are found in the order of their ids.
            list(rows.values_list("pk", "created_at"))


def lost_to_another(error: BaseException) -> bool:
    """Whether the database undid the transaction in favour of another: trying again is right."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in _RETRIED_SQLSTATES:
        return True
    return bool(error.args) and error.args[0] in _RETRIED_MYSQL_ERRORS


def is_locked(error: BaseException) -> bool:
    """Whether an error says that somebody else has locked what was wanted, for too long."""
    if getattr(error.__cause__, "sqlstate", None) == _LOCKED:
        return True
    return bool(error.args) and error.args[0] == _LOCKED_MYSQL


def is_end_of_session(error: BaseException) -> bool:
    """Whether an error says that this session is over: a new one may be had at once."""
    cause: Any = error.__cause__
    if hasattr(cause, "sqlstate"):
        # The driver itself, which finds the other end gone, has no state.
        return cause.sqlstate is None or cause.sqlstate.startswith(_ENDED_SESSION)
    return bool(error.args) and error.args[0] in _ENDED_SESSION_MYSQL


def is_away(error: BaseException) -> bool:
    """Whether an error says nothing about what was written, but that the database cannot be written
    now: it is gone, locked as a whole, full, or read-only.
    """
    if is_locked(error):
        return False
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    return getattr(error.__cause__, "sqlstate", None) == _READ_ONLY
