"""What the adapters of contenders inside Django share: settings, and their tables."""

from __future__ import annotations

from typing import Any

import django
from django.core.management import call_command
from django.db import connection, models

from benchmarks.peers import copies
from benchmarks.peers.adapter import Adapter, place

ENGINES = {"postgresql": "postgresql", "sqlite": "sqlite3", "mariadb": "mysql"}


def database(**extra: Any) -> dict[str, Any]:
    """Return Django's settings of the database; on SQLite WAL, and IMMEDIATE transactions."""
    where = place()
    vendor = where["vendor"]
    settings = {"ENGINE": f"django.db.backends.{ENGINES[vendor]}", "NAME": where["name"]}
    if vendor == "sqlite":
        settings["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        settings |= {key.upper(): where[key] for key in ("host", "port", "user", "password")}
    return settings | extra


class DjangoAdapter(Adapter):
    """Makes its tables with Django's migrations, and empties them with TRUNCATE or DELETE."""

    emptied: tuple[str, ...]
    """Tables of jobs, those that refer to others first."""

    def __init__(self) -> None:
        django.setup()
        self.vendor: str = place()["vendor"]

    def prepare(self) -> None:
        call_command("migrate", verbosity=0, interactive=False)

    def clear(self) -> None:
        with connection.cursor() as cursor:
            if self.vendor == "postgresql":
                cursor.execute(f"TRUNCATE {', '.join(self.emptied)} CASCADE")
            else:
                for table in self.emptied:
                    cursor.execute(f"DELETE FROM {table}")

    def copy(
        self, model: type[models.Model], count: int, changed: dict[str, str] | None = None
    ) -> None:
        """Insert copies of the only row in the table of a model, and tell the planner."""
        changed = changed or {}
        columns = [
            field.column
            for field in model._meta.local_concrete_fields
            if field.column not in changed and not isinstance(field, models.AutoField)
        ]
        table = model._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(copies.insert(self.vendor, table, columns, count, changed=changed))
        self.analyze(table)

    def analyze(self, table: str) -> None:
        """Have the planner look at a table, as it would by itself after a while."""
        with connection.cursor() as cursor:
            word = "TABLE " if self.vendor == "mariadb" else ""
            cursor.execute(f"ANALYZE {word}{table}")

    def has_row(self, query: str) -> bool:
        """Whether a query finds a row."""
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone() is not None
