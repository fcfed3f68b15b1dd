"""What is found about what the user may do: of the database, or of its file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.db import connections

from operator_app.doctor.answers import ask
from operator_app.doctor.finding import Finding
from operator_app.models import Operation

VERBS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""What operators do with each table."""


def privileges(alias: str) -> Iterator[Finding]:
    """Yield a problem if the user of a PostgreSQL database may not do something with the engine's
    tables. One query.
    """
    models = apps.get_app_config(Operation._meta.app_label).get_models()
    tables = sorted({model._meta.db_table for model in models})
    columns = ", ".join("has_table_privilege(%s, %s)" for _ in tables for _ in VERBS)
    asked = [(table, verb) for table in tables for verb in VERBS]
    parameters = [each for table, verb in asked for each in (f'"{table}"', verb)]
    ((user, *answers),) = ask(alias, f"SELECT current_user, {columns}", parameters)
    pairs = zip(asked, answers, strict=True)
    refused = [f"{verb} on {table}" for (table, verb), may in pairs if not may]
    if refused:
        yield Finding(
            "doctor.permission",
            "problem",
            f"The user {user!r} of the database {alias!r} lacks {', '.join(refused)}.",
            f'As the owner: GRANT {", ".join(VERBS)} ON {", ".join(tables)} TO "{user}".',
        )


def file_access(alias: str) -> Iterator[Finding]:
    """Yield a problem if this process may not write the file of an SQLite database, or beside it.
    No queries.
    """
    connection: Any = connections[alias]
    if connection.is_in_memory_db():
        return
    file = Path(connection.settings_dict["NAME"])
    refused = [str(path) for path in (file, file.parent) if not os.access(path, os.W_OK)]
    if refused:
        yield Finding(
            "doctor.permission",
            "problem",
            f"This user may not write {' and '.join(refused)}: SQLite needs the file and, for its "
            "journal, the directory.",
            "Give both to the user that runs operators and the web server, or run all as one.",
        )
