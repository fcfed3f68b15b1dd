"""The page of all kinds, and that of one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from operator_app import clock
from operator_app.models import Circuit, Operation, Pause, kinds
from tests.admin.conftest import in_state, put
from tests.admin.test_actions import said
from tests.admin.test_pages import text
from tests.admin.test_recurrences import recurrence
from tests.kinds.models import Note, Sweep
from tests.models.tools import counted
from tests.once import once

pytestmark = [pytest.mark.django_db, once]

LIST = "/kinds/operator_app/operation/kinds/"
NOTE = f"{LIST}kinds.Note/"


def rows(response: Any) -> dict[str, Any]:
    text(response)
    return {row.facts.label: row for row in response.context["rows"]}


def posted(**changed: str) -> dict[str, str]:
    values = {"kind": "kinds.Note", "verb": "pause", "reason": "a deploy", "until": ""}
    return {**values, **changed}


def test_every_kind_is_shown_with_its_numbers(boss: Client) -> None:
    for state in ("due", "scheduled", "failed", "stuck"):
        in_state(state)
    shown = rows(boss.get(LIST))
    assert set(shown) == {model._meta.label for model in kinds.all_kinds()}
    note = shown["kinds.Note"]
    numbers = {count.state: str(count.number) for count in note.counts}
    assert numbers == {
        "scheduled": "1",
        "due": "1",
        "running": "0",
        "stuck": "1",
        "failed": "1",
        "cancelled": "0",
    }
    listed = next(count.address for count in note.counts if count.state == "failed")
    assert boss.get(listed).context["cl"].result_count == 1
    assert note.policy == "notes, 3 attempts"


def test_what_has_happened_is_shown(boss: Client) -> None:
    spans = {"durations": [0.2] * 9 + [40.0], "delays": [0.01] * 10}
    counted(Note, clock.now(), finished=9, failed=1, retried=2, **spans)
    row = rows(boss.get(LIST))["kinds.Note"]
    assert (row.ended_hour, row.ended_day, row.failure_rate) == ("10", "10", "25 %")
    assert (row.median, row.high) == ("0.22 s", "39 s")
    assert row.picture.count("<rect ") == 6  # up to 0.3 s, ..., up to 60 s
    other = rows(boss.get(LIST))["kinds.Sweep"]
    assert (other.failure_rate, other.median, other.picture) == ("-", "", "-")
    page = text(boss.get(NOTE))
    for words in ("Ended in each hour", "Attempts that failed", "Run times", "Lateness", "≤ 0.3 s"):
        assert words in page, words
    assert "Nothing yet" not in page
    assert text(boss.get(f"{LIST}kinds.Sweep/")).count("Nothing yet") == 4


def test_a_class_that_is_gone(boss: Client, gone: Operation) -> None:
    page = boss.get(LIST)
    assert rows(page)["oldshop.sendfax"].control is None
    assert "its class is gone" in page.content.decode()
    page = text(boss.get(f"{LIST}oldshop.sendfax/"))
    assert "Its class is gone" in page and "How they are run" not in page


def test_a_kind_has_a_page(boss: Client) -> None:
    recurrence()
    page = text(boss.get(NOTE))
    for words in (
        "<h1>kinds.Note</h1>",
        "3 attempts",
        "Run times",
        "nightly",
        "At 02:30",
        "/kinds/kinds/note/",
        "Nothing keeps its operations from being begun.",
    ):
        assert words in page, words
    assert boss.get(f"{LIST}kinds.Nothing/").status_code == 404
    assert boss.get(f"{LIST}auth.User/").status_code == 404


@pytest.mark.parametrize("page", [LIST, NOTE])
def test_pausing_and_resuming(page: str, boss: Client) -> None:
    answer = boss.post(page, posted(), follow=True)
    assert answer.redirect_chain == [(page, 302)]
    assert said(answer) == ["success: kinds.Note is paused by boss (a deploy)."]
    pause = Pause.objects.get()
    assert (pause.what, pause.reason, pause.paused_by) == ("kinds.Note", "a deploy", "boss")
    assert 'value="resume"' in answer.content.decode()
    assert "kinds.Note is paused by boss (a deploy)." in answer.content.decode()
    answer = boss.post(page, posted(verb="resume"), follow=True)
    assert said(answer) == ["success: kinds.Note goes on."]
    assert not Pause.objects.exists()
    entries = LogEntry.objects.order_by("pk").values_list("object_repr", "change_message")
    assert list(entries) == [
        ("kinds.Note", "kinds.Note is paused by boss (a deploy)"),
        ("kinds.Note", "Resumed."),
    ]
    answer = boss.post(page, posted(verb="resume"), follow=True)
    assert said(answer) == ["warning: kinds.Note was not paused."]


def test_pausing_for_a_while(boss: Client) -> None:
    """By the clock of the time zone that the page names."""
    until = clock.now() + timedelta(hours=2)
    boss.post(LIST, posted(until=f"{clock.local(until):%Y-%m-%dT%H:%M}"))
    stored = Pause.objects.get().until
    assert stored is not None and stored == until.replace(second=0, microsecond=0)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"until": "2001-01-01T10:00"}, "That is over already."),
        ({"until": "9999-12-31T10:00"}, "Choose a year"),
        ({"until": "soon"}, "Enter a valid date/time."),
        ({"reason": "x" * 300}, "at most 255 characters"),
    ],
)
@pytest.mark.parametrize("page", [LIST, NOTE])
def test_a_bad_form_is_shown_again(
    page: str, changed: dict[str, str], problem: str, boss: Client
) -> None:
    answer = boss.post(page, posted(**changed))
    shown = text(answer)
    assert problem in shown and shown.count('<details class="operator-more" open>') == 1
    assert "a deploy" in shown or "reason" in changed
    assert not Pause.objects.exists()


def test_an_open_circuit_is_closed_by_resuming(boss: Client) -> None:
    kind = kinds.content_type(Note, "default")
    pause = Pause(kind=kind, from_breaker=True, reason="5 failures")
    pause.save()
    circuit = Circuit.objects.create(kind=kind, pause=pause, cooldown=300, retry_at=clock.now())
    page = text(boss.get(LIST))
    assert "circuit open" in page and "5 failures" in page
    boss.post(LIST, posted(verb="resume"))
    circuit.refresh_from_db()
    assert circuit.pause is None


def test_no_such_kind(boss: Client) -> None:
    for name in ("kinds.Nothing", "auth.User", "operator_app.Operation", ""):
        assert boss.post(LIST, posted(kind=name)).status_code == 404
    assert not Pause.objects.exists()


def test_who_may_only_look(staff: Callable[..., Client]) -> None:
    client = staff("view_operation")
    for page in (LIST, NOTE):
        assert "operator-pause" not in text(client.get(page))
        assert client.post(page, posted()).status_code == 403
        assert client.post(page, posted(verb="resume")).status_code == 403
    assert not Pause.objects.exists()


def test_who_may_see_one_kind(staff: Callable[..., Client]) -> None:
    client = staff("view_sweep")
    assert set(rows(client.get(LIST))) == {"kinds.Sweep"}
    assert client.get(f"{LIST}kinds.Sweep/").status_code == 200
    assert client.get(NOTE).status_code == 403
    assert staff().get(LIST).status_code == 403


def test_who_may_pause_one_kind(staff: Callable[..., Client]) -> None:
    client = staff("view_operation", "pause_note")
    shown = rows(client.get(LIST))
    assert shown["kinds.Note"].control is not None and shown["kinds.Sweep"].control is None
    assert client.post(LIST, posted(kind="kinds.Sweep")).status_code == 403
    assert client.post(LIST, posted()).status_code == 302
    assert Pause.objects.get().kind_id == kinds.content_type(Note, "default").pk
    client = staff("view_operation", "pause_operation")
    assert client.post(LIST, posted(kind="kinds.Sweep")).status_code == 302


def test_the_cost_of_the_page(boss: Client, django_assert_max_num_queries: Any) -> None:
    for queue in "abc":
        Note.dispatch(queue=queue)
        Sweep.dispatch(queue=queue)
    with django_assert_max_num_queries(17):
        boss.get(LIST)
    for number in range(10):
        recurrence(name=str(number))
    with django_assert_max_num_queries(24):
        boss.get(NOTE)


def test_nothing_is_taken_for_markup(boss: Client) -> None:
    evil = "<script>alert(1)</script>"
    Pause.objects.pause(kind=Note, queue="<b>", reason=evil, by=evil)
    put(Note.dispatch(), queue="<i>")
    for page in (LIST, NOTE, "/kinds/operator_app/operation/queues/"):
        shown = text(boss.get(page))
        assert evil not in shown and "<b>" not in shown and "<i>" not in shown
