"""The pages of recurrences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from operator_app import clock
from operator_app.models import Operation, Recurrence, RecurrenceSlot, kinds
from tests.admin.test_actions import said
from tests.admin.test_pages import text
from tests.kinds.models import Note, Sweep

pytestmark = pytest.mark.django_db

LIST = "/kinds/operator_app/recurrence/"


def recurrence(**changed: Any) -> Recurrence:
    values = {"name": "nightly", "expression": "30 2 * * *", "time_zone": "Europe/Berlin"}
    kind = kinds.content_type(changed.pop("model", Note), "default")
    return Recurrence.objects.create(kind=kind, **{**values, **changed})


def posted(**changed: Any) -> dict[str, Any]:
    """What the form posts."""
    kind = kinds.content_type(Note, "default").pk
    return {
        "name": "nightly",
        "kind": kind,
        "fields": "{}",
        "enabled": "on",
        "expression": "30 2 * * *",
        "time_zone": "Europe/Berlin",
        "queue": "",
        "priority": "",
        "jitter": "0",
        "missed": "once",
        "overlap": "allow",
        "window": "86400",
        **changed,
    }


def choose(action: str, *rows: Recurrence) -> dict[str, Any]:
    return {"action": action, "index": 0, "_selected_action": [row.pk for row in rows]}


def page_of(row: Recurrence) -> str:
    return f"{LIST}{row.pk}/change/"


def test_the_list(boss: Client, django_assert_max_num_queries: Any) -> None:
    recurrence()
    Recurrence.objects.filter(pk=recurrence(name="off").pk).disable("a holiday")
    recurrence(name="over", end_at=clock.now())
    page = text(boss.get(LIST))
    for words in ("At 02:30", "Europe/Berlin", "kinds.Note", "no (a holiday)", "over", "in "):
        assert words in page, words
    for number in range(20):
        recurrence(name=f"more {number}")
    with django_assert_max_num_queries(8):
        boss.get(LIST)


def test_adding_one(boss: Client) -> None:
    assert "kinds.Note" in text(boss.get(f"{LIST}add/"))
    fields = '{"text": "hello"}'
    assert boss.post(f"{LIST}add/", posted(fields=fields, queue="q")).status_code == 302
    one = Recurrence.objects.get()
    assert (one.name, one.fields, one.queue, one.from_code) == (
        "nightly",
        {"text": "hello"},
        "q",
        False,
    )
    assert one.next_run_at is not None


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"expression": "61 * * * *"}, "61 in the field of the minute is not from 0 to 59"),
        ({"time_zone": "Mars"}, "There is no time zone &#x27;Mars&#x27;"),
        ({"fields": '{"colour": 1}'}, "Note has no field &#x27;colour&#x27;"),
        ({"fields": "{"}, "Enter a valid JSON."),
        ({"jitter": "-1"}, "greater than or equal to 0"),
    ],
)
def test_what_is_refused_is_said_at_its_field(
    boss: Client, changed: dict[str, str], problem: str
) -> None:
    page = boss.post(f"{LIST}add/", posted(**changed))
    assert page.status_code == 200 and problem in page.content.decode()
    assert not Recurrence.objects.exists()


def test_the_page(boss: Client) -> None:
    """In words, the next five times, and what became of the last slots."""
    one = recurrence()
    first = one.run_now()
    gone = one.run_now()
    Operation.objects.filter(pk=gone.pk).delete()
    RecurrenceSlot.objects.create(
        recurrence=one, slot=clock.now(), state="skipped", reason="too late", created_at=clock.now()
    )
    page = text(boss.get(page_of(one)))
    assert "At 02:30" in page and page.count("02:30:00 CE") == 5
    for words in (f"#{first.pk}", f"#{gone.pk}, which is gone", "skipped: too late"):
        assert words in page, words


def test_editing_one(boss: Client) -> None:
    one = recurrence()
    before = one.next_run_at
    assert boss.post(page_of(one), posted(expression="30 3 * * *")).status_code == 302
    one.refresh_from_db()
    assert one.expression == "30 3 * * *" and one.next_run_at != before
    values = posted(expression="30 3 * * *")
    del values["enabled"]
    boss.post(page_of(one), values)
    one.refresh_from_db()
    assert (one.enabled, one.disabled_reason) == (False, "disabled by boss in the admin")
    assert "disabled by boss in the admin" in text(boss.get(page_of(one)))


def test_one_from_code_can_only_be_switched(boss: Client) -> None:
    one = recurrence(from_code=True)
    page = boss.get(page_of(one)).content.decode()
    assert 'name="enabled"' in page and 'name="expression"' not in page
    values = posted(expression="0 0 * * *")
    del values["enabled"]
    boss.post(page_of(one), values)
    one.refresh_from_db()
    assert (one.enabled, one.expression) == (False, "30 2 * * *")
    assert boss.post(f"{LIST}{one.pk}/delete/", {"post": "yes"}).status_code == 403


def test_actions(boss: Client) -> None:
    one = recurrence(model=Sweep)
    bad = recurrence(name="bad")
    Recurrence.objects.filter(pk=bad.pk).update(fields={"colour": 1})
    page = boss.post(LIST, choose("disable_selected", one, bad), follow=True)
    assert said(page) == ["success: 2 recurrences were disabled."]
    page = boss.post(LIST, choose("enable_selected", one), follow=True)
    assert said(page) == ["success: 1 recurrence was enabled."]
    page = boss.post(LIST, choose("run_selected_now", one, bad), follow=True)
    messages = sorted(said(page))
    assert messages[0].startswith("error: bad: Note has no field 'colour'")
    assert messages[1].startswith("success: nightly: ")
    assert Sweep.objects.get().slot is not None


def test_who_may_only_look(staff: Callable[..., Client]) -> None:
    one = recurrence()
    client = staff("view_recurrence")
    page = client.get(page_of(one)).content.decode()
    assert "At 02:30" in page and 'name="expression"' not in page
    assert client.post(page_of(one), posted()).status_code == 403
    client.post(LIST, choose("run_selected_now", one))
    client.post(LIST, choose("disable_selected", one))
    one.refresh_from_db()
    assert one.enabled and not Operation.objects.exists()
