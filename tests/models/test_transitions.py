"""What rows tell of transitions: pure, so that nothing here needs a database."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from operator_app.models.transitions import (
    NAMES,
    AttemptRow,
    Ids,
    Memory,
    Row,
    Transition,
    of_attempt,
    of_change,
    of_row,
)
from tests.once import once

pytestmark = once

NOON = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def row(**changed: Any) -> Row:
    fields = {
        **dict.fromkeys(Row._fields),
        "pk": 17,
        "kind_id": 3,
        "queue": "mail",
        "attempts": 0,
        "reason": "",
        "created_at": NOON,
        "should_run_at": NOON,
    }
    return Row(**{**fields, **changed})


def attempt(**changed: Any) -> AttemptRow:
    fields = {
        "pk": 5,
        "operation_id": 17,
        "kind_id": 3,
        "queue": "mail",
        "number": 1,
        "operator": "host:1",
        "started_at": at(1),
        "ended_at": None,
        "outcome": None,
        "exception_class": "",
        "message": "",
    }
    return AttemptRow(**{**fields, **changed})


def names(found: Any) -> list[str]:
    return [each.name for each in found]


def test_one_that_waits() -> None:
    (found,) = of_row(row(should_run_at=at(9)))
    assert (found.name, found.at, found.due) == ("scheduled", NOON, at(9))


def test_when_it_was_to_be_run_at_first() -> None:
    """Is known only as long as nobody has claimed it: a stop, say, moves it."""
    (found,) = of_row(row(attempts=1, should_run_at=at(9)))
    assert (found.name, found.due) == ("scheduled", None)


def test_one_that_has_finished() -> None:
    """When it was claimed and ended, and by whom."""
    found = list(
        of_row(
            row(
                attempts=2,
                started_run_at=at(1),
                finished_run_at=at(2),
                hostname="host",
                pid=1,
            )
        )
    )
    assert [(each.name, each.at, each.number, each.operator) for each in found] == [
        ("scheduled", NOON, 0, ""),
        ("claimed", at(1), 2, "host:1"),
        ("finished", at(2), 2, "host:1"),
    ]


@pytest.mark.parametrize(
    ("outcome", "exception", "name"),
    [
        ("stopped", "", "stopped"),
        ("aborted", "", "aborted"),
        ("failed", "ValueError", "failed"),
        ("retried", "ValueError", "retried"),
        ("retried", "operator_app.exceptions.OperatorLost", "rescued"),
        ("released", "operator_app.exceptions.OperatorLost", "rescued"),
        ("failed", "operator_app.exceptions.OperatorLost", "failed"),
        ("released", "", "released"),
    ],
)
def test_attempts(outcome: str, exception: str, name: str) -> None:
    found = attempt(ended_at=at(2), outcome=outcome, exception_class=exception, message="why")
    claimed, ended = of_attempt(found)
    assert (claimed.name, claimed.at, claimed.message) == ("claimed", at(1), "")
    assert (ended.name, ended.at, ended.message) == (name, at(2), "why")


def test_an_attempt_that_runs() -> None:
    assert names(of_attempt(attempt())) == ["claimed"]


def test_both_rows_tell_the_same_once() -> None:
    """And that of the attempt knows more: here, that the operation was aborted, and why."""
    ended = row(attempts=1, started_run_at=at(1), cancelled_at=at(2))
    job = attempt(ended_at=at(2), outcome="aborted", message="a fire")
    memory = Memory()
    found = memory.new([*of_row(ended), *of_attempt(job)])
    assert names(found) == ["scheduled", "claimed", "aborted"]
    assert found[-1].message == "a fire"
    assert memory.new([*of_row(ended), *of_attempt(job)]) == []


def test_the_same_again_at_another_claim() -> None:
    memory = Memory()
    memory.new(of_attempt(attempt(ended_at=at(2), outcome="stopped")))
    again = attempt(number=2, started_at=at(3), ended_at=at(4), outcome="stopped")
    assert names(memory.new(of_attempt(again))) == ["claimed", "stopped"]


def test_cancelled_by_hand_after_a_stop() -> None:
    """It is no ending of the attempt that had stopped."""
    memory = Memory()
    memory.new(of_attempt(attempt(ended_at=at(2), outcome="stopped")))
    cancelled = row(attempts=1, cancelled_at=at(3), reason="no use")
    found = memory.new(of_row(cancelled))
    assert names(found) == ["scheduled", "cancelled"]
    assert found[-1].message == "no use"


def test_they_come_in_the_order_of_time() -> None:
    """At the same moment in that of what can only come after what."""
    same = row(attempts=1, started_run_at=NOON, finished_run_at=NOON)
    assert names(Memory().new(reversed(list(of_row(same))))) == ["scheduled", "claimed", "finished"]


def test_the_memory_is_bounded() -> None:
    memory = Memory(size=2)
    memory.new(of_row(row(pk=1)))
    memory.new(of_row(row(pk=2)))
    memory.new(of_row(row(pk=3)))
    assert names(memory.new(of_row(row(pk=3)))) == []
    assert names(memory.new(of_row(row(pk=1)))) == ["scheduled"]


class TestChanges:
    """What only the difference of two looks tells."""

    def test_deleted(self) -> None:
        assert names(of_change(row(), None, at(9))) == ["deleted"]

    def test_pruned(self) -> None:
        """What had ended was in nobody's way: no news."""
        assert names(of_change(row(finished_run_at=at(1)), None, at(9))) == []

    def test_rescheduled(self) -> None:
        (found,) = of_change(row(), row(should_run_at=at(3600)), at(9))
        assert (found.name, found.at) == ("rescheduled", at(9))
        assert found.due == at(3600)

    def test_retried_by_hand(self) -> None:
        before = row(attempts=1, started_run_at=at(1), failed_run_at=at(2))
        (found,) = of_change(before, row(attempts=1, should_run_at=at(5)), at(9))
        assert (found.name, found.at) == ("retried by hand", at(5))

    @pytest.mark.parametrize(
        "after",
        [
            {"attempts": 1, "started_run_at": at(1)},
            # Claimed and stopped between two looks: its attempt tells.
            {"attempts": 1, "should_run_at": at(60)},
            {},
        ],
    )
    def test_none(self, after: dict[str, Any]) -> None:
        assert names(of_change(row(), row(**after), at(9))) == []


class TestIds:
    """Those that a transaction has not committed yet are asked for again."""

    def test_what_was_left_out(self) -> None:
        ids = Ids(10)
        ids.advance([11, 14])
        assert (ids.last, ids.missing) == (14, [12, 13])
        ids.advance([13, 15])
        assert (ids.last, ids.missing) == (15, [12])

    def test_not_for_ever(self) -> None:
        ids = Ids(10, patience=2)
        ids.advance([12])
        ids.advance([])
        assert ids.missing == [11]
        ids.advance([])
        assert ids.missing == []

    def test_not_all_of_a_large_gap(self) -> None:
        ids = Ids(10, most=3)
        ids.advance([1_000_000])
        assert ids.missing == [999_997, 999_998, 999_999]


def test_all_names_are_known() -> None:
    """Those that can be shown are those that can be asked for."""
    assert len(set(NAMES)) == len(NAMES)
    with pytest.raises(ValueError, match="not in tuple"):
        _ = Transition(NOON, "vanished", 1, 1, "", 0).order
