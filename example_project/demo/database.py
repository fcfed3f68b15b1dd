"""The database of the demo: made anew for `demo`, made if it is missing for `serve`."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection

from example_project.shop.models import Customer

LOGIN = "admin"
PASSWORD = "admin"


@contextmanager
def reserved() -> Iterator[None]:
    """Keep the database to this process while the block runs.

    Raises:
        CommandError: if another `demo` or `serve` has it.
    """
    with (settings.VAR / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                "Another demo or serve is using this database: end it first."
            ) from None
        yield


def empty(*, flush: bool) -> None:
    """Begin anew: no rows, no mail. Only an SQLite file is thrown away without `flush`.

    Raises:
        CommandError: if that would empty a database server without leave.
    """
    database = settings.DATABASES["default"]
    if connection.vendor == "sqlite":
        connection.close()  # System checks opened it, and would go on in the file thrown away.
        for suffix in ("", "-wal", "-shm"):
            Path(f"{database['NAME']}{suffix}").unlink(missing_ok=True)
    elif flush:
        call_command("migrate", verbosity=0)
        call_command("flush", interactive=False, verbosity=0)
    else:
        place = f"{database['NAME']!r} on {database['HOST']}:{database['PORT']}"
        raise CommandError(f"This empties the database {place}. If it may, repeat with --flush.")
    for file in settings.MAIL_DIRECTORY.glob("*.log"):
        file.unlink()


def fill() -> None:
    """Bring the tables up to date; give an empty database the shop's data and a login."""
    call_command("migrate", verbosity=0)
    if not Customer.objects.exists():
        call_command("loaddata", "marginalia", verbosity=0)
    users = get_user_model()
    if not users.objects.filter(username=LOGIN).exists():
        users.objects.create_superuser(LOGIN, "admin@marginalia.example", PASSWORD)


def name() -> str:
    """Return which database it is, as a reader would call it."""
    if connection.vendor == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    return f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"
