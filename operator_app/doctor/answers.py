"""Questions to the system tables of a server, which not everybody may ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db import Error, connections

DENIED: Final = {1044, 1142, 1227, "42501"}
"""What MySQL, MariaDB and PostgreSQL call a privilege that is missing."""

SHOWN: Final = 100
"""How many characters of a statement are shown."""


class NotAllowed(Exception):
    """This database user may not ask that."""


def ask(alias: str, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of the answer. One query.

    Raises:
        NotAllowed: if the database user lacks the privilege.
        Error: for anything else that the database has against it.
    """
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())
    except Error as error:
        if {getattr(error.__cause__, "sqlstate", None), *error.args[:1]} & DENIED:
            raise NotAllowed(str(error).strip()) from error
        raise


def shortened(statement: str | None) -> str:
    """Return the start of a statement, on one line and without what a terminal would obey.

    >>> shortened("SELECT 1,\\n       2\\x1b[2J")
    'SELECT 1, 2 [2J'
    """
    printable = "".join(letter if letter.isprintable() else " " for letter in statement or "")
    words = " ".join(printable.split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN]} ..."
