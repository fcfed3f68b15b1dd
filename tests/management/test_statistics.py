"""`manage.py operations stats`."""

from __future__ import annotations

import json
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command

from operator_app.management import statistics
from operator_app.models import OperatorProcess, Pause
from tests.kinds.models import Note
from tests.models.tools import HOUR

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("operations", "stats", *arguments, stdout=out)
    return out.getvalue()


def test_as_text(operator: OperatorProcess) -> None:
    Note.dispatch(queue="[red]")
    Note.schedule(HOUR, queue="mail")
    Pause.objects.pause(queue="mail", reason="a deploy")
    said = run()
    for words in ("[red]", "mail", str(operator), "0 of", "The queue 'mail' is paused (a deploy)."):
        assert words in said, said


def test_with_nothing() -> None:
    said = run()
    assert "Nothing waits." in said and "No operator lives." in said


def test_as_json(operator: OperatorProcess) -> None:
    Note.dispatch(queue="mail")
    found = json.loads(run("--json"))
    assert found["states"]["due"] == {"count": 1, "is_more": False}
    assert found["queues"][0]["name"] == "mail"
    assert found["operators"][0]["name"] == str(operator)


def test_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each time, until Ctrl-C."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    # Of this module alone: other threads sleep, too.
    monkeypatch.setattr(statistics, "time", SimpleNamespace(sleep=sleep))
    lines = run("--json", "--watch", "2").splitlines()
    assert [json.loads(line)["queues"] for line in lines] == [[]] * 3
    assert waited == [2.0] * 3


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is drawn anew in place."""

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    def sleep(seconds: float) -> Any:
        raise KeyboardInterrupt

    # Of this module alone: other threads sleep, too.
    monkeypatch.setattr(statistics, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    call_command("operations", "stats", "--watch", "1", stdout=out)
    assert "No operator lives." in out.getvalue() and "\x1b[?1049h" in out.getvalue()
