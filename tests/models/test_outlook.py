"""What will become of a stuck operation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, OperatorProcess
from operator_app.models.outlook import is_deserted, outlook
from operator_app.policy import Policy
from tests.kinds.models import Note
from tests.models.tools import HOUR, Make, stored, write
from tests.once import once

pytestmark = [pytest.mark.django_db, once]


def said(row: Operation, *, someone_lives: bool = True) -> str:
    return outlook(row, clock.now(), someone_lives=someone_lives)


@pytest.fixture
def lost(make_operator: Make) -> OperatorProcess:
    return make_operator(alive_until=clock.now() - HOUR, lost_at=clock.now())


def held(operator: OperatorProcess | None, **values: Any) -> Operation:
    note = Note.dispatch()
    write(note, started_run_at=clock.now() - 2 * HOUR, attempts=1, operator=operator, **values)
    return stored(note)


@pytest.mark.parametrize(
    ("policy", "values", "words"),
    [
        (Policy(), {}, "lets it run again, in quarantine"),
        (Policy(on_stuck="fail"), {}, "lets it fail, as its policy says"),
        (Policy(on_stuck="leave"), {}, "Its policy leaves it to you"),
        (Policy(max_crashes=2), {"crashes": 1}, "its policy allows for 2 crashes"),
        (Policy(max_crashes=3), {"crashes": 1}, "lets it run again"),
        (Policy(on_stuck="leave"), {"abort_requested_at": 1}, "cancels it, as it was asked to"),
    ],
)
def test_of_a_lost_operator(
    policy: Policy, values: dict[str, Any], words: str, lost: OperatorProcess, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Note, "policy", policy)
    if "abort_requested_at" in values:
        values = {"abort_requested_at": clock.now()}
    row = held(lost, **values)
    assert words in said(row) and is_deserted(row)
    assert "start one" in said(row, someone_lives=False)


def test_of_one_that_lives(make_operator: Make) -> None:
    row = held(make_operator(), times_out_at=clock.now() - HOUR)
    assert "asks it to end" in said(row) and not is_deserted(row)


def test_of_one_that_was_not_declared_lost(make_operator: Make) -> None:
    row = held(make_operator(alive_until=clock.now() - timedelta(seconds=1)))
    assert "within a heartbeat timeout" in said(row) and not is_deserted(row)


def test_by_hand() -> None:
    row = held(None)
    assert "lets it fail, within" in said(row) and is_deserted(row)


def test_of_a_class_that_is_gone(lost: OperatorProcess, gone_kind: Any) -> None:
    row = held(lost)
    write(row, kind=gone_kind)
    assert "knows its class" in said(stored(row))
