"""`manage.py operations list`, and the verbs."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from operator_app import clock
from operator_app.models import Operation, OperatorProcess
from operator_app.testing import run_due
from tests.kinds.models import Note, Scripted, Sweep, Tagged
from tests.models.tools import HOUR, claim_all, stored, write

pytestmark = pytest.mark.django_db


def run(*arguments: Any) -> str:
    out = StringIO()
    call_command("operations", *map(str, arguments), stdout=out)
    return out.getvalue().strip()


def listed(*arguments: Any) -> list[int]:
    answer = json.loads(run("list", "--json", *arguments))
    return [each["id"] for each in answer["operations"]]


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
    assert listed("--tag", tag) == [tagged.pk]
    Scripted.forget()


def test_page_by_page() -> None:
    ids = [Note.dispatch().pk for _ in range(5)][::-1]
    first = json.loads(run("list", "--json", "--limit", 2))
    assert [each["id"] for each in first["operations"]] == ids[:2]
    assert first["before"] == ids[1]
    assert listed("--limit", 3, "--before", ids[1]) == ids[2:]
    assert json.loads(run("list", "--json", "--limit", 5))["before"] is None
    assert run("list", "--limit", 2).endswith(f"There are more: --before {ids[1]}")


def test_as_text(zoo: dict[str, Operation], operator: OperatorProcess) -> None:
    write(zoo["failed"], reason="ValueError: [/red]")
    said = run("list")
    for words in ("kinds.Sweep", "scheduled", str(operator), "ValueError: [/red]"):
        assert words in said, words
    assert run("list", "--queue", "nowhere") == "There are none."


def test_as_json(zoo: dict[str, Operation], operator: OperatorProcess) -> None:
    answer = json.loads(run("list", "--json", "--state", "running"))
    (facts,) = answer["operations"]
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
        (["reschedule", "1"], "one of the arguments --to --in is required"),
        (["reschedule", "1", "--to", "soon"], "--to is a moment as"),
    ],
)
def test_what_is_refused(arguments: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=re.escape(problem)):
        run(*arguments)
