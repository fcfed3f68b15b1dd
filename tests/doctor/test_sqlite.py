"""The file of an SQLite database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db.utils import ConnectionHandler

from operator_app.doctor import sqlite
from tests.doctor.tools import only
from tests.once import once

pytestmark = once


@pytest.fixture
def path(tmp_path: Path, db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A database of its own, which the doctor takes for the default one."""
    file = tmp_path / "some.sqlite3"
    engine = "django.db.backends.sqlite3"
    handler = ConnectionHandler({"default": {"ENGINE": engine, "NAME": file}})
    monkeypatch.setattr(sqlite, "connections", handler)
    yield file
    handler.close_all()


def connect(path: Path) -> Any:
    return closing(sqlite3.connect(path, isolation_level=None))


def test_a_file_without_a_log(path: Path) -> None:
    """The check's words and cure; silent once that is followed."""
    finding = only(sqlite.no_wal("default"))
    assert (finding.id, finding.severity) == ("doctor.no_wal", "warning")
    assert "journal_mode=delete" in finding.message and "journal_mode=WAL" in finding.hint
    with connect(path) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
    sqlite.connections["default"].close()  # One that is open remembers what it has read.
    assert list(sqlite.no_wal("default")) == []


def test_a_reader_that_never_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log grows, as the checkpoints cannot pass the reader; without one it does not."""
    monkeypatch.setattr(sqlite, "LARGE", 1024 * 1024)
    assert list(sqlite.large_wal("default")) == []
    with connect(path) as writer, connect(path) as reader:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("PRAGMA wal_autocheckpoint=10")
        writer.execute("CREATE TABLE words (word)")

        def write() -> None:
            for _ in range(200):
                writer.execute("INSERT INTO words VALUES (?)", ["x" * 10_000])

        write()
        assert list(sqlite.large_wal("default")) == []
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM words").fetchone()
        write()
        finding = only(sqlite.large_wal("default"))
    assert (finding.id, finding.severity) == ("doctor.large_wal", "warning")
    assert f"{path}-wal has " in finding.message and f"fuser {path}-wal" in finding.hint
