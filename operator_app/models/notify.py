"""Word to the operators that somebody wants something of what runs, where the database can tell."""

from __future__ import annotations

from typing import Final

from django.db import connections

from operator_app import conf

CHANNEL: Final = "operator_app_requests"
"""Of PostgreSQL's NOTIFY, which is heard in one database only."""


def requested(alias: str) -> None:
    """Tell the operators, once the transaction is committed, to look what people want. One query on
    PostgreSQL, none elsewhere: there they look by themselves, twice a second.
    """
    connection = connections[alias]
    if connection.vendor == "postgresql" and conf.get().NOTIFY:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])
