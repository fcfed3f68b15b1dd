"""The hint that rows which are named be found by their names."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.db.models import Q

from operator_app.models import Operation
from operator_app.models.among import Among
from operator_app.models.transactions import lock_in_order
from tests.kinds.models import Note
from tests.models.tools import queries

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "mysql", reason="about MySQL and MariaDB"),
]

NAMED = [
    Q(pk=1),
    Q(id__in=[1, 2]),
    Among([1, 2]),
    Q(pk=1, queue="a") & ~Q(priority=3),
    (Q(pk=1, attempts=1) | Q(pk=2, attempts=2)) & Q(queue="a"),
]
OTHERS = [
    Q(),
    Q(queue="a"),
    ~Q(pk=1),
    ~Q(pk__in=[1, 2]),
    Q(pk=1) | Q(queue="a"),
    Q(pk__gt=1),
    Q(operator_id=1),
    Q(operator_id__in=[1, 2]),
]


@pytest.mark.parametrize("condition", [*NAMED, *OTHERS], ids=str)
def test_an_update(condition: Q) -> None:
    with queries("UPDATE") as seen:
        Operation.all_objects.filter(condition).update(priority=1)
    (statement,) = seen
    hint = "UPDATE `operator_app_operation` FORCE INDEX (PRIMARY) SET "
    assert statement.startswith(hint) == (condition in NAMED)


def test_locks() -> None:
    with transaction.atomic(), queries("SELECT") as seen:
        lock_in_order(Operation.all_objects.filter(pk__in=[1, 2]).pending())
        lock_in_order(Operation.all_objects.filter(queue="a"))
    assert [" FORCE INDEX (PRIMARY) WHERE " in statement for statement in seen] == [True, False]


def test_a_subclass() -> None:
    """Its update writes two tables, after a look for what is meant."""
    note = Note.dispatch(text="a")
    assert Note.objects.filter(pk=note.pk).update(priority=7, text="b") == 1
    note.refresh_from_db()
    assert (note.priority, note.text) == (7, "b")
