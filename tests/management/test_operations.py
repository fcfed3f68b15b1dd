"""`manage.py operations show`: one operation as text."""

from __future__ import annotations

import time
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from operator_app import clock
from operator_app.management import show as module
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.outcomes import Stopped
from tests.kinds.models import Mailing, Note, Sweep
from tests.models.tools import HOUR, Make, claimed_job, write

pytestmark = pytest.mark.django_db


def shown(*arguments: str) -> str:
    out = StringIO()
    call_command("operations", "show", *arguments, stdout=out)
    return out.getvalue()


def test_what_it_says_of_one(operator: OperatorProcess) -> None:
    """Its state, its own columns, its times, who runs it, and its attempts."""
    note = Note.dispatch(text="call back", queue="mail", priority=3)
    job = claimed_job(note, operator)
    job.end_as(Stopped("nobody is in", delay=60))
    Operation.all_objects.record([job])
    text = shown(str(note.pk))
    for words in ("kinds.Note", "scheduled", "call back", "mail, priority 3", "stops 1"):
        assert words in text
    for words in ("Attempts", "stopped", "nobody is in", "host:1"):
        assert words in text
    for words in (
        "Timeline",
        "Created",
        "Claimed by host:1",
        "Stopped, to go on later",
        "holds back",
    ):
        assert words in text


def test_what_is_sensitive_is_masked() -> None:
    """Whatever it is."""
    text = shown(str(Mailing.dispatch(token="hush-4711").pk))
    assert "hush-4711" not in text and "********" in text


def test_why_it_is_stuck(make_operator: Make) -> None:
    """The reason is told."""
    now = clock.now()
    operation = Sweep.dispatch()
    claimed_job(operation, make_operator(alive_until=now, heartbeat_at=now - HOUR))
    text = shown(str(operation.pk))
    assert "stuck" in text and "gave no heartbeat since" in text


def test_a_plain_text_for_scripts() -> None:
    """No colour and no frame of the terminal's width where there is no terminal."""
    text = shown(str(Note.dispatch(text="x" * 100).pk))
    assert "\x1b" not in text and "x" * 100 in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["999999999"], "There is no operation 999999999"),
        (["1", "--database", "nowhere"], "There is no database 'nowhere'"),
    ],
)
def test_what_there_is_not(arguments: list[str], words: str) -> None:
    """Says so."""
    with pytest.raises(CommandError, match=words):
        call_command("operations", *arguments[1:], "show", arguments[0])


def test_the_stack_of_what_does_not_run() -> None:
    """There is none, and nobody is asked."""
    operation = Sweep.dispatch()
    with pytest.raises(CommandError, match="is due: it has no stack"):
        shown(str(operation.pk), "--stack")
    assert Operation.all_objects.get(pk=operation.pk).stack_requested_at is None


def test_a_stack_that_does_not_come(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some seconds it says so; the rest is shown all the same."""
    monkeypatch.setattr(module, "STACK_WITHIN", 0.2)
    operation = Sweep.dispatch()
    claimed_job(operation, operator)
    out = StringIO()
    with pytest.raises(CommandError, match="has not answered"):
        call_command("operations", "show", str(operation.pk), "--stack", stdout=out)
    assert "running" in out.getvalue()
    assert Operation.all_objects.get(pk=operation.pk).stack_requested_at is not None


def test_a_stack_that_comes(operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the latest job's."""
    operation = Sweep.dispatch()
    claimed_job(operation, operator)

    def answer(seconds: float) -> None:
        OperationJob.objects.create(
            operation_id=operation.pk, number=1, started_at=clock.now(), stack="File x, line 1"
        )
        write(operation, stack_requested_at=None)

    # Of this module alone: other threads sleep, too.
    clock_of_module = SimpleNamespace(sleep=answer, monotonic=time.monotonic)
    monkeypatch.setattr(module, "time", clock_of_module)
    assert "File x, line 1" in shown(str(operation.pk), "--stack")
