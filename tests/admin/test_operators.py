"""The pages of operators: what they say, and what can be asked there, by whom."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from operator_app import clock
from operator_app.models import OperatorProcess
from operator_app.models.process import DRAIN, STOP
from tests.admin.conftest import in_state, operator, put
from tests.admin.test_pages import text
from tests.kinds.models import AsyncNote
from tests.models.tools import queries
from tests.once import once

pytestmark = [pytest.mark.django_db, once]

LIST = "/kinds/operator_app/operatorprocess/"
ALLOWED = ("view_operatorprocess", "stop_operatorprocess")


def at(process: OperatorProcess, verb: str) -> str:
    return f"{LIST}{process.pk}/{verb}/"


def buttons(page: str) -> list[str]:
    """The last parts of the addresses that the buttons post to."""
    return re.findall(r'(?:form)?action="/kinds/operator_app/operatorprocess/\d+/(\w+)/"', page)


def messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_what_a_row_says(boss: Client) -> None:
    process = operator(capacity=8, rss=150 * 1024 * 1024, queues=["mail"])
    for _ in range(3):
        put(in_state("due"), operator=process.pk, started_run_at=clock.now(), attempts=1)
    page = text(boss.get(LIST))
    assert re.search(r'<progress[^>]* max="8" value="3" aria-label="3 of 8">', page)
    put(in_state("due", AsyncNote), operator=process.pk, started_run_at=clock.now(), attempts=1)
    page = text(boss.get(LIST))
    assert re.search(r'max="8" value="3" aria-label="3 of 8, 1 off threads">', page)
    assert f"?operator={process.pk}&amp;state=running" in page
    assert "150.0" in page and "mail" in page
    OperatorProcess.objects.update(rss=None)
    text(boss.get(LIST))
    assert "150.0" not in text(boss.get(f"{LIST}{process.pk}/change/"))


def test_drain_and_go_on(boss: Client) -> None:
    process = operator()
    assert buttons(text(boss.get(LIST))) == ["drain", "stop"]
    answer = boss.post(at(process, "drain"), follow=True)
    assert messages(answer)[0].startswith("worker:4711 claims nothing more")
    process.refresh_from_db()
    assert (process.asked, process.asked_by) == (DRAIN, "boss")
    for address in (LIST, f"{LIST}{process.pk}/change/"):
        page = text(boss.get(address))
        assert "asked to drain by boss, " in page
        assert buttons(page) == ["resume", "stop"]
    boss.post(at(process, "resume"))
    process.refresh_from_db()
    assert process.asked == ""
    assert [str(entry.change_message) for entry in LogEntry.objects.order_by("pk")] == [
        "Asked to drain.",
        "Asked to go on.",
    ]


def test_stop_is_confirmed_first(boss: Client) -> None:
    process = operator()
    for page in (boss.get(at(process, "stop")), boss.post(at(process, "stop"))):
        assert "Stop worker:4711?" in text(page)
        process.refresh_from_db()
        assert process.asked == ""
    answer = boss.post(at(process, "stop"), {"confirmed": "1"}, follow=True)
    assert messages(answer) == ["worker:4711 begins to leave with its next heartbeat."]
    process.refresh_from_db()
    assert (process.asked, process.asked_by) == (STOP, "boss")
    assert buttons(text(boss.get(LIST))) == []


@pytest.mark.parametrize("verb", ["drain", "resume", "stop"])
def test_a_lost_one_is_refused(verb: str, boss: Client) -> None:
    process = operator(alive_until=clock.now() - timedelta(seconds=1))
    assert buttons(text(boss.get(LIST))) == []
    answer = boss.post(at(process, verb), {"confirmed": "1"}, follow=True)
    assert messages(answer) == [
        "worker:4711 is lost: it gives no sign of life, so it hears nothing."
    ]
    process.refresh_from_db()
    assert process.asked == "" and not LogEntry.objects.exists()


def test_who_comes_too_late_is_told(boss: Client) -> None:
    process = operator(asked=STOP)
    answer = boss.post(at(process, "drain"), follow=True)
    assert messages(answer) == ["worker:4711 was left alone: somebody has asked before."]
    process.delete()
    answer = boss.post(f"{LIST}987654/drain/", follow=True)
    assert messages(answer) == ["This operator has left."]


def test_draining_takes_a_post(boss: Client) -> None:
    process = operator()
    assert boss.get(at(process, "drain")).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = boss.cookies
    assert strict.post(at(process, "drain")).status_code == 403
    process.refresh_from_db()
    assert process.asked == ""


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [(ALLOWED, True), (ALLOWED[:1], False), (ALLOWED[1:], False)],
)
def test_who_may(permissions: tuple[str, ...], allowed: bool, staff: Callable[..., Client]) -> None:
    process = operator()
    client = staff(*permissions)
    if ALLOWED[0] in permissions:
        assert buttons(text(client.get(LIST))) == (["drain", "stop"] if allowed else [])
        page = text(client.get(f"{LIST}{process.pk}/change/"))
        assert buttons(page) == (["drain", "stop"] if allowed else [])
    for verb in ("drain", "resume", "stop"):
        answer = client.post(at(process, verb), {"confirmed": "1"})
        assert answer.status_code == (302 if allowed else 403)
    process.refresh_from_db()
    assert bool(process.asked) is allowed


def test_the_number_of_queries_does_not_grow(boss: Client) -> None:
    operator()
    boss.get(LIST)
    with queries() as few:
        boss.get(LIST)
    for pid in range(10):
        operator(pid=pid, asked=DRAIN, asked_at=clock.now(), rss=1)
    with queries() as many:
        boss.get(LIST)
    assert len(many) == len(few)
