"""Words of others on a terminal: they are shown, and nothing in them is obeyed."""

from __future__ import annotations

import time
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from operator_app import clock
from operator_app.doctor import Finding
from operator_app.management import diagnosis
from operator_app.management import show as module
from operator_app.management.console import console_of, printable
from operator_app.models import OperationJob, OperatorProcess, Pause, Recurrence
from operator_app.outcomes import Stopped
from tests.kinds.models import Note, Sweep
from tests.models.tools import Make, claimed_job, write

pytestmark = pytest.mark.django_db

EVIL = "\x1b]0;mine\x07\x9b2J\r:fire: [red]\N{RIGHT-TO-LEFT OVERRIDE}end"
"""What sets a title, clears a screen, writes over a line, is an emoji, a style, runs backwards."""
SHOWN = ":fire: [red]"
"""What has to be left of it, as it stands."""


class Terminal(StringIO):
    """One with colours."""

    def isatty(self) -> bool:
        return True


def told(*arguments: Any, out: StringIO | None = None) -> str:
    out = out or StringIO()
    call_command("operations", *map(str, arguments), stdout=out)
    return out.getvalue()


def assert_harmless(text: str) -> None:
    assert SHOWN in text
    assert {letter for letter in text if not letter.isprintable()} <= {"\n"}


def test_a_line_stays_a_line() -> None:
    assert printable("a\tb\x00c\nd\x1b[31m \xe9") == "a b c\nd [31m \xe9"


def test_in_the_list(make_operator: Make) -> None:
    operation = Note.dispatch(queue=f"q{EVIL}")
    claimed_job(operation, make_operator(hostname=f"web{EVIL}"))
    write(operation, reason=EVIL)
    assert_harmless(told("list"))


def test_in_one(make_operator: Make) -> None:
    operation = Note.dispatch(queue=f"q{EVIL}", text=f"first\n{EVIL}")
    operator = make_operator(hostname=f"web{EVIL}")
    job = claimed_job(operation, operator)
    job.end_as(Stopped(EVIL, delay=60))
    Note.all_objects.record([job])
    text = told("show", operation.pk)
    assert text.count(SHOWN) >= 4
    assert_harmless(text)


def test_what_an_operation_calls_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Note, "__str__", lambda note: EVIL)
    monkeypatch.setattr("operator_app.models.Operation.__str__", lambda operation: EVIL)
    pk = Note.dispatch().pk
    assert_harmless(told("show", pk))
    with pytest.raises(CommandError) as refused:
        told("show", pk, "--stack")
    assert_harmless(str(refused.value))


def test_in_a_stack(operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = Sweep.dispatch()
    claimed_job(operation, operator)

    def answer(seconds: float) -> None:
        OperationJob.objects.create(
            operation_id=operation.pk, number=1, started_at=clock.now(), stack=f"File x\n  {EVIL}"
        )
        write(operation, stack_requested_at=None)

    clock_of_module = SimpleNamespace(sleep=answer, monotonic=time.monotonic)
    monkeypatch.setattr(module, "time", clock_of_module)
    text = told("show", operation.pk, "--stack")
    assert "File x\n" in text
    assert_harmless(text)


def test_in_the_numbers(make_operator: Make) -> None:
    Note.dispatch(queue=f"q{EVIL}")
    make_operator(hostname=f"web{EVIL}", queues=[EVIL])
    Pause.objects.pause(queue="other", reason=EVIL)
    text = told("stats")
    assert text.count(SHOWN) == 4
    assert_harmless(text)


def test_in_the_tail(make_operator: Make) -> None:
    operation = Note.dispatch(queue=f"q\n{EVIL}")
    claimed_job(operation, make_operator(hostname=f"web{EVIL}"))
    text = told("tail", "--once")
    assert text.count("\n") == 2  # Scheduled, claimed: a line for each.
    assert_harmless(text)


def test_in_recurrences() -> None:
    kind_id = Note.dispatch().kind_id
    Recurrence.objects.create(name=EVIL, kind_id=kind_id, expression="0 3 * * *", time_zone="UTC")
    assert_harmless(told("recurrences"))


def test_in_pauses() -> None:
    Pause.objects.pause(queue="one", reason=EVIL, until=timedelta(hours=1))
    assert_harmless(told("pause", "--queue", "two", "--reason", EVIL))
    assert_harmless(told("resume", "--queue", "two"))
    with pytest.raises(CommandError) as refused:
        told("resume", "--queue", "two")
    assert_harmless(str(refused.value))


def test_in_what_the_doctor_says() -> None:
    out = StringIO()
    finding = Finding("x", "problem", f"message {EVIL}", f"hint {EVIL}")
    diagnosis.as_text([finding], out)  # type: ignore[arg-type]
    assert out.getvalue().count(SHOWN) == 2
    assert_harmless(out.getvalue())


def test_colours_of_our_own_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    console_of(out).print(EVIL, style="bold")  # type: ignore[arg-type]
    assert out.getvalue().startswith("\x1b[1m") and out.getvalue().count("\x1b") == 2
