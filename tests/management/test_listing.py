"""`manage.py operations list`, and the verbs."""

from __future__ import annotations

import json
import re
import shlex
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from operator_app import clock
from operator_app.management.commands.operations import VERBS, Command
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.testing import run_due
from tests.kinds.models import Note, Scripted, Sweep, Tagged
from tests.models.tools import HOUR, claim_all, stored, write

pytestmark = pytest.mark.django_db


def run(*arguments: Any) -> str:
    out = StringIO()
    call_command("operations", *map(str, arguments), stdout=out)
    return out.getvalue().strip()


def listed(*arguments: Any) -> list[int]:
    return [json.loads(line)["id"] for line in run("list", "--json", *arguments).splitlines()]


@pytest.fixture
def zoo(operator: OperatorProcess) -> dict[str, Operation]:
    """An operation in each state."""
    found: dict[str, Operation] = {"running": Note.dispatch(queue="busy")}
    claim_all(operator)
    found["scheduled"] = Note.schedule(HOUR, text="x")
    found["due"] = Sweep.dispatch()
    for state, column in (
        ("finished", "finished_run_at"),
        ("failed", "failed_run_at"),
        ("cancelled", "cancelled_at"),
    ):
        found[state] = Note.dispatch()
        write(found[state], started_run_at=clock.now(), **{column: clock.now()})
    return found


@pytest.mark.parametrize(
    "state", ["running", "scheduled", "due", "finished", "failed", "cancelled"]
)
def test_by_state(zoo: dict[str, Operation], state: str) -> None:
    assert listed("--state", state) == [zoo[state].pk]


def test_filters(zoo: dict[str, Operation], operator: OperatorProcess) -> None:
    ids = {state: operation.pk for state, operation in zoo.items()}
    assert listed() == sorted(ids.values(), reverse=True)
    assert listed("--kind", "kinds.Sweep") == [ids["due"]]
    assert len(listed("--kind", "kinds.Sweep", "--kind", "kinds.Note")) == 6
    assert listed("--queue", "busy") == [ids["running"]]
    assert listed("--operator", str(operator)) == [ids["running"]]
    assert listed("--state", "due", "--state", "failed") == [ids["failed"], ids["due"]]
    assert listed("--state", "due", "--kind", "kinds.Note") == []
    assert listed("--tag", f"kinds.Note:{ids['scheduled']}") == [ids["scheduled"]]


def test_by_tag_and_exception() -> None:
    tagged = Tagged.dispatch()
    (tag, *_) = tagged.tags()
    Scripted.does("fail", lambda operation: 1 / 0)
    failed = Scripted.dispatch(script="fail")
    run_due()
    assert listed("--exception", "ZeroDivisionError") == [failed.pk]
    assert listed("--exception", "ValueError") == []
    mark = OperationJob.objects.get(operation=failed.pk).fingerprint
    assert mark and listed("--fingerprint", mark) == [failed.pk]
    assert listed("--fingerprint", "0" * 16) == []
    assert listed("--tag", tag) == [tagged.pk]
    Scripted.forget()


def test_page_by_page() -> None:
    ids = [Note.dispatch().pk for _ in range(5)][::-1]
    assert listed("--limit", 2) == ids[:2]
    assert listed("--limit", 3, "--before", ids[1]) == ids[2:]
    assert "There are more" not in run("list", "--limit", 5)
    assert run("list", "--limit", 2).endswith(f"There are more: --before {ids[1]}")


def test_as_text(zoo: dict[str, Operation], operator: OperatorProcess) -> None:
    write(zoo["failed"], reason="ValueError: [/red]")
    said = run("list")
    for words in ("kinds.Sweep", "scheduled", str(operator), "ValueError: [/red]"):
        assert words in said, words
    assert run("list", "--queue", "nowhere") == "There are none."


