"""`manage.py operations tail`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from operator_app import clock
from operator_app.management import tail
from operator_app.models import Operation, following
from operator_app.testing import run_due
from tests.kinds.models import Note, Scripted, Sweep
from tests.models.tools import HOUR, write
from tests.once import once

pytestmark = pytest.mark.django_db

Between = Callable[[], object]


def run(*arguments: Any, out: Any = None) -> list[str]:
    """What it writes, line by line."""
    out = out or StringIO()
    call_command("operations", "tail", *map(str, arguments), stdout=out)
    lines: list[str] = out.getvalue().splitlines()
    return lines


def told(*arguments: Any) -> list[tuple[str, int]]:
    return [(each["event"], each["id"]) for each in map(json.loads, run("--json", *arguments))]


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say what happens between its looks; after that comes Ctrl-C."""

    def between(*steps: Between) -> None:
        left: Iterator[Between] = iter(steps)

        def sleep(seconds: float) -> None:
            assert seconds == tail.INTERVAL
            step = next(left, None)
            if step is None:
                raise KeyboardInterrupt
            step()

        # Of this module alone: other threads sleep, too.
        monkeypatch.setattr(tail, "time", SimpleNamespace(sleep=sleep))

    return between


def test_as_it_happens(between: Any) -> None:
    """Each transition once; Ctrl-C is how it ends."""
    notes: list[Note] = []
    between(lambda: notes.append(Note.dispatch()), run_due, bool, bool)
    assert told() == [(name, notes[0].pk) for name in ("scheduled", "claimed", "finished")]


def test_it_never_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the interval is that somebody asks for."""

    def sleep(seconds: float) -> None:
        assert seconds == tail.SHORTEST
        raise KeyboardInterrupt

    monkeypatch.setattr(tail, "time", SimpleNamespace(sleep=sleep))
    assert run("--interval", "0") == []


def test_the_latest_at_first(between: Any) -> None:
    between()
    ids = [Note.schedule(HOUR).pk for _ in range(12)]
    assert told() == [("scheduled", pk) for pk in ids[-10:]]
    assert told("-n", 2) == [("scheduled", pk) for pk in ids[-2:]]


def test_what_was_there_before_is_not_told_later(between: Any) -> None:
    """Neither what the first look has left out, nor what is older and met for the first time."""
    old = Note.schedule(HOUR)
    write(old, created_at=clock.now() - 9 * HOUR)
    Note.schedule(HOUR), Note.schedule(HOUR)
    between(lambda: write(old, should_run_at=clock.now()), bool)
    assert len(told("-n", 1)) == 1


def test_once_and_since() -> None:
    """It does not wait."""
    old, young = Note.schedule(HOUR), Note.schedule(HOUR)
    write(old, created_at=clock.now() - HOUR)
    assert told("--once", "--since", "10m") == [("scheduled", young.pk)]
    assert len(told("--once", "--since", "2h")) == 2


def test_since_reads_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAGE", 2)
    ids = [Note.schedule(HOUR).pk for _ in range(7)]
    assert told("--once", "--since", "1h") == [("scheduled", pk) for pk in ids]


def test_filters() -> None:
    Scripted.does("fail", lambda operation: 1 / 0)
    note, failing = Note.dispatch(queue="mail"), Scripted.dispatch(script="fail")
    run_due()
    assert told("--once", "--event", "retried") == [("retried", failing.pk)]
    assert told("--once", "--event", "finished", "--event", "retried", "--queue", "mail") == [
        ("finished", note.pk)
    ]
    assert {pk for _, pk in told("--once", "--kind", "kinds.Scripted")} == {failing.pk}
    assert {pk for _, pk in told("--once", note.pk)} == {note.pk}
    assert {pk for _, pk in told("--once", "--exception", "ZeroDivisionError")} == {failing.pk}
    Scripted.forget()


def test_as_text() -> None:
    """A line each, with the words of the error, on one line and not cut."""
    words = "no\npaper \x1b[31m" + 100 * "x"

    def fail(operation: Any) -> None:
        raise ValueError(words)

    Scripted.does("fail", fail)
    failing = Scripted.dispatch(script="fail", queue="[red]")
    run_due()
    line = run("--once")[-1]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  retried ", line)
    assert f"kinds.Scripted #{failing.pk}  [red]" in line
    assert f"ValueError: no paper [31m{100 * 'x'}" in line and "\x1b" not in line
    Scripted.forget()


def test_when_it_is_due() -> None:
    """Said of those that are to wait."""
    Note.dispatch()
    later = Note.schedule(HOUR)
    now, wait = run("--once")
    assert " due " not in now
    assert wait.endswith(f"  due {clock.local(later.should_run_at):%Y-%m-%d %H:%M:%S}")


def test_as_json() -> None:
    note = Note.dispatch(queue="mail")
    (line,) = run("--once", "--json")
    facts = json.loads(line)
    assert facts.pop("at").startswith("20") and facts.pop("due").startswith("20")
    assert facts == {
        "event": "scheduled",
        "id": note.pk,
        "kind": "kinds.Note",
        "queue": "mail",
        "claim": 0,
        "operator": "",
        "exception": "",
        "message": "",
    }


def test_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a long line is wrapped by the terminal, not by us."""

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    Note.dispatch()
    run_due()
    lines = run("--once", out=Terminal())
    assert len(lines) == 3 and "\x1b[32mfinished" in lines[-1]


@once
def test_it_says_what_it_may_have_missed(monkeypatch: pytest.MonkeyPatch, between: Any) -> None:
    """Once in a minute."""
    monkeypatch.setattr(following, "FRONT", 1)

    def more() -> None:
        Note.dispatch(queue="mail")
        Operation.all_objects.update(created_at=clock.now() - HOUR)

    between(more, run_due, more, run_due, bool)
    lines = run()
    assert sum("More was claimed at once from 'mail'" in line for line in lines) == 1


def test_it_says_when_it_is_behind(monkeypatch: pytest.MonkeyPatch, between: Any) -> None:
    monkeypatch.setattr(following, "PAGE", 2)
    between(lambda: [Note.schedule(HOUR) for _ in range(5)], bool)
    lines = run("--json")
    facts = [json.loads(line) for line in lines]
    assert [each["event"] for each in facts].count("scheduled") == 5
    assert any("More happens than can be read in time" in each.get("message", "") for each in facts)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--kind", "kinds.Nothing"], "There is no model 'kinds.Nothing'"),
        (["--operator", "nobody:17"], "There is no operator nobody:17."),
        (["--event", "vanished"], "invalid choice: 'vanished'"),
        (["--since", "soon"], "a time as 90s, 10m, 2h or 1d"),
        (["--since", "1m", "-n", "3"], "not allowed with argument"),
        (["--state", "due"], "not .due."),
    ],
)
def test_what_is_refused(arguments: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        run("--once", *arguments)


def test_of_nothing() -> None:
    Sweep.schedule(HOUR)
    assert run("--once", "--kind", "kinds.Note") == []
