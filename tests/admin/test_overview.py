"""The page that shows how operations are getting on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from operator_app import clock
from operator_app.models import OperatorProcess, Pause
from operator_app.models.tallies import Key, write
from operator_app.outcomes import Failed, Finished
from tests.kinds.models import Note
from tests.models.test_tallies import counted
from tests.once import once

pytestmark = [pytest.mark.django_db, once]

PAGE = "/admin/operator_app/operation/overview/"


def living(*queues: str, **fields: Any) -> OperatorProcess:
    now = clock.now()
    return OperatorProcess.objects.create(
        hostname="host",
        pid=7,
        queues=list(queues),
        capacity=8,
        started_at=now,
        heartbeat_at=now,
        alive_until=now + timedelta(minutes=1),
        **fields,
    )


def text(client: Client, address: str = PAGE) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_shows_nothing_where_nothing_is(admin_client: Client) -> None:
    page = text(admin_client)
    assert "No operator lives." in page and "Nothing is due." in page
    assert "operator-warnings" not in page
    assert page.count("Nothing yet.") == 4


def test_states_lead_to_their_lists(admin_client: Client) -> None:
    Note.dispatch()
    living()
    page = text(admin_client)
    assert '<a href="/admin/operator_app/operation/?state=due"><strong>1</strong>' in page
    assert "host:7" in page and "0 of 8" in page


def test_what_was_done_is_there_in_numbers_and_charts(admin_client: Client) -> None:
    now = clock.now() - timedelta(minutes=5)
    write({Key(1, "default"): counted(Finished(), Finished(), Failed("x"))}, now, "default")
    page = text(admin_client)
    assert "3 (3/h)" in page and "33.3 %" in page
    assert page.count('class="operator-picture"') == 3
    for span, title in (("day", "per half-hour"), ("month", "per day"), ("?", "per minute")):
        assert title in text(admin_client, f"{PAGE}?span={span}")


@pytest.mark.parametrize(
    ("queues", "fields", "warning"),
    [
        (None, {}, "no operator lives"),
        ((), {"draining": True}, "no operator lives"),
        (("other",), {}, "in the queue “notes”, which no live operator serves"),
        (("notes",), {}, ""),
        ((), {}, ""),
    ],
)
def test_it_warns_when_nobody_serves_what_is_due(
    admin_client: Client, queues: tuple[str, ...] | None, fields: dict[str, Any], warning: str
) -> None:
    Note.dispatch()
    if queues is not None:
        living(*queues, **fields)
    page = text(admin_client)
    assert warning in page
    assert ("operator-warnings" in page) is bool(warning)


def test_what_is_paused_needs_nobody(admin_client: Client) -> None:
    Note.dispatch()
    Pause.objects.pause(queue="notes", reason="a <deploy>")
    page = text(admin_client)
    assert "operator-warnings" not in page
    assert "a &lt;deploy&gt;" in page and "(paused)" in page


def test_what_is_to_come(admin_client: Client) -> None:
    Note.schedule(timedelta(hours=3))
    page = text(admin_client)
    assert "To begin in the next 24 hours" in page and "<svg" in page


def test_nothing_in_it_is_styled_or_scripted_in_place(admin_client: Client) -> None:
    Note.schedule(timedelta(hours=3))
    page = text(admin_client)
    content = page[page.index('id="content-main"') :]
    for forbidden in ("<script", "<style", " style=", " onclick="):
        assert forbidden not in content
    assert "operator_app/refresh.js" in page and 'data-operator-refresh="10"' in page


def test_the_number_of_queries_does_not_grow(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    living()
    for number in range(20):
        Note.dispatch(queue=f"queue-{number % 5}")
        Note.schedule(timedelta(hours=number), queue=f"queue-{number % 5}", priority=number)
    with django_assert_max_num_queries(25 + 2 * 25):
        text(admin_client)


def test_who_may_not_view_operations_is_refused(client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE).status_code == 403
