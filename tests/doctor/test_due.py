"""Operations that are due: does somebody take them, and in time?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import clock
from operator_app.checks import pending
from operator_app.doctor import Finding
from operator_app.doctor.due import LATE, due_operations
from operator_app.models import Operation, Pause
from tests.doctor.tools import ids, only
from tests.kinds.models import AsyncNote, Note, Sweep
from tests.models.tools import HOUR, Make, claimed_job, queries, write

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(minutes=7)


def found() -> list[Finding]:
    return list(due_operations("default", clock.now()))


def waiting(kind: type[Operation] = Sweep, *, since: timedelta = LONG_AGO, **options: Any) -> Any:
    """An operation that has been due for so long."""
    operation = kind.dispatch(**options)
    write(operation, should_run_at=clock.now() - since)
    return operation


def test_work_and_nobody_for_it(make_operator: Make) -> None:
    """How much there is and since when; an operator that is dead is none."""
    make_operator(alive_until=clock.now() - HOUR)
    waiting(since=timedelta(seconds=1))
    oldest = waiting(Note, queue="mail")
    Sweep.schedule(HOUR)
    finding = only(found())
    assert (finding.id, finding.severity) == ("doctor.no_operator", "problem")
    assert f": 2 operations; the oldest, {oldest}, has been due for 7 min." in finding.message


def test_no_work_for_nobody() -> None:
    """Nobody is needed for what is due later, and one query finds that out."""
    Sweep.schedule(HOUR)
    with queries("") as asked:
        assert found() == []
    assert len(asked) == 1


def test_an_operator_and_time_enough(make_operator: Make) -> None:
    """What is due since a moment ago is about to be claimed."""
    make_operator()
    waiting(since=timedelta(seconds=LATE - 20))
    assert found() == []


def test_a_queue_that_nobody_serves(make_operator: Make) -> None:
    """Named, with the queues that are served and the command that would serve it."""
    make_operator(queues=["mail"])
    make_operator(queues=["cron", "mail"])
    oldest = waiting(queue="press")
    waiting(queue="press", since=timedelta(0))
    finding = only(found())
    assert (finding.id, finding.severity) == ("doctor.unserved_queue", "problem")
    assert "serves the queue 'press'" in finding.message
    assert f": 1 operation; the oldest, {oldest}," in finding.message
    assert "Living operators: 2, but they serve 'cron', 'mail'." in finding.hint
    assert "operator --queue press" in finding.hint


def test_an_operator_that_leaves_serves_nobody(make_operator: Make) -> None:
    """It claims nothing any more."""
    make_operator(draining=True)
    waiting()
    finding = only(found())
    assert finding.id == "doctor.unserved_queue"
    assert "they are about to leave" in finding.hint


@pytest.mark.parametrize("queues", [[], ["default"]])
def test_late_though_served(make_operator: Make, queues: list[str]) -> None:
    """A warning: operators have room, so something else is in the way."""
    make_operator(queues=queues)
    waiting(queue="default")
    finding = only(found())
    assert (finding.id, finding.severity) == ("doctor.late", "warning")
    assert "the queue 'default'" in finding.message
    assert "claimed where these would run: 0, that they run there at once: 1." in finding.message
    assert "They have room" in finding.hint


def test_late_since_all_hands_are_full(make_operator: Make) -> None:
    """Then more hands are what helps."""
    claimed_job(Sweep.dispatch(), make_operator(capacity=1))
    waiting()
    finding = only(found())
    assert finding.id == "doctor.late"
    assert "claimed where these would run: 1, that they run there at once: 1." in finding.message
    assert "--threads" in finding.hint


def test_hands_that_are_full_elsewhere(make_operator: Make) -> None:
    """What is on the event loop takes no thread, and the other way round."""
    operator = make_operator(capacity=1)
    claimed_job(AsyncNote.dispatch(), operator)
    late = waiting()
    assert "They have room" in only(found()).hint
    claimed_job(late, operator)
    late = waiting()
    assert "hands full" in only(found()).hint
    write(late, should_run_at=clock.now() + HOUR)
    waiting(AsyncNote)
    assert "They have room" in only(found()).hint


def test_what_is_paused_may_wait(make_operator: Make) -> None:
    """The kind, the queue, or everything; what is not is told as ever."""
    make_operator()
    waiting(queue="mail")
    waiting(Note, queue="press")
    Pause.objects.pause(kind=Note)
    assert ids(found()) == ["late"]
    Pause.objects.pause(queue="mail")
    assert found() == []


def test_one_finding_for_each_queue(make_operator: Make) -> None:
    """Whatever the kinds and priorities in it."""
    make_operator(queues=["b"])
    waiting(queue="b")
    waiting(Note, queue="b", priority=4)
    waiting(queue="a")
    late = found()
    assert ids(late) == ["unserved_queue", "late"]
    assert "2 operations" in late[1].message


def test_the_count_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows are not counted."""
    monkeypatch.setattr(pending, "COUNTED", 2)
    for queue in ("a", "a", "b", "b"):
        waiting(queue=queue)
    assert "More than 2 operations;" in only(found()).message
