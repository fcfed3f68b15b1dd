"""Rows by many ids, told in one parameter."""

from __future__ import annotations

import pytest
from django.db import connection

from operator_app import clock
from operator_app.models import Operation
from operator_app.models.among import Among
from tests.kinds.models import LongNote, Note, Sweep
from tests.models.tools import queries

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("kind", [Operation, Note, LongNote, Sweep])
def test_the_rows_of_these_ids(kind: type[Operation]) -> None:
    """Of the common table, of a kind with columns, of one that inherits from it, of a proxy."""
    made = LongNote if kind is Note else Sweep if kind is Operation else kind
    ids = [made.dispatch().pk for _ in range(4)]
    found = kind._base_manager.filter(Among(ids[1:3]))
    assert sorted(found.values_list("pk", flat=True)) == ids[1:3]
    assert found.exclude(pk=ids[1]).update(should_run_at=clock.now()) == 1


def test_none() -> None:
    """No ids, no rows; and unknown ones are no error."""
    Sweep.dispatch()
    assert not Operation.objects.filter(Among([])).exists()
    assert not Operation.objects.filter(Among([2**62])).exists()


def test_one_parameter() -> None:
    """However many there are; on MySQL a parameter each."""
    with queries() as seen:
        list(Operation.objects.filter(Among(range(2000))))
    if connection.vendor == "sqlite":
        assert "json_each('[0, 1, 2" in seen[0]
    elif connection.vendor == "postgresql":
        assert "ANY('{0, 1, 2" in seen[0]
    else:
        assert "IN (0, 1, 2" in seen[0]
