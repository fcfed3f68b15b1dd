"""What is found about a pooler, such as PgBouncer, between here and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from django.db import connections

from operator_app import conf
from operator_app.doctor.finding import Finding

TRIES: Final = 5
"""How often it is tried whether the pooler lends one session to two."""

_HINT: Final = (
    'Set OPERATOR["NOTIFY"] to False, which saves the attempts to listen, and '
    '"DISABLE_SERVER_SIDE_CURSORS": True for this database; or connect operators directly, or to a '
    "pool in session mode, and be told at once what is due."
)


def transaction_pooling(alias: str) -> Iterator[Finding]:
    """Yield a warning where sessions are lent for one transaction only, a note where a pooler may
    do so, unless `OPERATOR["NOTIFY"]` says that this is known. One query, of the number of the
    server's process: what the server has told at the beginning is another one where a pooler has
    answered in its place. With a pooler, a connection more, and ten queries at most.
    """
    connection: Any = connections[alias]
    connection.ensure_connection()
    if not conf.get().NOTIFY or _pid(connection) == connection.connection.info.backend_pid:
        return
    if _lends_for_a_transaction(connection):
        yield Finding(
            "doctor.pooler",
            "warning",
            f"Between here and the database {alias!r} a pooler lends sessions for one transaction: "
            "LISTEN hears nothing there, so operators find what is due by looking.",
            _HINT,
        )
    elif not connection.in_atomic_block:
        yield Finding(
            "doctor.pooler",
            "note",
            f"There is a pooler between here and the database {alias!r}. In transaction mode, "
            "which cannot be told while all of its sessions are new, LISTEN would hear nothing.",
            f"If it is in transaction mode: {_HINT}",
        )


def _lends_for_a_transaction(connection: Any) -> bool:
    """Whether another connection is given the session that this one has had just now."""
    if connection.in_atomic_block:
        return False  # It keeps its session to the end.
    with closing(connection.copy()) as other:
        return any(_pid(connection) == _pid(other) for _ in range(TRIES))


def _pid(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    return int(pid)
