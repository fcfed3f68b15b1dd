"""How the operations of recurrences have ended."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from operator_app import clock
from operator_app.models import Operation, OperatorProcess, Recurrence, RecurrenceSlot, kinds
from operator_app.models.results import latest
from tests.kinds.models import Note
from tests.models.test_plans import plan
from tests.models.tools import queries, write

pytestmark = pytest.mark.django_db(transaction=connection.vendor == "mysql")

SCAN = re.compile(
    r"Seq Scan on operator_app_recurrenceslot|"  # PostgreSQL
    r"^SCAN (operator_app_recurrenceslot|U0)$|"  # SQLite
    r"^(operator_app_recurrenceslot|U0) (ALL|index) "  # MySQL and MariaDB
)
"""A step in which all slots are read; U0 is those of one recurrence."""


def recurrence(name: str = "nightly") -> Recurrence:
    kind = kinds.content_type(Note, "default")
    return Recurrence.objects.create(name=name, kind=kind, expression="30 2 * * *")


def slots(one: Recurrence, count: int) -> None:
    now = clock.now()
    moments = [now - timedelta(minutes=number) for number in range(1, count + 1)]
    RecurrenceSlot.objects.bulk_create(
        RecurrenceSlot(recurrence=one, slot=at, state="skipped", reason="late", created_at=now)
        for at in moments
    )


def test_none() -> None:
    assert latest([], "default") == {}
    one = recurrence()
    assert latest([one], "default") == {one.pk: []}


def test_what_became_of_each(operator: OperatorProcess) -> None:
    one = recurrence()
    now = clock.now()
    slots(one, 1)
    finished, running, waits, gone = [one.run_now() for _ in range(4)]
    began = now - timedelta(seconds=20)
    write(
        finished,
        started_run_at=began - timedelta(seconds=5),
        begun_run_at=began,
        finished_run_at=began + timedelta(seconds=12),
    )
    write(running, started_run_at=began, operator=operator.pk)
    Operation.objects.filter(pk=gone.pk).delete()
    found = latest([one], "default")[one.pk]
    assert [(each.state, each.operation_id, each.took) for each in found] == [
        ("skipped", None, None),
        ("finished", finished.pk, 12.0),
        ("running", running.pk, None),
        ("due", waits.pk, None),
        ("gone", gone.pk, None),
    ]
    assert found[0].reason == "late" and found[1].ended_at == began + timedelta(seconds=12)


def test_the_last_ones_of_each() -> None:
    """So many of each, whoever of them has had more; in two queries."""
    many, few = recurrence(), recurrence("weekly")
    slots(many, 7)
    slots(few, 2)
    with queries() as asked:
        found = latest([many, few], "default", 5)
    assert len(asked) == 2
    assert [len(found[each.pk]) for each in (many, few)] == [5, 2]
    moments = [each.slot for each in found[many.pk]]
    assert moments == sorted(moments)
    assert moments[-1] == many.slots.order_by("-slot")[0].slot


def test_no_more_is_read_than_is_returned() -> None:
    """By an index, with many slots of many recurrences."""
    rows = [recurrence(str(number)) for number in range(40)]
    for row in rows:
        slots(row, 100)
    with connection.cursor() as cursor:
        name = connection.ops.quote_name(RecurrenceSlot._meta.db_table)
        cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{name}")
    found: list[str] = []

    def explain(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        found.extend(plan(sql, parameters))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(explain):
        assert sum(map(len, latest(rows[:3], "default").values())) == 90
    assert found
    assert [step for step in found if SCAN.search(step)] == [], found


def test_a_scan_is_seen() -> None:
    """The test can fail: a condition that no index has."""
    slots(recurrence(), 100)
    rows = RecurrenceSlot.objects.filter(reason="nowhere").values("pk")
    steps = plan(*rows.query.get_compiler("default").as_sql())
    assert any(map(SCAN.search, steps)), steps
