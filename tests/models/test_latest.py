"""Which runs of a kind are found, and that not many rows are looked at for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from operator_app import clock
from operator_app.models import Operation, latest
from tests.admin.conftest import in_state, put
from tests.kinds.models import LongNote, Note, QuickNote, RankUp, Report, Sweep

pytestmark = pytest.mark.django_db


def base(operation: Operation) -> Operation:
    return Operation.all_objects.get(pk=operation.pk)


def ran(kind: type[Operation]) -> Operation:
    now = clock.now()
    begun = now - timedelta(seconds=3)
    return put(kind.dispatch(), started_run_at=begun, finished_run_at=now, attempts=1)


@pytest.mark.parametrize("kind", [Note, Sweep, QuickNote, LongNote, RankUp])
def test_which_runs_are_found(kind: type[Operation]) -> None:
    fields: Any = {"user": User.objects.create_user("ann")} if kind is RankUp else {}
    ended = [in_state(state, kind, **fields) for state in ("finished", "failed", "cancelled")]
    for other in (Note, Sweep, QuickNote, LongNote, Report):
        if other is not kind:
            in_state("finished", other)
    unrun = in_state("cancelled", kind, **fields)
    put(unrun, started_run_at=None, operator=None)
    pending = in_state("due", kind, **fields)
    assert [row.pk for row in latest.runs(base(pending), 50)] == [row.pk for row in ended[::-1]]
    up_to = latest.runs(base(ended[1]), 50, up_to=ended[1].pk)
    assert [row.pk for row in up_to] == [ended[1].pk, ended[0].pk]


@pytest.mark.parametrize("kind", [Note, Sweep])
def test_looking_for_runs_is_bounded(
    kind: type[Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latest, "LOOKED_AT", 3)
    monkeypatch.setattr(latest, "SPAN", 3)
    old = ran(kind)
    for _ in range(3):
        in_state("due", kind)
    assert latest.runs(base(old), 2) == []
    new = [ran(kind) for _ in range(3)]
    looked_at = base(old)
    with CaptureQueriesContext(connection) as captured:
        assert [row.pk for row in latest.runs(looked_at, 2)] == [new[2].pk, new[1].pk]
    assert len(captured) == 2
    assert all("JOIN" not in query["sql"] for query in captured)
