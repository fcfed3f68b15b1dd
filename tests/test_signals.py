"""The signals: from whom, how often, when not, and what a receiver that raises does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.dispatch import Signal

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess, hooks
from operator_app.outcomes import Finished
from operator_app.signals import operation_claimed, operation_ended, operation_started
from operator_app.testing import run_due
from tests.kinds.models import Ledger, LongNote, Note, Scripted, Sweep
from tests.models.tools import (
    claimed_job,
    living_operator,
    nothing,
    queries,
    raises,
    scripted,
    stored,
    write,
)

pytestmark = pytest.mark.django_db
SIGNALS = {
    "claimed": operation_claimed,
    "started": operation_started,
    "ended": operation_ended,
}
Heard = list[tuple[str, Any, dict[str, Any]]]


@pytest.fixture(autouse=True)
def _forget() -> None:
    Scripted.forget()


@pytest.fixture
def operator() -> OperatorProcess:
    return living_operator()


@contextmanager
def connected(signal: Signal, receiver: Callable[..., Any], sender: Any = None) -> Iterator[None]:
    signal.connect(receiver, sender=sender)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=sender)


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What a receiver of each signal has heard: the signal's name, the sender, the rest."""
    found: Heard = []
    receivers = {}
    for name, signal in SIGNALS.items():

        def receiver(sender: Any, name: str = name, **facts: Any) -> None:
            found.append((name, sender, facts))

        receivers[name] = receiver
        signal.connect(receiver)
    yield found
    for name, signal in SIGNALS.items():
        signal.disconnect(receivers[name])


def test_each_is_sent_once_from_the_kind_in_order(heard: Heard) -> None:
    for kind in (Note, LongNote, Sweep):
        operation = kind.dispatch()
        [job] = run_due()
        assert [(name, sender) for name, sender, _ in heard] == [(name, kind) for name in SIGNALS]
        for _, _, facts in heard:
            assert type(facts["operation"]) is kind and facts["operation"] == operation
            assert facts["job"] is job and facts["signal"]
        assert isinstance(heard[-1][2]["outcome"], Finished)
        assert "outcome" not in heard[0][2]
        heard.clear()


def test_the_end_is_told_after_it_is_recorded() -> None:
    states = []

    def receiver(operation: Operation, **kwargs: Any) -> None:
        states.append(stored(operation).state)

    Note.dispatch()
    with connected(operation_ended, receiver):
        run_due()
    assert states == ["finished"]


@pytest.mark.parametrize(
    ("script", "outcomes"),
    [
        (lambda o: o.stop("later", delay=60), ["stopped"]),
        (lambda o: o.cancel("no"), ["cancelled"]),
        (raises(ValueError("no")), ["retried", "retried", "failed"]),
    ],
    ids=["stop", "cancel", "error"],
)
def test_every_outcome_is_told(
    heard: Heard, script: Callable[..., Any], outcomes: list[str]
) -> None:
    operation = Scripted.dispatch(script=Scripted.does("it", script))
    for number in range(len(outcomes)):
        run_due(now=clock.now() + timedelta(minutes=10 * number))
    ended = [facts["outcome"].name for name, _, facts in heard if name == "ended"]
    assert ended == outcomes
    assert [name for name, *_ in heard] == list(SIGNALS) * len(outcomes)
    assert {facts["operation"].pk for *_, facts in heard} == {operation.pk}


def test_dispatch_now_tells_them_all(heard: Heard) -> None:
    Note.dispatch_now()
    assert [(name, sender) for name, sender, _ in heard] == [(name, Note) for name in SIGNALS]


def test_a_lost_claim_is_told_to_nobody(heard: Heard, operator: OperatorProcess) -> None:
    job = claimed_job(scripted(nothing), operator)
    job.run()
    write(job.operation, attempts=7)
    for held in Operation.all_objects.record([job]):
        held.call_hooks()
    assert [name for name, *_ in heard] == ["started"]


