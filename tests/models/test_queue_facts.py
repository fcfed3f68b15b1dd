"""How operations are getting on, queue by queue."""

from __future__ import annotations

from datetime import timedelta

import pytest

from operator_app import clock
from operator_app.models import OperatorProcess, Pause, queue_facts
from operator_app.models.queue_facts import QueueFacts, look
from tests.kinds.models import Note, Sweep
from tests.models.tools import HOUR, Make, counted, queries

pytestmark = pytest.mark.django_db


def found() -> dict[str, QueueFacts]:
    return {facts.name: facts for facts in look("default", clock.now()).shown}


def test_queues_of_policies_are_there_without_a_row() -> None:
    facts = found()["notes"]
    assert (facts.waits.due.count, facts.waits.late, facts.hour.ended) == (0, None, 0)
    assert not facts.is_unserved and not facts.is_paused


def test_what_waits_and_who_serves(make_operator: Make) -> None:
    mail = make_operator(queues=["mail"])
    leaving = make_operator(queues=["slow", "idle"], draining=True)
    make_operator(queues=["mail"], alive_until=clock.now() - HOUR)
    for name in ("mail", "slow", "lost"):
        Note.schedule(clock.now() - timedelta(minutes=5), queue=name)
    Note.schedule(HOUR, queue="later")
    facts = found()
    assert list(facts["mail"].operators) == [mail] and not facts["mail"].is_unserved
    assert list(facts["slow"].operators) == [leaving] and facts["slow"].is_unserved
    assert facts["lost"].is_unserved and not facts["later"].is_unserved
    assert not facts["idle"].is_unserved
    assert facts["mail"].waits.due.count == 1 and 299 < (facts["mail"].waits.late or 0) < 330
    names = list(facts)
    assert names[:2] == ["lost", "slow"] and names[2:] == sorted(names[2:])
    everything = make_operator()
    assert everything in found()["lost"].operators


def test_throughput() -> None:
    """Of the last hour, and of each queue for itself."""
    now = clock.now()
    counted(Note, now - timedelta(minutes=5), queue="mail", finished=7, retried=2, failed=1)
    counted(Sweep, now - timedelta(minutes=50), queue="mail", finished=2)
    counted(Note, now - timedelta(minutes=70), queue="mail", finished=100)
    counted(Note, now, queue="other", finished=1)
    facts = found()
    assert (facts["mail"].hour.ended, facts["other"].hour.ended) == (10, 1)


def test_pauses() -> None:
    own = Pause.objects.pause(queue="mail")
    some = Pause.objects.pause(queue="mail", kind=Note)
    kind = Pause.objects.pause(kind=Sweep)
    Sweep.dispatch(queue="sweeps")
    facts = found()
    assert facts["mail"].pauses == [own, some] and facts["sweeps"].pauses == [kind]
    assert not facts["sweeps"].is_paused
    assert facts["mail"].own_pause == own and facts["mail"].is_paused
    assert not facts["notes"].is_paused and facts["notes"].own_pause is None
    everything = Pause.objects.pause()
    assert everything in found()["notes"].pauses and found()["notes"].is_paused
    assert found()["notes"].own_pause is None


def test_many_queues(monkeypatch: pytest.MonkeyPatch, operator: OperatorProcess) -> None:
    """Those are shown in which something has been due for longest; in no more queries."""
    with queries() as few:
        found()
    for number in range(8):
        Note.schedule(clock.now() - timedelta(minutes=number), queue=f"q{number}")
    Note.schedule(HOUR, queue="a")
    with queries() as many:
        total = len(found())
    assert len(many) <= len(few) + 1 <= 6
    monkeypatch.setattr(queue_facts, "MOST", 3)
    seen = look("default", clock.now())
    assert [facts.name for facts in seen.shown] == ["q5", "q6", "q7"]
    assert seen.left_out == total - 3
