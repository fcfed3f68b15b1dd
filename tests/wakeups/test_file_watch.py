"""Seeing that a SQLite file was changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection, connections, transaction

from operator_app.models import Operation
from operator_app.wakeups.calls import Calls
from operator_app.wakeups.sqlite import FileWatch
from tests.models.tools import in_thread
from tests.process.support import pause
from tests.processes import poll
from tests.wakeups.support import Heard
from tests.work.models import Tick

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite is a file"),
]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watch(transactional_db: None, heard: Heard) -> Iterator[FileWatch]:
    """One that watches."""
    watch = FileWatch("default", heard)
    watch.start()
    yield watch
    watch.stop()
    assert not watch.is_alive()


def test_a_commit_is_seen(watch: FileWatch, heard: Heard) -> None:
    """Of another connection, once it is committed; of this process or of another."""
    with transaction.atomic():
        Tick.dispatch()
        assert heard.count == 0
    poll(lambda: heard.count == 1, 10, "the commit to be seen")
    in_thread(Tick.dispatch)
    poll(lambda: heard.count == 2, 10, "the second one to be seen")


def test_what_does_not_change_the_file_is_no_news(watch: FileWatch, heard: Heard) -> None:
    """Neither that it began to watch, nor that others read or roll back."""
    Operation.objects.count()
    in_thread(Operation.objects.count)
    transaction.set_autocommit(False)
    try:
        Tick.dispatch()
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    pause(0.2)
    assert heard.count == 0


def test_what_was_there_at_clear_is_no_news(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator looks for work after it, and so sees it anyway; what comes later is."""
    monkeypatch.setattr("operator_app.wakeups.sqlite.LOOK", 0.2)
    watch = FileWatch("default", heard)
    watch.start()
    try:
        Tick.dispatch()
        watch.clear()
        pause(0.5)
        assert heard.count == 0
        watch.clear()
        Tick.dispatch()
        poll(lambda: heard.count == 1, 10, "the commit to be seen")
    finally:
        watch.stop()


def test_a_locked_file_is_looked_at_later(watch: FileWatch, heard: Heard) -> None:
    """Without a wait for the lock, and without an end to watching."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN EXCLUSIVE")
        pause(0.1)
        cursor.execute("COMMIT")
    before = heard.count
    Tick.dispatch()
    poll(lambda: heard.count > before, 10, "the commit to be seen")


def test_a_file_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason; what has happened meanwhile may be news."""
    monkeypatch.setattr("operator_app.wakeups.sqlite.REOPEN", 0.05)
    folder = tmp_path / "not" / "yet"
    parameters = {"database": str(folder / "db.sqlite3")}
    monkeypatch.setattr(
        type(connections["default"]), "get_connection_params", lambda self: dict(parameters)
    )
    watch = FileWatch("default", heard)
    watch.start()
    try:
        watch.clear()
        pause(0.2)
        assert heard.count == 0
        folder.mkdir(parents=True)
        poll(lambda: heard.count == 1, 10, "it to look again")
    finally:
        watch.stop()


def test_a_database_in_memory_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """There nobody else could change it."""
    monkeypatch.setattr(type(connections["default"]), "is_in_memory_db", lambda self: True)
    calls = Calls("default", due=bool, asked=bool)
    calls.start()
    try:
        assert calls._file is None
        calls.clear()
    finally:
        calls.stop()