def test_as_json(zoo: dict[str, Operation], operator: OperatorProcess) -> None:
    (line,) = run("list", "--json", "--state", "running").splitlines()
    facts = json.loads(line)
    assert facts["kind"] == "kinds.Note" and facts["operator"] == str(operator)
    assert facts["attempts"] == 1 and facts["finished_run_at"] is None
    assert facts["should_run_at"].startswith("20")


def test_the_cost(zoo: dict[str, Operation], django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(1):
        run("list")


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("retry", "failed", "due"),
        ("cancel", "due", "cancelled"),
        ("run-now", "scheduled", "due"),
    ],
)
def test_a_verb(zoo: dict[str, Operation], verb: str, before: str, after: str) -> None:
    pk = zoo[before].pk
    dry = run(verb, pk, "--dry-run")
    assert dry == f"Chosen: 1 {before}. Nothing was changed."
    assert Operation.all_objects.get(pk=pk).state == before
    said = run(verb, "--state", before)
    assert re.fullmatch(r"1 (retried|cancelled|rescheduled)\.", said)
    assert Operation.all_objects.get(pk=pk).state == after


def test_cancel_and_abort(zoo: dict[str, Operation]) -> None:
    said = run("cancel", "--all", "--abort", "--reason", "a fire")
    assert said == "2 cancelled, 1 abort requested, 3 left."
    assert stored(zoo["running"]).abort_requested_at is not None
    assert stored(zoo["due"]).reason == "a fire"


def test_delete(zoo: dict[str, Operation]) -> None:
    assert run("cancel", zoo["due"].pk, "--delete") == "1 deleted."
    assert not Operation.all_objects.filter(pk=zoo["due"].pk).exists()


def test_abort(zoo: dict[str, Operation]) -> None:
    assert run("abort", zoo["running"].pk, "--reason", "x") == "1 abort requested."


def test_reschedule(zoo: dict[str, Operation]) -> None:
    pk = zoo["scheduled"].pk
    assert run("reschedule", pk, "--in", "2h") == "1 rescheduled."
    left = Operation.objects.get(pk=pk).should_run_at - clock.now()
    assert timedelta(hours=1.9) < left < timedelta(hours=2.1)
    run("reschedule", pk, "--to", "2050-01-01T12:00")
    assert Operation.objects.get(pk=pk).should_run_at.year == 2050


def test_release(zoo: dict[str, Operation], operator: OperatorProcess) -> None:
    with pytest.raises(CommandError, match="None was changed: 1 left"):
        run("release", zoo["running"].pk)
    OperatorProcess.objects.update(lost_at=clock.now())
    assert run("release", "--operator", str(operator)) == "1 released."


def test_fail(zoo: dict[str, Operation]) -> None:
    OperatorProcess.objects.update(lost_at=clock.now())
    assert run("fail", zoo["running"].pk, "--reason", "no disk") == "1 failed."
    assert stored(zoo["running"]).reason == "no disk"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["retry"], "Say which: ids, filters, or --all. See operations retry --help."),
        (["cancel", "--all", "--queue", "a"], "Say which"),
        (["cancel", "0"], "a whole number of at least 1"),
        (["cancel", "999999"], "None was changed: there were none."),
        (["list", "--kind", "kinds.Nothing"], "There is no model 'kinds.Nothing'"),
        (["list", "--kind", "auth.User"], "auth.User is no kind of operations."),
        (["list", "--operator", "nobody"], "An operator is named as HOST:PID, not 'nobody'."),
        (["list", "--operator", "nobody:17"], "There is no operator nobody:17."),
        (["list", "--state", "done"], "invalid choice: 'done'"),
        (["list", "--due-after", "soon"], "a moment as 2026-12-24T18:00, or 90s, 10m, 2h, 1d"),
        (["list", "--due-after", "+-2h"], "; not '+-2h'"),
        (["list", "--due-after", "2026-02-30T12:00"], "; not '2026-02-30T12:00'"),
        (["reschedule", "1"], "one of the arguments --to --in is required"),
        (["reschedule", "1", "--to", "soon"], "--to is a moment as"),
    ],
)
def test_what_is_refused(arguments: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=re.escape(problem)):
        run(*arguments)


