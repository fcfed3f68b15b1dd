"""`manage.py operations pause` and `resume`, and `recurrences`."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from operator_app import clock
from operator_app.models import Pause, Recurrence, kinds
from tests.kinds.models import Note

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("operations", *arguments, stdout=out)
    return out.getvalue().strip()


def test_pause_and_resume() -> None:
    said = run("pause", "--queue", "mail", "--reason", "deploy")
    assert re.fullmatch(r"The queue 'mail' is paused by \S+ \(deploy\)\.", said)
    run("pause", "--kind", "kinds.Note", "--for", "10m")
    found = Pause.objects.get(kind=kinds.content_type(Note, "default"))
    assert found.until is not None
    assert 590 < (found.until - clock.now()).total_seconds() <= 600
    said = run("resume", "--queue", "mail")
    assert said.startswith("Resumed. Still: kinds.Note is paused until ")
    assert run("resume", "--kind", "kinds.Note") == "Resumed."


def test_everything_until_a_moment() -> None:
    said = run("pause", "--everything", "--until", "2050-01-01T12:00")
    assert said.startswith("Everything is paused until 2050-01-01 12:00:00 by ")
    assert run("resume", "--everything") == "Resumed."


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["pause"], "Say what: --queue NAME, --kind APP.MODEL, or --everything."),
        (["pause", "--everything", "--queue", "a"], "Say what"),
        (["resume"], "Say what"),
        (["pause", "--queue", " a"], "A queue is a non-empty string"),
        (["pause", "--kind", "kinds.Nothing"], "There is no model 'kinds.Nothing'"),
        (["pause", "--kind", "nothing"], "There is no model 'nothing'"),
        (["pause", "--kind", "auth.User"], "auth.User is no kind of operations"),
        (["pause", "--queue", "a", "--for", "soon"], "a time as 90s, 10m, 2h or 1d, not 'soon'"),
        (["pause", "--queue", "a", "--for=-5m"], "a time as 90s"),
        (["pause", "--queue", "a", "--until", "tomorrow"], "--until is a moment as"),
        (["pause", "--queue", "a", "--until", "2050-02-30T12:00"], "--until 2050-02-30"),
        (["pause", "--queue", "a", "--until", "2000-01-01"], "would be over already"),
        (["pause", "--queue", "a", "--until", "2050-01-01", "--for", "1h"], "Give one of them"),
        (["resume", "--queue", "a"], "That is not paused."),
    ],
)
def test_what_is_refused(arguments: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=re.escape(problem)):
        run(*arguments)
    assert not Pause.objects.exists()


def test_recurrences() -> None:
    assert run("recurrences").startswith("There are no recurrences.")
    values = {"kind": kinds.content_type(Note, "default"), "time_zone": "Europe/Berlin"}
    Recurrence.objects.create(name="nightly [/x]", expression="30 2 * * *", **values)
    Recurrence.objects.create(name="over", expression="@daily", end_at=clock.now(), **values)
    Recurrence.objects.create(name="off", expression="@hourly", **values)
    Recurrence.objects.filter(name="off").disable("a holiday")
    said = run("recurrences")
    nightly, off, over = [line for line in said.splitlines() if "kinds.Note" in line]
    assert "nightly [/x]" in nightly and "At 02:30 (30 2 * * *)" in nightly
    assert nightly.count("02:30,") >= 3
    assert "no a holiday" in off and " - " in off
    assert over.rstrip().endswith("over")
