"""What keeps dead rows from being vacuumed on PostgreSQL."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.db import connection

from operator_app.doctor import Finding, postgresql
from operator_app.models import Operation
from tests.doctor.tools import only
from tests.kinds.models import Sweep
from tests.processes import poll

pytestmark = [
    pytest.mark.skipif(connection.vendor != "postgresql", reason="about PostgreSQL"),
    pytest.mark.django_db,
]


def pid_of(session: Any) -> int:
    return session.connection.info.backend_pid


def of(session: Any, older_than: float = 0) -> list[Finding]:
    """What is found about this session; its id is in its hint, and the tests have others open."""
    with connection.cursor() as cursor:
        # The test is one transaction, in which the server would show the same each time.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
    found = postgresql.long_transactions("default", older_than)
    return [finding for finding in found if f"({pid_of(session)})" in finding.hint]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_current_xact_id() /* [wrote] */",
        "DECLARE c CURSOR FOR /* [reads] */ SELECT 1",
    ],
)
def test_a_transaction_that_is_left_open(session: Any, statement: str) -> None:
    """It is named with all that is known of it, whether it has written or only reads."""
    with session.cursor() as cursor:
        cursor.execute("SET application_name = 'report'")
        session.commit()
        cursor.execute(statement)
    finding = only(of(session))
    assert (finding.id, finding.severity) == ("doctor.long_transaction", "problem")
    for words in ("user postgres", "idle in transaction", "'report'", "operator_app_operation"):
        assert words in finding.message.replace(connection.settings_dict["USER"], "postgres")
    assert finding.message.endswith(statement)
    assert f"SELECT pg_terminate_backend({pid_of(session)})" in finding.hint
    session.rollback()
    assert of(session) == []


def test_a_young_one(session: Any) -> None:
    """It is nobody's business."""
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
    assert of(session) != []
    assert of(session, older_than=3600) == []


def test_one_that_holds_nothing_back(session: Any) -> None:
    """Between two statements of READ COMMITTED, one that has only read keeps no row."""
    with session.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert of(session) == []


def test_our_own(session: Any) -> None:
    """The test's own transaction is one too, and is not found."""
    Sweep.dispatch()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        own = cursor.fetchone()[0]
    found = postgresql.long_transactions("default", 0)
    assert not [finding for finding in found if f"({own})" in finding.hint]


def test_a_user_who_may_not_see_others(session: Any) -> None:
    """He is told so; nothing breaks, and nothing is made up."""
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE operator_doctor_blind")  # Gone with the test's transaction.
        cursor.execute("SET LOCAL ROLE operator_doctor_blind")
    finding = only(postgresql.long_transactions("default", 0))
    assert (finding.id, finding.severity) == ("doctor.unseen", "note")
    assert "'operator_doctor_blind' may not see" in finding.message
    assert 'GRANT pg_read_all_stats TO "operator_doctor_blind"' in finding.hint


def test_prepared_transactions() -> None:
    """The server is asked without an error; what it would say is quoted as SQL."""
    list(postgresql.prepared_transactions("default", 0))
    finding = postgresql.prepared_transaction("it's", "app", 7200)
    assert (finding.id, finding.severity) == ("doctor.prepared_transaction", "problem")
    assert "'it''s' of app has been waiting for 2 h" in finding.message
    assert "ROLLBACK PREPARED 'it''s'" in finding.hint


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_was_prepared(session: Any) -> None:
    """The real thing, where the server lets transactions be prepared."""
    with session.cursor() as cursor:
        cursor.execute("SHOW max_prepared_transactions")
        if cursor.fetchone()[0] == "0":
            pytest.skip("max_prepared_transactions is 0")
        session.commit()
        cursor.execute("SELECT pg_current_xact_id()")
        cursor.execute("PREPARE TRANSACTION 'operator_doctor'")
        session.commit()
        try:
            finding = only(postgresql.prepared_transactions("default", 0))
            assert "'operator_doctor'" in finding.message
        finally:
            session.set_autocommit(True)
            cursor.execute("ROLLBACK PREPARED 'operator_doctor'")


def test_a_slot_that_keeps_no_rows(db: None) -> None:
    """A real one, which is as good as unread; but it keeps nothing, and is not found."""
    name = f"operator_doctor_{os.getpid()}"
    with connection.cursor() as cursor:
        cursor.execute("SHOW wal_level")
        if cursor.fetchone()[0] == "minimal":
            pytest.skip("wal_level is minimal")
        cursor.execute("SELECT pg_create_physical_replication_slot(%s, false, true)", [name])
        try:
            found = list(postgresql.replication_slots("default"))
        finally:
            cursor.execute("SELECT pg_drop_replication_slot(%s)", [name])
    assert not [finding for finding in found if name in finding.message]


@pytest.mark.parametrize(
    ("is_active", "keeps_rows", "age", "severity", "words"),
    [
        (False, True, 5, "problem", "rows of operator_app_operation"),
        (False, False, 5, "problem", "dead rows of the catalog"),
        (True, True, 2_000_000, "warning", "2,000,000 transactions behind"),
    ],
)
def test_what_is_said_of_a_slot(
    is_active: bool, keeps_rows: bool, age: int, severity: str, words: str
) -> None:
    """One that nobody reads is a problem at once."""
    finding = postgresql.replication_slot("standby", "physical", is_active, keeps_rows, age)
    assert finding is not None
    assert (finding.id, finding.severity) == ("doctor.replication_slot", severity)
    assert "'standby'" in finding.message and words in finding.message
    assert ("pg_drop_replication_slot('standby')" in finding.hint) is not is_active


def test_a_slot_that_is_read() -> None:
    """It is how standbys work."""
    assert postgresql.replication_slot("standby", "physical", True, True, 5_000) is None


@pytest.mark.django_db(transaction=True)
def test_dead_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """More dead than alive, and many; the statistics come a moment after the commit."""
    operations = [Sweep.dispatch() for _ in range(20)]
    Operation.all_objects.filter(pk__in=[row.pk for row in operations])._raw_delete("default")
    monkeypatch.setattr(postgresql, "MANY_DEAD", 10)
    finding = only(poll(lambda: list(postgresql.dead_rows("default")), timeout=20))
    assert (finding.id, finding.severity) == ("doctor.dead_rows", "warning")
    assert "operator_app_operation has " in finding.message
    assert "Autovacuum was last done with it" in finding.message
    assert "VACUUM operator_app_operation" in finding.hint
    monkeypatch.setattr(postgresql, "MANY_DEAD", 10**9)
    assert list(postgresql.dead_rows("default")) == []
