"""Runs a benchmark on each database that is found, in a process and a database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.databases import Found, look

CHILD = "OPERATOR_BENCH_CHILD"
ENDING = 60.0
"""Seconds that an operator gets to end."""


def is_child() -> bool:
    """Whether this process is to measure: the database is chosen, and settings are."""
    return CHILD in os.environ


def on_each_database(
    module: str,
    names: Sequence[str] | None,
    about: str,
    *arguments: str,
    settings: str = "benchmarks.settings",
) -> int:
    """Run a module once for each database, or those of these names; return 1 if one run failed.

    Args:
        module: where `is_child()` is asked.
        names: of databases; None for all.
        about: what is measured, for the headline.
        arguments: for the module.
        settings: the module of Django's settings.
    """
    failed = 0
    for entry in look():
        if not isinstance(entry, Found) or (names and entry.name not in names):
            continue
        print(f"\n{entry.name}: {entry.server}, {about}", flush=True)
        environment = {
            "OPERATOR_TEST_DATABASE": entry.name,
            CHILD: "1",
            "DJANGO_SETTINGS_MODULE": settings,
        }
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, env=os.environ | environment, check=False)
        failed = failed or done.returncode
    return failed


@contextmanager
def database() -> Iterator[str]:
    """Have an empty database while the block runs, and drop it; yields its name."""
    import django

    django.setup()
    from django.contrib.contenttypes.models import ContentType
    from django.db import connection

    ContentType.objects.clear_cache()  # Of a database before this one, which had other numbers.
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    name = str(connection.settings_dict["NAME"])
    try:
        yield name
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def settle(table: str) -> None:
    """Do now what the server would do in the background, while something is measured."""
    from django.db import connection

    statement = {"postgresql": "VACUUM ANALYZE", "mysql": "ANALYZE TABLE"}
    with connection.cursor() as cursor:
        verb = statement.get(connection.vendor, "ANALYZE")
        cursor.execute(f"{verb} {connection.ops.quote_name(table)}")
        if connection.vendor == "postgresql":
            cursor.execute("CHECKPOINT")  # Or gigabytes are written out while it is measured.


@contextmanager
def operator(name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a real operator run on the database of this name while the block runs."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "operator", *arguments],
            env=os.environ | {"OPERATOR_TEST_NAME": name},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        except BaseException:
            log.seek(0)
            print(log.read(), file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(ENDING)
