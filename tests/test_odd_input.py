"""Addresses and forms with values that nothing offers: an answer, and never an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, override_settings

from operator_app import clock
from operator_app.models import Operation, Pause
from tests.admin.conftest import boss, in_state
from tests.admin.test_runs import all_of, yes
from tests.kinds.models import Note

__all__ = ["boss"]

pytestmark = pytest.mark.django_db

LIST = "/kinds/operator_app/operation/"
JSON = "/operator/operations.json"
MANY = "9" * 4_500
"""More digits than Python makes a number of."""
NUL = "%00"
EARLY, LATE = "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"
AWARE = "2021-03-01T00:00:00%2B00:00"


@pytest.fixture(params=["aware", "naive"])
def _with_and_without_zones(request: Any) -> Iterator[None]:
    with override_settings(USE_TZ=request.param == "aware"):
        yield


@pytest.mark.parametrize(
    "query",
    [
        *(f"{name}={NUL}" for name in ("tag", "queue", "exception", "fingerprint", "kind")),
        *(f"{name}={NUL}" for name in ("q", "operator", "state", "time")),
        f"kind=kinds.{NUL}",
        f"operator={MANY}",
        f"tag={MANY}",
        f"q={MANY}",
        f"after={MANY}",
        f"o=4&after={AWARE}~{MANY}",
        f"o={MANY}",
        f"time=due&since={EARLY}",
        f"time=due&until={LATE}",
        f"o=4&after={EARLY}~5",
        f"o=4&before={LATE}~5",
    ],
)
def test_the_list(boss: Client, query: str) -> None:
    in_state("failed")
    page = boss.get(f"{LIST}?{query}", follow=True)
    assert page.status_code == 200
    if query.endswith(NUL) and "state" not in query and query[:2] not in ("q=", "ti"):
        assert page.context["cl"].result_count == 0


@pytest.mark.usefixtures("_with_and_without_zones")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        (f"time=created&since={AWARE}", 1),
        (f"time=created&until={AWARE}", 0),
        ("time=created&since=2021-03-01T00:00", 1),
        (f"o=4&after={AWARE}~5", 0),
        (f"o=4&before={AWARE}~5", 1),
        ("o=4&before=2021-03-01T00:00:00~5", 1),
    ],
)
def test_moments_with_and_without_a_zone(boss: Client, query: str, found: int) -> None:
    """Whichever of them the project has."""
    Note.schedule(clock.now().replace(year=2020))
    page = boss.get(f"{LIST}?{query}")
    assert page.status_code == 200 and "There is no such page" not in page.content.decode()
    assert len(page.context["cl"].result_list) == found


@pytest.mark.usefixtures("_with_and_without_zones")
def test_a_pause_until_a_moment_with_a_zone(boss: Client) -> None:
    Note.dispatch(queue="mail")
    posted = {"queue": "mail", "verb": "pause", "until": "2099-03-01T00:00:00+00:00"}
    assert boss.post(f"{LIST}queues/", posted).status_code == 302
    assert Pause.objects.get().until == clock.from_epoch(4_076_006_400)


@pytest.mark.usefixtures("_with_and_without_zones")
def test_rescheduled_to_a_moment_with_a_zone(boss: Client) -> None:
    note = Note.dispatch()
    asked = boss.post(LIST, all_of("reschedule_selected"))
    boss.post(LIST, yes(asked, when="2099-03-01T00:00:00+00:00"))
    row = Operation.objects.get(pk=note.pk)
    assert row.should_run_at == clock.from_epoch(4_076_006_400)


@pytest.mark.parametrize("page", [f"{LIST}kinds/{NUL}/", f"{LIST}{NUL}/change/"])
def test_addresses_of_nothing(boss: Client, page: str) -> None:
    assert boss.get(page, follow=True).status_code in (200, 404)


@pytest.mark.usefixtures("_with_and_without_zones")
@pytest.mark.parametrize(
    "query",
    [
        *(f"{name}={NUL}" for name in ("tag", "queue", "exception", "fingerprint", "kind")),
        *(f"{name}={NUL}" for name in ("operator", "state", "created_after", "limit", "before")),
        f"operator={NUL}:17",
        f"operator=a:{MANY}",
        f"operator=a:{'9' * 30}",
        f"before={MANY}",
        *(f"{name}={EARLY}" for name in ("created_after", "due_before", "ended_after")),
        *(f"{name}={LATE}" for name in ("created_after", "due_before", "ended_after")),
        "due_after=0001-01-01",
    ],
)
def test_what_programs_ask(boss: Client, query: str) -> None:
    answer = boss.get(f"{JSON}?{query}")
    assert answer.status_code == 400 and answer.json()["error"]


@pytest.mark.usefixtures("_with_and_without_zones")
def test_a_tag_with_many_digits_finds_nothing(boss: Client) -> None:
    assert boss.get(f"{JSON}?tag={MANY}").json()["operations"] == []
    assert boss.get(f"{JSON}?created_after={AWARE}").status_code == 200
