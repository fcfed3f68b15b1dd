"""The doctor looks at a running system: what is wrong, where, and what to do. It changes nothing.

The ids are stable, so that a monitor can tell them apart.

| id | severity | what it finds |
|---|---|---|
| `doctor.check` | problem, warning | a system check has something to say |
| `doctor.migrations` | problem | migrations were not applied |
| `doctor.missing_index` | problem | an index is gone, or not as it should be |
| `doctor.permission` | problem | PostgreSQL, SQLite: the user may not write |
| `doctor.pooler` | warning, note | PostgreSQL: a pooler lends sessions for a transaction; or may |
| `doctor.no_operator` | problem | operations are due, and no operator lives |
| `doctor.unserved_queue` | problem | operations wait in a queue that no living operator serves |
| `doctor.late` | warning | operations have been due for longer than a minute all the same |
| `doctor.stuck` | problem | operations are stuck |
| `doctor.unknown_kind` | warning | operations are pending whose class is not installed here |
| `doctor.lost_operator` | note | an operator died without a word, and is not forgotten yet |
| `doctor.long_transaction` | problem | servers: a transaction that has been open for long |
| `doctor.prepared_transaction` | problem | PostgreSQL: one that was prepared and never ended |
| `doctor.replication_slot` | problem, warning | PostgreSQL: an unread slot; one far behind |
| `doctor.dead_rows` | warning | PostgreSQL: more operations are dead rows than living ones |
| `doctor.no_wal` | warning | SQLite: no write-ahead log |
| `doctor.large_wal` | warning | SQLite: a write-ahead log above 64 MiB |
| `doctor.unseen` | note | the database user may not see what other sessions do |
| `doctor.clock` | note | this host's clock and the database's differ by more than 2 seconds |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final

from django.db import connections

from operator_app import clock
from operator_app.doctor import (
    clocks,
    due,
    mysql,
    operations,
    operators,
    permissions,
    pooler,
    postgresql,
    schema,
    settings,
    sqlite,
)
from operator_app.doctor.answers import NotAllowed
from operator_app.doctor.finding import Finding

__all__ = ["LONG", "Finding", "examine"]

LONG: Final = 300.0
"""Seconds after which a transaction has been open for long, unless somebody says otherwise."""


def examine(alias: str, *, older_than: float = LONG) -> list[Finding]:
    """Return what is found in the database `alias`, the worst first. Up to fifty small queries if
    all is well, most of them of the catalog, none of which walks a table.

    Where the settings are wrong, or the engine's own migrations were not applied, it is only that.

    Args:
        alias: the database.
        older_than: seconds after which a transaction has been open for long.

    Raises:
        Error: if the database cannot be used.
    """
    found = _first(list(settings.failed_checks(alias)))
    if any(finding.message.endswith(settings.UNUSABLE) for finding in found):
        return found
    missing = schema.unapplied(alias)
    found += schema.unapplied_migrations(missing, alias)
    if schema.APP in missing:
        return _first(found)
    now = clock.now(alias)
    found += chain(
        schema.missing_indexes(alias),
        due.due_operations(alias, now),
        operations.stuck_operations(alias, now),
        operations.unknown_kinds(alias),
        _of_the_database(alias, older_than),
        operators.lost_operators(alias, now),
        clocks.clocks_apart(alias),
    )
    return _first(found)


_ORDER: Final = ("problem", "warning", "note")


def _first(found: Iterable[Finding]) -> list[Finding]:
    """Return them with the worst first."""
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def _of_the_database(alias: str, older_than: float) -> Iterator[Finding]:
    looks: dict[str, list[Callable[[], Iterator[Finding]]]] = {
        "postgresql": [
            lambda: postgresql.long_transactions(alias, older_than),
            lambda: postgresql.prepared_transactions(alias, older_than),
            lambda: postgresql.replication_slots(alias),
            lambda: postgresql.dead_rows(alias),
            lambda: permissions.privileges(alias),
            lambda: pooler.transaction_pooling(alias),
        ],
        "mysql": [lambda: mysql.long_transactions(alias, older_than)],
        "sqlite": [
            lambda: sqlite.no_wal(alias),
            lambda: sqlite.large_wal(alias),
            lambda: permissions.file_access(alias),
        ],
    }
    for look in looks.get(connections[alias].vendor, []):
        try:
            yield from look()
        except NotAllowed as error:
            yield Finding(
                "doctor.unseen",
                "note",
                f"The user of the database {alias!r} may not look for what keeps old rows there, "
                f"such as a long transaction, so none is found. The server says: {error}",
                "Grant that to the user, or examine with one that has it.",
            )
