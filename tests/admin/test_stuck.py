"""The page of what is stuck, and what can be done there, by whom."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client, RequestFactory

from operator_app import clock
from operator_app.admin import stuck
from operator_app.models import Operation, OperatorProcess, kinds, tallies
from tests.admin.conftest import in_state, operator, put
from tests.admin.site import site
from tests.admin.test_pages import EVIL, text
from tests.kinds.models import Note, Report
from tests.models.tools import queries

pytestmark = pytest.mark.django_db

PAGE = "/kinds/operator_app/operation/stuck/"


def overrun(process: OperatorProcess | None = None) -> Operation:
    """An operation whose time is up, though its operator lives."""
    holder = process or operator()
    return put(in_state("stuck"), operator=holder.pk, times_out_at=clock.now() - timedelta(hours=1))


def state(operation: Operation) -> str:
    return Operation.all_objects.get(pk=operation.pk).state


def offered(page: str) -> Iterator[str]:
    yield from re.findall(r'name="one" value="(\w+):', page)


def messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_all_is_well(boss: Client) -> None:
    in_state("running")
    page = text(boss.get(PAGE))
    assert "All is well" in page and '<form method="post" class' not in page


def test_what_a_row_says(boss: Client) -> None:
    gone = in_state("stuck")
    late = overrun(operator(hostname="far", pid=7))
    page = text(boss.get(PAGE))
    assert "Its operator process is gone." in page and "far:7" in page
    assert "ran" in page and "Its operator lives and asks it to end" in page
    for row in (gone, late):
        assert f"/kinds/operator_app/operation/{row.pk}/change/" in page
    assert f"/{late.pk}/change/#operator-stack" in page
    assert f"/{gone.pk}/change/#operator-stack" not in page
    assert sorted(offered(page)) == ["abort", "abort", "fail", "release"]


def test_what_is_not_declared_lost_is_offered_to_nobody(boss: Client) -> None:
    """Only who is known to be dead can be released from: the others come with the next rescue."""
    silent = operator(alive_until=clock.now() - timedelta(seconds=1))
    row = put(in_state("stuck"), operator=silent.pk)
    page = text(boss.get(PAGE))
    assert list(offered(page)) == ["abort"] and "No operator lives to rescue it" in page
    operator(hostname="other")
    assert "Another operator lets it run again" in text(boss.get(PAGE))
    answer = boss.post(PAGE, {"one": f"release:{row.pk}"}, follow=True)
    assert "1 operation was left alone" in messages(answer)[0]
    assert state(row) == "stuck" and not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("verb", "after", "said"),
    [
        ("release", "due", "1 operation was released."),
        ("fail", "failed", "1 operation has failed now."),
        ("abort", "stuck", "1 operation was asked to abort."),
    ],
)
def test_each_button(verb: str, after: str, said: str, boss: Client) -> None:
    row, other = in_state("stuck"), in_state("stuck")
    answer = boss.post(PAGE, {"one": f"{verb}:{row.pk}", "operation": other.pk}, follow=True)
    assert messages(answer) == [said]
    assert (state(row), state(other)) == (after, "stuck")
    stored = Operation.all_objects.get(pk=row.pk)
    assert (stored.abort_requested_at is not None) == (verb == "abort")
    (entry,) = LogEntry.objects.all()
    assert entry.object_id == str(row.pk) and entry.get_change_message()


def test_a_selection_with_a_reason(boss: Client) -> None:
    rows = [in_state("stuck") for _ in range(3)]
    chosen = {"verb": "fail", "operation": [row.pk for row in rows[:2]], "reason": "disk gone"}
    answer = boss.post(PAGE, chosen, follow=True)
    assert messages(answer) == ["2 operations have failed now."]
    assert [state(row) for row in rows] == ["failed", "failed", "stuck"]
    reason = Operation.all_objects.get(pk=rows[0].pk).reason
    assert reason == "disk gone (failed by boss in the admin)"
    assert LogEntry.objects.count() == 2


def test_what_was_asked_to_abort_is_cancelled_by_a_release(boss: Client) -> None:
    row = put(in_state("stuck"), abort_requested_at=clock.now())
    assert sorted(offered(text(boss.get(PAGE)))) == ["fail", "release"]
    answer = boss.post(PAGE, {"one": f"release:{row.pk}"}, follow=True)
    assert messages(answer) == ["1 operation was cancelled: it had been asked to abort."]
    assert state(row) == "cancelled"


def test_only_what_was_asked_now_is_logged(boss: Client) -> None:
    before = put(in_state("stuck"), abort_requested_at=clock.now() - timedelta(days=1))
    row = in_state("stuck")
    chosen = {"verb": "abort", "operation": [before.pk, row.pk]}
    assert messages(boss.post(PAGE, chosen, follow=True))[0] == "1 operation was asked to abort."
    (entry,) = LogEntry.objects.all()
    assert entry.object_id == str(row.pk)


@pytest.mark.parametrize(("verb", "note"), [("release", "Released"), ("fail", "Failed by hand")])
def test_what_was_cancelled_instead_is_logged_as_such(boss: Client, verb: str, note: str) -> None:
    before, row = put(in_state("stuck"), abort_requested_at=clock.now()), in_state("stuck")
    boss.post(PAGE, {"verb": verb, "operation": [before.pk, row.pk]})
    entries = {int(each.object_id): each.get_change_message() for each in LogEntry.objects.all()}
    assert entries.keys() == {before.pk, row.pk}
    assert note in entries[row.pk]
    assert entries[before.pk] == "Cancelled: it had been asked to abort."


def test_what_got_on_meanwhile_is_left_alone(boss: Client) -> None:
    row, running = in_state("finished"), in_state("running")
    chosen = {"verb": "fail", "operation": [row.pk, running.pk]}
    answer = boss.post(PAGE, chosen, follow=True)
    assert "2 operations were left alone" in messages(answer)[0]
    assert (state(row), state(running)) == ("finished", "running")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"verb": "fail"},
        {"one": "x:1"},
        {"one": "fail:x"},
        {"one": f"fail:{10**30}"},
        {"verb": "abort", "operation": "9" * 4_500},
    ],
)
def test_nonsense_changes_nothing(given: dict[str, str], boss: Client) -> None:
    row = in_state("stuck")
    answer = boss.post(PAGE, given, follow=True)
    assert messages(answer) == ["Choose operations first."]
    assert state(row) == "stuck"


@pytest.mark.parametrize(
    ("permission", "verbs"),
    [(None, []), ("retry_operation", ["release", "fail"]), ("abort_operation", ["abort"])],
)
def test_who_may(permission: str | None, verbs: list[str], staff: Callable[..., Client]) -> None:
    row = in_state("stuck")
    client = staff("view_operation", *([permission] if permission else []))
    page = text(client.get(PAGE))
    assert list(offered(page)) == verbs
    assert ('type="checkbox"' in page) == bool(verbs)
    for verb in {"release", "fail", "abort"} - set(verbs):
        assert client.post(PAGE, {"one": f"{verb}:{row.pk}"}).status_code == 403
    assert state(row) == "stuck"
    assert Operation.all_objects.get(pk=row.pk).abort_requested_at is None


def test_who_may_view_nothing_is_refused(staff: Callable[..., Client]) -> None:
    client = staff("retry_operation")
    row = in_state("stuck")
    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE, {"one": f"fail:{row.pk}"}).status_code == 403
    assert state(row) == "stuck"


def test_who_may_view_one_kind_sees_no_other(rf: RequestFactory) -> None:
    user = User.objects.create_user("ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_note", "retry_note"]))
    mine, other = in_state("stuck", Note), in_state("stuck", Report)
    request = rf.get("/")
    request.user = user
    shown = stuck.context(site.get_model_admin(Operation), request)
    assert [row.operation.pk for row in shown["rows"]] == [mine.pk]
    assert [deed.value for deed in shown["deeds"]] == ["release", "fail"]
    assert state(other) == "stuck"


def test_how_long_it_usually_takes(boss: Client) -> None:
    in_state("stuck", Note)
    assert "<td>3.1 h</td>" not in text(boss.get(PAGE))
    summary = tallies.Summary()
    for _ in range(20):
        summary.durations.add(11_000)
    key = tallies.Key(kinds.content_type(Note, "default").pk, "notes")
    tallies.write({key: summary}, clock.now(), "default")
    shown = re.findall(r"<td>(\d[\d.]* (?:h|min|s))</td>", text(boss.get(PAGE)))
    (running_for, usually) = shown
    assert running_for == "3 min" and 2.4 < float(usually.removesuffix(" h")) < 3.7


def test_a_post_takes_a_token(boss: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = boss.cookies
    assert strict.post(PAGE, {"one": f"fail:{in_state('stuck').pk}"}).status_code == 403


def test_a_class_that_is_gone(boss: Client, gone: Operation) -> None:
    put(gone, started_run_at=clock.now(), attempts=1, operator=987654)
    operator()
    page = text(boss.get(PAGE))
    assert "oldshop.sendfax" in page and "Only an operator that knows its class" in page
    boss.post(PAGE, {"one": f"fail:{gone.pk}"})
    assert state(gone) == "failed"


def test_nothing_is_taken_for_markup(boss: Client) -> None:
    put(in_state("stuck"), operator=operator(hostname=EVIL, lost_at=clock.now()).pk)
    page = text(boss.get(PAGE))
    assert "<script>alert" not in page and "<img src=x" not in page


def test_it_shows_so_many(boss: Client, monkeypatch: Any) -> None:
    for _ in range(3):
        in_state("stuck")
    monkeypatch.setattr(stuck, "MOST", 2)
    page = text(boss.get(PAGE))
    assert "The first 2 are shown." in page and page.count('type="checkbox"') == 2


def test_the_number_of_queries_does_not_grow(boss: Client) -> None:
    in_state("stuck")
    boss.get(PAGE)
    with queries() as few:
        boss.get(PAGE)
    for kind in (Note, Report):
        for _ in range(5):
            in_state("stuck", kind)
    with queries() as many:
        boss.get(PAGE)
    assert len(many) == len(few)
