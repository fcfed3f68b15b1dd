"""The pages of recurrences."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from operator_app import clock
from operator_app.models import Operation, Recurrence, RecurrenceSlot, kinds
from tests.admin.conftest import put
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
    for words in (
        "At 02:30",
        "Europe/Berlin",
        "kinds.Note",
        "disabled</span> a holiday",
        "over",
        "in ",
    ):
        assert words in page, words
    for number in range(20):
        recurrence(name=f"more {number}")
        RecurrenceSlot.objects.create(
            recurrence=Recurrence.objects.get(name=f"more {number}"),
            slot=clock.now(),
            state="skipped",
            created_at=clock.now(),
        )
    with django_assert_max_num_queries(9):
        boss.get(LIST)


def test_the_list_shows_how_the_last_ones_have_ended(boss: Client) -> None:
    one = recurrence()
    now = clock.now()
    finished, failed, gone = one.run_now(), one.run_now(), one.run_now()
    began = now - timedelta(hours=3, seconds=12)
    put(
        finished,
        started_run_at=began,
        begun_run_at=began,
        finished_run_at=began + timedelta(seconds=12),
    )
    put(failed, started_run_at=began, failed_run_at=now, reason="so it failed")
    Operation.objects.filter(pk=gone.pk).delete()
    page = text(boss.get(LIST)).replace("\xa0", " ")
    assert "Last results, oldest first: 1 finished, 1 failed, 1 deleted since" in page
    target = f"/kinds/operator_app/operation/{finished.pk}/change/"
    title = "finished, 12 s, 3 h ago"
    cell = f'<a class="operator-cell operator-finished" title="{title}" href="{target}">'
    assert cell in page
    assert page.index("operator-cell operator-finished") < page.index(
        "operator-cell operator-failed"
    )
    assert f"operation/{gone.pk}/" not in page
    assert page.count("02:30:00 CE") == 5


def test_buttons(boss: Client) -> None:
    """Of the rows of the list, and of the page."""
    one = recurrence(model=Sweep)
    page = text(boss.get(LIST))
    assert f'formaction="{LIST}{one.pk}/run/"' in page
    assert f'formaction="{LIST}{one.pk}/disable/"' in page and "/enable/" not in page
    answer = boss.post(f"{LIST}{one.pk}/run/", follow=True)
    assert answer.redirect_chain == [(LIST, 302)]
    made = Sweep.objects.get()
    assert said(answer) == [f'success: nightly: <a href="{page_of_kind(made)}">{made}</a>']
    answer = boss.post(f"{LIST}{one.pk}/disable/", {"_from_page": "1"}, follow=True)
    assert answer.redirect_chain == [(page_of(one), 302)]
    assert said(answer) == ["success: 1 recurrence was disabled."]
    assert f'action="{LIST}{one.pk}/enable/"' in text(boss.get(page_of(one)))
    boss.post(f"{LIST}{one.pk}/enable/")
    one.refresh_from_db()
    assert one.enabled
    entries = LogEntry.objects.order_by("pk").values_list("object_id", "change_message")
    assert list(entries) == [
        (str(one.pk), f"Run now: {made}."),
        (str(one.pk), "Disabled."),
        (str(one.pk), "Enabled."),
    ]
    assert boss.get(f"{LIST}{one.pk}/run/").status_code == 405
    assert boss.post(f"{LIST}{one.pk + 1}/run/").status_code == 404


def page_of_kind(row: Operation) -> str:
    return f"/kinds/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


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
    assert "formaction" not in text(client.get(LIST))
    for verb in ("run", "enable", "disable"):
        assert client.post(f"{LIST}{one.pk}/{verb}/").status_code == 403
    one.refresh_from_db()
    assert one.enabled and not Operation.objects.exists() and not LogEntry.objects.exists()


def test_who_may_run_one_kind(staff: Callable[..., Client]) -> None:
    """To run takes a permission for the kind, and none to change recurrences."""
    mine, other = recurrence(model=Sweep), recurrence(name="other")
    client = staff("view_recurrence", "run_sweep")
    page = text(client.get(LIST))
    assert f"{mine.pk}/run/" in page and f"{other.pk}/run/" not in page and "disable" not in page
    answer = client.post(LIST, choose("run_selected_now", mine, other), follow=True)
    assert "error: other: you may not run operations of this kind." in said(answer)
    assert client.post(f"{LIST}{mine.pk}/run/").status_code == 302
    assert client.post(f"{LIST}{other.pk}/run/").status_code == 403
    assert client.post(f"{LIST}{mine.pk}/disable/").status_code == 403
    assert Sweep.objects.count() == Operation.objects.count() == 2


def test_who_may_change_recurrences(staff: Callable[..., Client]) -> None:
    one = recurrence()
    client = staff("view_recurrence", "change_recurrence")
    client.post(LIST, choose("run_selected_now", one))
    assert client.post(f"{LIST}{one.pk}/run/").status_code == 403
    assert client.post(f"{LIST}{one.pk}/disable/").status_code == 302
    one.refresh_from_db()
    assert not one.enabled and not Operation.objects.exists()