def test_a_lost_atomic_claim_is_told_to_nobody(
    heard: Heard, operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = Note.dispatch(text="effect")
    policy = Note.resolved_policy()
    monkeypatch.setattr(
        Note, "resolved_policy", classmethod(lambda cls: _with(policy, atomic=True))
    )
    job = claimed_job(note, operator)
    job.read_at = time.monotonic()
    write(note, attempts=7)
    job.run()
    for held in Operation.all_objects.record([job]):
        held.call_hooks()
    assert not Ledger.objects.exists(), "its effects are rolled back"
    assert [name for name, *_ in heard] == ["started"]


def _with(policy: Any, **changed: Any) -> Any:
    from dataclasses import replace

    return replace(policy, **changed)


def test_a_receiver_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    later: list[str] = []

    def bad(sender: Any, **kwargs: Any) -> None:
        raise LookupError(f"bad receiver of {sender.__name__}")

    def good(sender: Any, **kwargs: Any) -> None:
        later.append(sender.__name__)

    note = Note.dispatch(text="done")
    with caplog.at_level(logging.ERROR, "operator_app"):
        for signal in SIGNALS.values():
            signal.connect(bad)
            signal.connect(good)
        try:
            [job] = run_due()
        finally:
            for signal in SIGNALS.values():
                signal.disconnect(bad)
                signal.disconnect(good)
    assert job.outcome == "finished" and stored(note).state == "finished"
    assert Ledger.objects.count() == 1 and later == ["Note"] * 3
    lines = [record for record in caplog.records if record.name == "operator_app"]
    assert [getattr(line, "action", "") for line in lines] == ["receiver_raised"] * 3
    assert all(line.exc_info and "bad receiver of Note" in line.getMessage() for line in lines)
    assert job.log == "" or "bad receiver" in job.log


def test_a_receiver_of_one_kind_hears_of_that_kind_only() -> None:
    heard = []

    def receiver(sender: Any, **kwargs: Any) -> None:
        heard.append(sender)

    Note.dispatch()
    LongNote.dispatch()
    with connected(operation_ended, receiver, sender=LongNote):
        run_due()
    assert heard == [LongNote]


def test_nothing_is_loaded_where_nobody_listens(operator: OperatorProcess) -> None:
    """Neither that one was claimed nor how it ended is a reason to load it."""
    claimed = claimed_job(Note.dispatch(), operator).operation
    job = OperationJob.of(Operation.all_objects.get(pk=claimed.pk))
    job.end_as(Finished())
    with queries() as seen:
        hooks.claimed(job)
        assert not job.has_ending_hook
        job.call_hooks()
    assert seen == [] and job.instance is None

    def receiver(**kwargs: Any) -> None:
        """Listen."""

    with connected(operation_ended, receiver, sender=Note), queries() as seen:
        hooks.claimed(job)
        assert job.has_ending_hook and job.instance is None and seen == []
        job.call_hooks()
    assert len(seen) == 1 and isinstance(job.instance, Note)


def test_one_that_cannot_be_loaded_is_told_as_its_base(
    heard: Heard, operator: OperatorProcess
) -> None:
    note = Note.dispatch()
    with transaction.atomic():
        Note._base_manager.filter(pk=note.pk)._raw_delete("default")
    [job] = run_due()
    assert job.outcome == "failed"
    name, sender, facts = heard[-1]
    assert (name, sender) == ("ended", Note) and type(facts["operation"]) is Operation
    assert OperationJob.objects.filter(outcome="failed").exists()


def test_an_error_reaches_logging_once_per_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """With `exc_info`, so that an error tracker groups it; a wanted retry is no error."""
    error = ValueError("seen by trackers")
    scripted(raises(error))
    asked = Scripted.does("asks", lambda operation: operation.retry("busy", delay=1))
    Scripted.dispatch(script=asked)
    with caplog.at_level(logging.DEBUG):
        for hour in range(4):
            run_due(now=clock.now() + timedelta(hours=hour))
    seen = [record for record in caplog.records if record.exc_info and record.exc_info[1] is error]
    assert [record.levelname for record in seen] == ["ERROR"] * 3
    assert [getattr(record, "action", "") for record in seen] == ["retried", "retried", "failed"]
    assert [getattr(record, "attempt", 0) for record in seen] == [1, 2, 3]
    others = [record for record in caplog.records if record.exc_info and record not in seen]
    assert others == []
