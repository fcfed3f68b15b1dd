"""Word to operators that something is due, or is about to be.

Two ways: NOTIFY on PostgreSQL, which operators everywhere hear when the transaction is committed;
and a call within this process, for an operator that runs in it. Nothing depends on either: an
operator that hears nothing finds the same at its next look.

A NOTIFY names the lane of what is due now, so that an operator that had nothing to do can claim it
without looking where it is.

Each is made once for a transaction and a lane, however much is scheduled in it. What was said is
remembered by callbacks of `transaction.on_commit()`, since Django forgets that at the very moments
when the database forgets what it was told: at a rollback, also one to a savepoint. (A savepoint
that is rolled back by hand, through `savepoint_rollback()`, is seen by neither.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.db import connections

from operator_app import clock, conf
from operator_app.models.riding import riding
from operator_app.moments import later

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob

CHANNEL: Final = "operator_app_due"
"""Of PostgreSQL's NOTIFY, which is heard in one database only."""
PLANNED: Final = 5.0
"""Seconds between two looks of an operator that hears of what is due."""

Call: TypeAlias = Callable[[], object]

_WORD: Final = "_operator_app_word"
"""The attribute of a callback of `on_commit()` with what was said."""
SOMETHING: Final = ""
"""The word for: something is due, somewhere."""
MANY: Final = 8
"""How many lanes are named in one transaction, before it is something."""

_listeners: dict[str, tuple[Call, ...]] = {}
"""Whom to call in this process, by the alias of the database."""


def subscribe(alias: str, call: Call) -> None:
    """Let `call` be called when something was committed in this process that is due soon; on the
    thread that has committed it.
    """
    _listeners[alias] = (*_listeners.get(alias, ()), call)


def unsubscribe(alias: str, call: Call) -> None:
    """Undo one `subscribe()`, if there was one."""
    calls = list(_listeners.get(alias, ()))
    if call in calls:
        calls.remove(call)
    _listeners[alias] = tuple(calls)


def horizon() -> float:
    """Return the seconds within which an operator looks by itself: what is due later needs no word
    now. No queries.
    """
    return max(PLANNED, conf.get().POLL_INTERVAL)


def announce(alias: str, moment: datetime) -> None:
    """Tell the operators, once the transaction is committed, that something is due at `moment`.

    One query on PostgreSQL, none if it was said in this transaction, none if they look before
    that moment anyway, none on other databases.
    """
    connection = connections[alias]
    is_now = moment <= clock.now(alias)
    if not _is_worth_it(connection, moment) or _is_said(connection, SOMETHING, is_now):
        return
    if _notifies(connection):
        with connection.cursor() as cursor:
            cursor.execute(_notify(SOMETHING))
    _say_here(connection, SOMETHING)


@contextmanager
def announcing(alias: str, moment: datetime, lane: str = SOMETHING) -> Iterator[None]:
    """Tell the operators of what this block inserts, the first of which is due at `moment`; all of
    it in that lane (`lanes.as_word()`), if one is named.

    No query of its own: on PostgreSQL the word rides along on the INSERT, so that it costs neither
    a round trip nor, outside of `atomic()`, a second transaction.
    """
    connection = connections[alias]
    if not _is_worth_it(connection, moment):
        yield
        return
    is_now = moment <= clock.now(alias)
    if not _notifies(connection):
        yield
        if not _is_said(connection, SOMETHING, is_now):
            _say_here(connection, SOMETHING)
        return
    from operator_app.models import inserts
    from operator_app.models.operation import Operation

    rode: list[bool] = []
    # Where to claim is of use for what can be claimed now.
    word = lane if is_now and _count(connection) < MANY else SOMETHING

    def note(cursor: Any) -> None:
        if connection.in_atomic_block:
            # Now, where the open savepoints are those of the INSERT.
            _say_here(connection, word)
        else:
            rode.append(True)

    def wanted() -> str:
        return "" if _is_said(connection, word, is_now) else f"({_notify(word)})"

    verbs = ("INSERT INTO", f"{inserts.START}INSERT INTO")
    with riding(connection, verbs, Operation._meta.db_table, wanted, note):
        yield
    if rode:
        _say_here(connection, word)


def announce_pending(jobs: Iterable[OperationJob], alias: str) -> None:
    """Announce those operations that were given back by the outcomes of these jobs. Queries as
    `announce()`, for all of them together.
    """
    moments = []
    for job in jobs:
        if job.ending is not None and not job.ending.ended and job.ended_at is not None:
            changes = job.ending.changes(job.ended_at)
            moments.append(changes.get("should_run_at", job.due_at))
    if moments:
        announce(alias, min(moments))  # type: ignore[type-var, arg-type]


def _is_worth_it(connection: Any, moment: datetime) -> bool:
    if not _notifies(connection) and not _listeners.get(connection.alias):
        return False
    return moment <= later(clock.now(connection.alias), horizon())


def _notifies(connection: Any) -> bool:
    return connection.vendor == "postgresql" and conf.get().NOTIFY


def _notify(word: str) -> str:
    return f"SELECT pg_notify('{CHANNEL}', '{word}')"


def _said(connection: Any) -> Iterator[str]:
    """Yield what was said in this transaction, and not rolled back since. No queries."""
    for _, function, _ in reversed(connection.run_on_commit if connection.in_atomic_block else ()):
        if (word := getattr(function, _WORD, None)) is not None:
            yield word


def _is_said(connection: Any, word: str, is_now: bool) -> bool:
    """Whether nothing has to be added: that, or something, was said; or anything, for what is not
    due yet, as whoever follows a hint looks at all that is there right after.
    """
    return any(not is_now or said in (word, SOMETHING) for said in _said(connection))


def _count(connection: Any) -> int:
    return sum(1 for _ in _said(connection))


def _say_here(connection: Any, word: str) -> None:
    """Call whoever listens in this process, after the commit; and remember that it was said."""
    if not connection.in_atomic_block and not connection.get_autocommit():
        return  # A transaction by hand, of whose end nobody hears.
    alias = connection.alias

    def call() -> None:
        for listener in _listeners.get(alias, ()):
            listener()

    setattr(call, _WORD, word)
    connection.on_commit(call, robust=True)
