"""Checks of the databases that operations may be in: can several processes share them well?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import Error as DatabaseError
from django.db import connections, router

from operator_app.models import Operation

SUPPORTED: Final = {
    "SQLite": (3, 35),
    "PostgreSQL": (14,),
    "MySQL": (8, 0, 11),
    "MariaDB": (10, 6),
}
"""The oldest version of each database that the engine is tested on."""

SHORTEST_TIMEOUT: Final = 20_000
"""Milliseconds that a writer of SQLite should be ready to wait for its turn."""

Connection: TypeAlias = Any
"""Django's wrapper of a connection; its attributes differ from database to database."""


@register("operator_app", Tags.database)
def check_databases(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check the version and the settings of each database. A query or two each; a database that
    cannot be reached is passed over, since whoever needs it will say so.
    """
    found: list[CheckMessage] = []
    for alias in databases or ():
        if router.allow_migrate_model(alias, Operation):
            found += problems(alias)
    return found


def problems(alias: str) -> list[CheckMessage]:
    """Return what is wrong with the database `alias`; nothing if it is away."""
    connection: Connection = connections[alias]
    try:
        connection.ensure_connection()
        return [
            message
            for check in (version_problems, *SETTINGS.get(connection.vendor, ()))
            for message in check(connection)
        ]
    except DatabaseError:
        return []


def version_problems(connection: Connection) -> Iterator[CheckMessage]:
    """Yield an error for a server that is too old. Django refuses most of them by itself."""
    product = connection.display_name
    oldest = SUPPORTED.get(product)
    version = connection.get_database_version() if oldest else ()
    if oldest and version < oldest:
        yield Error(
            f"The database {connection.alias!r} is {product} {_dotted(version)}, which is too old "
            "for operations.",
            hint=f"Use {product} {_dotted(oldest)} or later.",
            id="operator_app.E011",
        )


def sqlite_problems(connection: Connection) -> Iterator[CheckMessage]:
    """Yield the settings with which an operator and a web process get in each other's way."""
    alias = connection.alias
    if connection.is_in_memory_db():
        yield from _memory_problem(connection)
        return
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED"
    if mode.upper() not in {"IMMEDIATE", "EXCLUSIVE"}:
        yield Warning(
            f"Transactions of the SQLite database {alias!r} are {mode.upper()}: one that reads "
            'before it writes fails with "database is locked" if another process has written.',
            hint=_options_hint(alias, '"transaction_mode": "IMMEDIATE",'),
            id="operator_app.W002",
        )
    journal = _answer(connection, "PRAGMA journal_mode")
    if journal != "wal":
        yield Warning(
            f"The SQLite database {alias!r} has no write-ahead log (journal_mode={journal}), so "
            "readers and the writer block each other.",
            hint=_options_hint(
                alias, '"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",'
            ),
            id="operator_app.W003",
        )
    timeout = _answer(connection, "PRAGMA busy_timeout")
    if timeout < SHORTEST_TIMEOUT:
        yield Warning(
            f'Writers of the SQLite database {alias!r} give up with "database is locked" after '
            f"{timeout / 1000:g} seconds.",
            hint=_options_hint(alias, '"timeout": 20,'),
            id="operator_app.W004",
        )
    if connection.settings_dict.get("ATOMIC_REQUESTS"):
        yield Warning(
            f"ATOMIC_REQUESTS makes each request a transaction of the SQLite database {alias!r}: "
            "operators wait until it has ended, and each other request too.",
            hint=f'Remove "ATOMIC_REQUESTS": True from DATABASES[{alias!r}], and put '
            "transaction.atomic() around what belongs together.",
            id="operator_app.W005",
        )


def mysql_problems(connection: Connection) -> Iterator[CheckMessage]:
    """Yield a warning for the isolation level that is MySQL's own default."""
    # The variable has two names: MySQL 8 has dropped the old one, MariaDB 10 lacks the new one.
    variables = "'transaction_isolation', 'tx_isolation'"
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({variables})")
        levels = {level for _, level in cursor.fetchall()}
    if levels and "READ-COMMITTED" not in levels:
        level = levels.pop().replace("-", " ")
        yield Warning(
            f"Transactions of the database {connection.alias!r} are {level}: operators lock gaps "
            "between rows as well, and run into deadlocks.",
            hint=_options_hint(connection.alias, '"isolation_level": "read committed",'),
            id="operator_app.W007",
        )


SETTINGS: Final[dict[str, tuple[Callable[[Connection], Iterator[CheckMessage]], ...]]] = {
    "sqlite": (sqlite_problems,),
    "mysql": (mysql_problems,),
}


def _memory_problem(connection: Connection) -> Iterator[CheckMessage]:
    name = str(connection.settings_dict["NAME"])
    if name == connection.creation._get_test_db_name():
        return  # Django's test runner made it so.
    yield Warning(
        f"The SQLite database {connection.alias!r} is in memory: an operator, which is a process "
        "of its own, does not see the operations in it.",
        hint=f"Give DATABASES[{connection.alias!r}] the path of a file as its NAME.",
        id="operator_app.W006",
    )


def _answer(connection: Connection, question: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def _options_hint(alias: str, line: str) -> str:
    return f'Add to DATABASES[{alias!r}]["OPTIONS"]: {line}'


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
