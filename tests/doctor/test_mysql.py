"""Transactions that keep history from being purged on MySQL and MariaDB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import connection

from operator_app import doctor
from operator_app.doctor import Finding, answers, mysql
from tests.doctor.tools import only
from tests.kinds.models import Sweep
from tests.processes import poll

pytestmark = [
    pytest.mark.skipif(connection.vendor != "mysql", reason="about MySQL and MariaDB"),
    pytest.mark.django_db,
]


def of(session: Any, older_than: float = 0) -> list[Finding]:
    """What is found about this session; others are open on the server, too."""
    number = session.connection.thread_id()
    found = mysql.long_transactions("default", older_than)
    return [finding for finding in found if f"KILL {number}." in finding.hint]


UNREAD = 0.2
"""Seconds between two looks: InnoDB makes its table anew only when nobody has read it for 0.1 s."""


def appears(session: Any) -> list[Finding]:
    return poll(lambda: of(session), timeout=10, interval=UNREAD)


def open_one(session: Any) -> None:
    """Let it have a view of the rows that it keeps until its end."""
    with session.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")


def is_listed(session: Any) -> bool:
    """Whether InnoDB shows a transaction of this session."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = %s",
            [session.connection.thread_id()],
        )
        return cursor.fetchone() is not None


def test_a_transaction_that_is_left_open(session: Any) -> None:
    """It is named with what is known of it."""
    open_one(session)
    finding = only(appears(session))
    assert (finding.id, finding.severity) == ("doctor.long_transaction", "problem")
    for words in (f"Session {session.connection.thread_id()} (user ", "Sleep", "history list has"):
        assert words in finding.message
    assert "it has changed 0 rows" in finding.message and "It is idle." in finding.message
    session.rollback()
    poll(lambda: not of(session), timeout=10, interval=UNREAD)


def test_one_that_has_locked_a_row(session: Any, transactional_db: None) -> None:
    """It keeps history at READ COMMITTED, too, and is found however little it has done."""
    Sweep.dispatch()
    with session.cursor() as cursor:
        cursor.execute("SELECT id FROM operator_app_operation FOR UPDATE")
    assert "It is idle." in only(appears(session)).message


def test_one_that_keeps_nothing(session: Any) -> None:
    """Between two statements of READ COMMITTED, one that has only read is in nobody's way."""
    with session.cursor() as cursor:
        cursor.execute("SELECT id FROM operator_app_operation")
    poll(lambda: is_listed(session), timeout=10, interval=UNREAD)
    assert of(session) == []


def test_a_young_one(session: Any) -> None:
    """It is nobody's business."""
    open_one(session)
    appears(session)
    assert of(session, older_than=3600) == []


def test_how_old_it_is_whatever_the_time_zone_of_the_session(session: Any) -> None:
    """Seconds, not hours: the server tells the start in its own time zone."""
    open_one(session)
    with connection.cursor() as cursor:
        cursor.execute("SET time_zone = '-11:00'")
        try:
            appears(session)
            assert of(session, older_than=3600) == []
        finally:
            cursor.execute("SET time_zone = DEFAULT")


@pytest.fixture
def blind(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The doctor asks as a user without the privilege PROCESS."""
    user, password = f"doctor_{os.getpid()}", "Blind-1-doctor"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE USER '{user}'@'%%' IDENTIFIED BY %s", [password])
        try:
            cursor.execute(
                f"GRANT SELECT ON `{connection.settings_dict['NAME']}`.* TO '{user}'@'%%'", []
            )
            with closing(connection.copy()) as other:
                other.settings_dict = {**other.settings_dict, "USER": user, "PASSWORD": password}
                monkeypatch.setattr(answers, "connections", {"default": other})
                yield
        finally:
            cursor.execute(f"DROP USER '{user}'@'%%'", [])


def test_a_user_who_may_not_see_others(blind: None, session: Any) -> None:
    """He is told so, with what the server says."""
    open_one(session)
    with pytest.raises(answers.NotAllowed, match="PROCESS"):
        list(mysql.long_transactions("default", 0))
    finding = only(doctor.examine("default"))
    assert (finding.id, finding.severity) == ("doctor.unseen", "note")
    assert "PROCESS" in finding.message