class TestTimes:
    """From when to when."""

    def test_due(self, zoo: dict[str, Operation]) -> None:
        ids = {state: operation.pk for state, operation in zoo.items()}
        assert listed("--due-after", "+30m") == [ids["scheduled"]]
        assert ids["scheduled"] not in listed("--due-before", "+30m")
        assert listed("--due-after", "+30m", "--due-before", "+40m") == []

    def test_created(self, zoo: dict[str, Operation]) -> None:
        write(zoo["due"], created_at=clock.now() - 3 * HOUR)
        assert listed("--created-before", "2h") == [zoo["due"].pk]
        assert listed("--created-before", "4h") == []
        assert zoo["due"].pk not in listed("--created-after", "2h")

    def test_ended(self, zoo: dict[str, Operation]) -> None:
        """Whatever has not ended is not meant, on neither side."""
        over = [zoo[state].pk for state in ("cancelled", "failed", "finished")]
        assert listed("--ended-after", "1h") == over
        write(zoo["failed"], failed_run_at=clock.now() - 3 * HOUR)
        assert listed("--ended-before", "2h") == [zoo["failed"].pk]
        assert listed("--ended-before", "+1h", "--ended-after", "4h") == over

    def test_a_moment_on_the_projects_clock(self, zoo: dict[str, Operation]) -> None:
        moment = clock.local(zoo["scheduled"].should_run_at)
        text = f"{moment:%Y-%m-%dT%H:%M:%S.%f}"
        assert listed("--due-after", text) == [zoo["scheduled"].pk]
        later = f"{moment + timedelta(microseconds=1):%Y-%m-%dT%H:%M:%S.%f}"
        assert listed("--due-after", later) == []

    def test_a_verb(self, zoo: dict[str, Operation]) -> None:
        """It takes them, too."""
        dry = run("retry", "--ended-after", "1h", "--state", "failed", "--dry-run")
        assert dry == "Chosen: 1 failed. Nothing was changed."
        with pytest.raises(CommandError, match="Say which"):
            run("retry", "--all", "--ended-after", "1h")


def test_a_pipe_that_nobody_reads(zoo: dict[str, Operation]) -> None:
    """As of `| head -1`: no traceback, no complaint."""

    class Broken(StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    for arguments in (["list"], ["list", "--json"], ["stats"], ["show", str(zoo["due"].pk)]):
        call_command("operations", *arguments, stdout=Broken())


def test_nothing_is_cut_in_a_pipe(operator: OperatorProcess) -> None:
    queue = "q" * 64
    note = Note.dispatch(queue=queue)
    write(note, reason="r" * 255)
    said = run("list")
    assert queue in said and "r" * 255 in said and "\x1b" not in said


class Terminal(StringIO):
    """A narrow one, in colour."""

    def isatty(self) -> bool:
        return True


def test_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has set NO_COLOR gets none; who has not, some."""
    monkeypatch.setenv("TERM", "xterm")
    for expected in (True, False):
        out = Terminal()
        call_command("operations", "stats", stdout=out)
        assert ("\x1b[1;31m" in out.getvalue()) is expected
        monkeypatch.setenv("NO_COLOR", "1")


def test_colours_as_the_options_of_django_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    call_command("operations", "stats", no_color=True, stdout=out)
    assert "No operator lives." in out.getvalue() and "\x1b[1;31m" not in out.getvalue()
    pipe = StringIO()
    call_command("operations", "stats", force_color=True, stdout=pipe)
    assert "\x1b[1;31m" in pipe.getvalue()


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb says what it does, with examples that it understands."""
    parser = Command().create_parser("manage.py", "operations")
    with pytest.raises(SystemExit):
        parser.parse_args([verb, "--help"])
    said = capsys.readouterr().out
    assert VERBS[verb].help[1:] in said and f"manage.py operations {verb}" in said
    for example in VERBS[verb].examples:
        assert parser.parse_args(shlex.split(example)).verb == verb
