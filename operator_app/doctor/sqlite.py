"""What is found about the file of an SQLite database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.db import connections

from operator_app.checks.databases import sqlite_problems
from operator_app.doctor.finding import Finding

LARGE: Final = 64 * 1024 * 1024
"""Bytes above which a write-ahead log was not checkpointed for a long time."""


def no_wal(alias: str) -> Iterator[Finding]:
    """Yield a warning if there is no write-ahead log: what the check W003 says. Two queries."""
    connection: Any = connections[alias]
    for message in sqlite_problems(connection):
        if message.id == "operator_app.W003":
            yield Finding("doctor.no_wal", "warning", message.msg, message.hint or "")


def large_wal(alias: str) -> Iterator[Finding]:
    """Yield a warning if the write-ahead log is large. No queries."""
    connection: Any = connections[alias]
    if connection.is_in_memory_db():
        return
    wal = Path(f"{connection.settings_dict['NAME']}-wal")
    try:
        size = wal.stat().st_size
    except FileNotFoundError:
        return
    if size > LARGE:
        yield Finding(
            "doctor.large_wal",
            "warning",
            f"The write-ahead log {wal} has {size / 1024 / 1024:,.0f} MiB. Either a transaction "
            "has written that much, or somebody has been reading for so long that it cannot be "
            "checkpointed: it grows with each write, and reads get slower.",
            "PRAGMA wal_checkpoint(TRUNCATE) empties it; where that returns a 1 first, a reader is "
            f"still there: `fuser {wal}` names the processes. End the one whose transaction or "
            "cursor stays open.",
        )
