"""How many operations each operator holds, and where they run."""

from __future__ import annotations

import pytest
from django.test import override_settings

from operator_app.models import Operation, kinds
from operator_app.models.loads import IDLE, Load, busy_with, loads
from tests.kinds.models import AsyncNote, Inline, Note, Sweep
from tests.models.tools import Make, claimed_job, queries

pytestmark = pytest.mark.django_db


def ids(*models: type[Operation]) -> list[int]:
    return [kinds.content_type(model, "default").pk for model in models]


def test_what_operators_hold(make_operator: Make) -> None:
    """By where it runs, in one query; what waits, and what runs by hand, is nobody's."""
    busy, other, idle = (make_operator(pid=pid, capacity=3) for pid in (1, 2, 3))
    for kind in (Note, Sweep, AsyncNote, Inline):
        claimed_job(kind.dispatch(), busy)
    claimed_job(AsyncNote.dispatch(), other)
    Note.dispatch()
    ids(Note)
    with queries("") as asked:
        assert loads("default") == {busy.pk: Load(2, 2), other.pk: Load(0, 1)}
    assert len(asked) == 1
    assert loads("default", [other, idle]) == {other.pk: Load(0, 1)}
    assert (IDLE.all, Load(2, 2).all) == (0, 4)


@override_settings(OPERATOR={"TASKS": 7})
def test_how_busy_they_are_where_a_kind_runs(make_operator: Make) -> None:
    busy, idle = make_operator(pid=1, capacity=3), make_operator(pid=2, capacity=4)
    for kind in (Note, AsyncNote, AsyncNote):
        claimed_job(kind.dispatch(), busy)
    operators = [busy, idle]
    on_threads = {(busy, "threads"): (1, 3), (idle, "threads"): (0, 4)}
    assert busy_with("default", ids(Note, Sweep), operators) == on_threads
    on_the_loop = {(busy, "asyncio"): (2, 7), (idle, "asyncio"): (0, 7)}
    assert busy_with("default", ids(AsyncNote), operators) == on_the_loop
    assert busy_with("default", ids(AsyncNote, Note), operators) == on_threads | on_the_loop
    # A class that is gone is one of those that run on threads.
    assert busy_with("default", [2**31 - 1], [busy]) == {(busy, "threads"): (1, 3)}
