"""The page of queues."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from operator_app import clock
from operator_app.models import Pause, queue_facts
from tests.admin.conftest import operator
from tests.admin.test_actions import said
from tests.admin.test_pages import text
from tests.kinds.models import Note
from tests.models.tools import counted
from tests.once import once

pytestmark = [pytest.mark.django_db, once]

LIST = "/kinds/operator_app/operation/queues/"


def rows(response: Any) -> dict[str, Any]:
    text(response)
    return {row.facts.name: row for row in response.context["rows"]}


def posted(**changed: str) -> dict[str, str]:
    return {"queue": "mail", "verb": "pause", "reason": "", "until": "", **changed}


def test_queues_are_shown_with_what_waits(boss: Client) -> None:
    for number in range(5):
        operator(queues=["mail"], pid=number + 1)
    operator(queues=["slow"], draining=True)
    Note.schedule(clock.now() - timedelta(minutes=5), queue="mail")
    Note.schedule(clock.now() - timedelta(minutes=5), queue="lost")
    Note.schedule(timedelta(hours=1), queue="slow")
    counted(Note, clock.now(), queue="mail", finished=90)
    counted(Note, clock.now(), queue="slow", finished=2)
    page = boss.get(LIST)
    shown = rows(page)
    assert next(iter(shown)) == "lost" and shown["lost"].facts.is_unserved
    assert page.content.decode().count("no living operator takes them") == 1
    mail = shown["mail"]
    rates = {name: shown[name].per_minute for name in ("mail", "slow", "lost")}
    assert rates == {"mail": "1.5", "slow": "< 0.1", "lost": "0"}
    assert mail.late == "5 min" and str(mail.facts.waits.due) == "1"
    assert len(mail.operators) == 3 and mail.more_operators == "and 2 more"
    assert "worker:1" in page.content.decode() and "worker:4711 (leaving)" in page.content.decode()
    assert boss.get(f"{mail.listed}&state=due").context["cl"].result_count == 1


def test_an_empty_database(boss: Client) -> None:
    shown = rows(boss.get(LIST))
    assert {"default", "notes"} <= set(shown)
    assert {row.late for row in shown.values()} == {"-"}


def test_pausing_and_resuming(boss: Client) -> None:
    answer = boss.post(LIST, posted(reason="it moves"), follow=True)
    assert answer.redirect_chain == [(LIST, 302)]
    assert said(answer) == ["success: The queue 'mail' is paused by boss (it moves)."]
    assert rows(answer)["mail"].control.resumes
    pause = Pause.objects.get()
    assert (pause.queue, pause.kind_id) == ("mail", None)
    answer = boss.post(LIST, posted(verb="resume"), follow=True)
    assert said(answer) == ["success: mail goes on."] and not Pause.objects.exists()
    assert LogEntry.objects.count() == 2


def test_a_bad_form_is_shown_again(boss: Client) -> None:
    shown = text(boss.post(LIST, posted(queue="notes", until="2001-01-01T10:00")))
    assert "That is over already." in shown and not Pause.objects.exists()
    assert shown.count('<details class="operator-more" open>') == 1


@pytest.mark.parametrize("queue", ["", " mail", "x" * 300])
def test_what_is_no_queue(queue: str, boss: Client) -> None:
    """Nothing at all would pause everything."""
    assert boss.post(LIST, posted(queue=queue)).status_code == 404
    assert not Pause.objects.exists()


def test_who_may_only_look(staff: Callable[..., Client]) -> None:
    client = staff("view_operation")
    assert "operator-pause" not in text(client.get(LIST))
    assert client.post(LIST, posted()).status_code == 403
    assert not Pause.objects.exists()
    one_kind = staff("view_operation", "pause_note")
    assert one_kind.post(LIST, posted()).status_code == 403
    assert staff("view_note").get(LIST).status_code == 403


def test_many_queues(
    boss: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        Note.dispatch(queue=f"customer {number}")
    with django_assert_max_num_queries(10):
        assert "not shown" not in text(boss.get(LIST))
    monkeypatch.setattr(queue_facts, "MOST", 5)
    page = boss.get(LIST)
    assert len(rows(page)) == 5
    assert "queues more are not shown: these are the 5 in which" in page.content.decode()
