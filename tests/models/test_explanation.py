"""Why an operation is not running: each reason, in order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType

from operator_app import Policy, clock
from operator_app.models import Operation, OperatorProcess, Pause, kinds
from operator_app.outcomes import Stopped
from tests.kinds.models import AsyncNote, Note, Sweep
from tests.models.tools import HOUR, Make, claimed_job, raises, scripted, stored, write

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def codes(operation: Operation) -> list[str]:
    return [reason.code for reason in operation.explain()]


def sentence(operation: Operation, code: str) -> str:
    """The sentence of this reason, which has to be among them."""
    (found,) = [reason for reason in operation.explain() if reason.code == code]
    return found.sentence


class TestPending:
    """Not started yet."""

    def test_scheduled(self, operator: OperatorProcess) -> None:
        operation = Note.schedule(timedelta(minutes=3))
        assert codes(operation) == ["scheduled"]
        assert sentence(operation, "scheduled") in ("It starts in 3 min.", "It starts in 180 s.")

    def test_due(self, operator: OperatorProcess) -> None:
        operation = Note.dispatch()
        assert codes(operation) == ["due"]
        assert sentence(operation, "due").endswith("and can be claimed any moment.")

    def test_nobody_lives(self, make_operator: Make) -> None:
        make_operator(draining=True)
        make_operator(alive_until=clock.now() - SECOND)
        make_operator(lost_at=clock.now())
        assert codes(Note.dispatch()) == ["no_operator"]
        assert codes(Note.schedule(HOUR)) == ["scheduled", "no_operator"]

    def test_nobody_serves_its_queue(self, make_operator: Make) -> None:
        make_operator(queues=["reports", "chores"])
        operation = Note.dispatch()
        assert codes(operation) == ["queue_not_served"]
        assert sentence(operation, "queue_not_served") == (
            "No live operator serves the queue 'notes': host:1 serves reports, chores."
        )
        make_operator(queues=["notes"])
        assert codes(operation) == ["due"]

    def test_nobody_knows_its_class(self, make_operator: Make) -> None:
        make_operator(kinds=[kinds.content_type(Sweep, "default").pk])
        make_operator(queues=["reports"])
        operation = Note.dispatch()
        assert codes(operation) == ["kind_unknown"]
        assert "kinds.Note is unknown to all live operators" in sentence(operation, "kind_unknown")
        make_operator(kinds=[kinds.content_type(Note, "default").pk])
        assert codes(operation) == ["due"]

    def test_its_class_is_gone(self, gone_kind: ContentType, make_operator: Make) -> None:
        make_operator(kinds=[])
        operation = Note.dispatch()
        write(operation, kind=gone_kind)
        assert codes(operation) == ["kind_gone", "kind_unknown"]
        assert "kinds.deletedlongago" in sentence(operation, "kind_gone")

    def test_all_are_busy(self, operator: OperatorProcess, make_operator: Make) -> None:
        claimed_job(Note.dispatch(), operator)
        operation = Note.dispatch()
        assert codes(operation) == ["operators_busy"]
        assert sentence(operation, "operators_busy").endswith("are busy: host:1 1 of 1.")
        make_operator(capacity=2)
        assert codes(operation) == ["due"]

    def test_others_are_busy_elsewhere(self, operator: OperatorProcess) -> None:
        """What is on the event loop takes no thread."""
        claimed_job(AsyncNote.dispatch(), operator)
        assert codes(Note.dispatch()) == ["due"]
        assert codes(AsyncNote.dispatch()) == ["due"]

    def test_a_pause(self, operator: OperatorProcess) -> None:
        operation = Note.dispatch()
        until = clock.now() + HOUR
        Pause.objects.pause(queue="notes", reason="a deploy", by="ann")
        Pause.objects.pause(kind=Sweep)
        Pause.objects.pause(kind=Note, until=until)
        assert codes(operation) == ["paused", "paused"]
        first, second = operation.explain()
        assert str(first) == "The queue 'notes' is paused by ann (a deploy)."
        assert str(second).startswith("kinds.Note is paused until ")

    def test_a_suspect(self, operator: OperatorProcess) -> None:
        operation = Note.dispatch()
        write(operation, crashes=1)
        assert codes(operation) == ["suspect", "due", "retried"]
        assert sentence(operation, "retried") == "It was tried before after 1 crash."

    def test_what_it_has_behind_it(self, operator: OperatorProcess) -> None:
        operation = scripted(raises(ValueError("no luck")))
        job = claimed_job(operation, operator)
        job.run()
        Operation.all_objects.record([job])
        assert codes(operation) == ["scheduled", "retried"]
        assert sentence(operation, "retried") == (
            "Its last attempt retried after 1 failure: no luck."
        )
        stops = Note.dispatch()
        job = claimed_job(stops, operator)
        job.end_as(Stopped("the shop is closed", delay=60))
        Operation.all_objects.record([job])
        assert sentence(stops, "stopped") == (
            "Its last attempt stopped after 1 stop: the shop is closed."
        )


class TestStarted:
    """Claimed."""

    def test_buffered(self, operator: OperatorProcess) -> None:
        operation = claimed_job(Note.dispatch(), operator).operation
        assert codes(operation) == ["claimed"]
        assert sentence(operation, "claimed").startswith("It was claimed by host:1 ")

    def test_running(self, operator: OperatorProcess) -> None:
        operation = claimed_job(Note.dispatch(), operator).operation
        write(operation, begun_run_at=clock.now() - 12 * 60 * SECOND)
        assert codes(operation) == ["running"]
        assert sentence(operation, "running") == "It has been running on host:1 for 12 min."
        Operation.objects.all().abort("too long")
        assert codes(operation) == ["running", "abort_requested"]
        assert sentence(operation, "abort_requested").endswith("ago (too long).")

    def test_by_hand(self) -> None:
        operation = Note.dispatch()
        now = clock.now()
        write(operation, started_run_at=now, begun_run_at=now - 60 * SECOND)
        assert sentence(operation, "running") == "It has been running by hand for 60 s."

    def test_stuck(self, make_operator: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        operator = make_operator()
        operation = claimed_job(Note.dispatch(), operator).operation
        OperatorProcess.objects.update(lost_at=clock.now())
        assert codes(operation) == ["stuck"]
        assert "gave no heartbeat since" in sentence(operation, "stuck")
        monkeypatch.setattr(Note, "policy", Policy(on_stuck="leave"))
        assert codes(operation) == ["stuck", "left"]


class TestEnded:
    """Over."""

    @pytest.mark.parametrize(
        ("column", "code", "words"),
        [
            ("finished_run_at", "finished", "It finished 60 s ago."),
            ("cancelled_at", "cancelled", "It was cancelled 60 s ago: because."),
            (
                "failed_run_at",
                "failed",
                "It failed for good 60 s ago after 3 failures and 1 crash: because. "
                "retry() begins anew.",
            ),
        ],
    )
    def test_how(self, column: str, code: str, words: str) -> None:
        operation = Note.dispatch()
        moment = clock.now() - 60 * SECOND
        values: dict[str, Any] = {column: moment, "reason": "because"}
        if code == "failed":
            values |= {"failures": 3, "crashes": 1}
        write(operation, **values)
        assert codes(operation) == [code]
        assert sentence(operation, code) == words
        assert str(operation.explain()[0]) == words

    def test_deleted(self) -> None:
        operation = Note.dispatch()
        Note.objects.all().delete()
        assert codes(operation) == ["deleted"]


def test_it_looks_at_the_row(operator: OperatorProcess) -> None:
    """And not at what was loaded an hour ago."""
    operation = Note.dispatch()
    write(operation, finished_run_at=clock.now(), started_run_at=clock.now())
    assert codes(operation) == ["finished"]


def test_the_cost(operator: OperatorProcess, django_assert_max_num_queries: Any) -> None:
    operation = scripted(raises(ValueError("no luck")))
    job = claimed_job(operation, operator)
    job.run()
    Operation.all_objects.record([job])
    write(operation, should_run_at=clock.now())
    operation = stored(operation)
    with django_assert_max_num_queries(6):
        assert codes(operation) == ["due", "retried"]
