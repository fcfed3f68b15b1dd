"""Something done to all that match: asked first, in chunks, written down in the admin's log."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.db import IntegrityError
from django.test import Client
from django.utils.timezone import get_current_timezone

from operator_app import clock
from operator_app.admin import audit, deletion, run, runs, selection
from operator_app.models import Operation, OperationJob
from tests.admin.conftest import STATES, in_state, operator, put
from tests.admin.test_actions import after, base, choose, everything, said, sure
from tests.admin.test_pages import LIST, page_of, text
from tests.kinds.models import LongNote, Note, RankUp, Report, Sweep
from tests.models.tools import queries
from tests.once import once

pytestmark = pytest.mark.django_db

REPORTS = "/kinds/kinds/report/"


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request does one chunk, of two operations."""
    monkeypatch.setattr(runs, "CHUNK", 2)
    monkeypatch.setattr(runs, "BUDGET", 0)


def all_of(action: str, **more: Any) -> dict[str, Any]:
    """What the list's form posts when all that match are meant."""
    return {"action": action, "index": 0, "select_across": 1, "_selected_action": 0, **more}


def yes(asked: Any, **more: Any) -> dict[str, Any]:
    """What the page posts that asks."""
    return {**dict(asked.context["fields"]), **more}


def lines(asked: Any) -> dict[str, tuple[str, bool]]:
    """How many are in each state, and whether they would be changed."""
    return {
        line.badge.partition(">")[2].partition("<")[0]: (str(line.number), line.is_changed)
        for line in asked.context["lines"]
    }


def finish(client: Client, page: Any, address: str) -> tuple[Any, int]:
    """Post what the pages post by themselves, to the end; return that, and how often."""
    count, going = 0, page.redirect_chain[-1][0]
    while "data-operator-continue" in text(page):
        page = client.post(going, follow=True)
        count += 1
    assert page.request["PATH_INFO"] == address
    return page, count


def entries() -> list[tuple[str, str]]:
    return [(row.object_repr, row.change_message) for row in LogEntry.objects.order_by("pk")]


# The question


def test_a_selection_of_one_kind_and_state_is_done_at_once(boss: Client) -> None:
    made = [in_state("due", Report) for _ in range(2)]
    page = boss.post(LIST, choose("cancel_selected", *made), follow=True)
    assert said(page) == ["success: 2 operations were cancelled."]


@pytest.mark.parametrize(
    ("state", "model", "other", "other_model"),
    [("due", Report, "scheduled", Report), ("due", Report, "due", Note)],
)
def test_of_several_kinds_or_states_it_is_asked(
    boss: Client, state: str, model: Any, other: str, other_model: Any
) -> None:
    made = {"one": in_state(state, model), "other": in_state(other, other_model)}
    asked = boss.post(LIST, choose("cancel_selected", *made.values()))
    assert "Cancel them?" in text(asked)
    assert {row.state for row in Operation.all_objects.all()} <= {"due", "scheduled"}
    page = boss.post(LIST, yes(asked, _selected_action=[row.pk for row in made.values()]))
    assert page.status_code == 302
    assert set(after(made).values()) == {"cancelled"}


def test_the_question_tells_what_will_become_of_them(boss: Client) -> None:
    made = everything()
    in_state("failed", Report)
    asked = boss.post(LIST, all_of("retry_selected"))
    changed = {"failed": ("2", True), "cancelled": ("1", True)}
    assert lines(asked) == dict.fromkeys(STATES, ("1", False)) | changed
    asked = boss.post(f"{LIST}?state=failed", all_of("retry_selected"))
    assert lines(asked) == {"failed": ("2", True)}
    asked = boss.post(LIST, choose("retry_selected", *made.values()))
    assert lines(asked)["failed"] == ("1", True)
    assert Operation.all_objects.failed().count() == 2
    asked = text(boss.post(f"{LIST}?state=finished", all_of("retry_selected")))
    assert "nothing to change" in asked and "Yes, go on" not in asked


def test_the_form_of_the_question_posts_what_is_meant(boss: Client) -> None:
    """As a browser would: the fields of the form, to where it says."""
    made = [in_state("failed", Report).pk, in_state("cancelled", Note).pk]
    address = f"{LIST}?q=operation"
    asked = boss.post(address, choose("retry_selected", *Operation.all_objects.all()))
    page = text(asked)
    assert f'action="{address}"' in page and "csrfmiddlewaretoken" in page
    for pk in made:
        assert f'name="_selected_action" value="{pk}"' in page
    assert 'name="action" value="retry_selected"' in page and 'name="index"' not in page


# Another time


@pytest.mark.parametrize("across", [False, True])
def test_reschedule(boss: Client, across: bool) -> None:
    made = everything()
    chosen = choose("reschedule_selected", *made.values())
    asked = boss.post(LIST, all_of("reschedule_selected") if across else chosen)
    assert 'type="datetime-local"' in text(asked)
    ids = [row.pk for row in made.values()]
    for bad in ("", "soon", "0001-01-01T00:00"):
        asked = boss.post(LIST, yes(asked, _selected_action=ids, when=bad))
        assert "errorlist" in text(asked)
    posted = yes(asked, _selected_action=ids, when="2099-05-01T12:30")
    page = boss.post(LIST, posted, follow=True)
    assert said(page) == [
        "success: 2 operations were rescheduled.",
        "warning: 5 operations were left alone: they were not pending any more.",
    ]
    wanted = datetime(2099, 5, 1, 12, 30, tzinfo=get_current_timezone())
    found = {row.state for row in Operation.all_objects.filter(should_run_at=clock_of(wanted))}
    assert found == {"scheduled"}
    assert Operation.all_objects.filter(should_run_at=clock_of(wanted)).count() == 2


def clock_of(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc)


def test_release(boss: Client) -> None:
    lost = in_state("stuck", Report)
    sunk = operator(lost_at=clock.now())
    declared = put(in_state("running", Report), operator=sunk.pk)
    late = put(in_state("running", Report), times_out_at=clock.now() - timedelta(minutes=1))
    page = boss.post(LIST, choose("release_selected", lost, declared, late), follow=True)
    assert said(page) == [
        "success: 2 operations were given back.",
        "warning: 1 operation was left alone: no lost operator held it.",
    ]
    assert {base(lost).state, base(declared).state} == {"due"}
    assert base(late).state == "stuck"


def put_in_lost_hands() -> tuple[Operation, Operation]:
    """One that a lost operator holds, and one that had been asked to abort besides."""
    return in_state("stuck", Report), put(in_state("stuck", Report), abort_requested_at=clock.now())


GIVEN_BACK = "1 operation was given back."
CANCELLED = "1 operation was cancelled: it had been asked to abort."


def test_release_tells_what_was_cancelled_instead(boss: Client) -> None:
    lost, asked = put_in_lost_hands()
    page = boss.post(LIST, choose("release_selected", lost, asked), follow=True)
    assert said(page) == [f"success: {GIVEN_BACK}", f"success: {CANCELLED}"]
    assert (base(lost).state, base(asked).state) == ("due", "cancelled")
    assert set(entries()) == {
        (str(base(lost)), "Taken from a lost operator, by an action."),
        (str(base(asked)), "Cancelled: it had been asked to abort."),
    }
    put(asked, cancelled_at=None, reason="")
    page = boss.post(LIST, choose("release_selected", asked), follow=True)
    assert said(page) == [f"success: {CANCELLED}"]


def test_release_of_many_tells_it_too(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "EACH", 1)
    boss.post(LIST, choose("release_selected", *put_in_lost_hands()))
    ((what, _note),) = entries()
    assert what == f"{GIVEN_BACK} {CANCELLED}"
    LogEntry.objects.all().delete()
    put_in_lost_hands()
    asked = boss.post(LIST, all_of("release_selected"))
    finish(boss, boss.post(LIST, yes(asked), follow=True), LIST)
    ((_what, note),) = entries()
    assert note.startswith(f"Taken from a lost operator, by an action. {GIVEN_BACK} {CANCELLED}")


def test_release_is_offered_where_a_lost_operator_holds_it(boss: Client) -> None:
    lost = in_state("stuck", Report)
    late = put(in_state("running", Report), times_out_at=clock.now() - timedelta(minutes=1))
    assert 'value="release_selected"' in text(boss.get(page_of(lost)))
    assert 'value="release_selected"' not in text(boss.get(page_of(late)))


# All that match


@pytest.mark.usefixtures("_small_steps")
def test_all_that_match_in_steps(boss: Client) -> None:
    failed = [in_state("failed", model) for model in (Note, Report, LongNote, Sweep, Note)]
    other = in_state("cancelled")
    address = f"{LIST}?state=failed"
    asked = boss.post(address, all_of("retry_selected"))
    assert all(base(row).state == "failed" for row in failed)
    late = in_state("failed")  # after the question
    page = boss.post(address, yes(asked), follow=True)
    shown = text(page)
    assert "<progress" in shown and "Continue" in shown and "csrfmiddlewaretoken" in shown
    assert "2 operations begin anew." in shown
    assert [base(row).state for row in failed] == ["due", "due", "failed", "failed", "failed"]
    assert entries()[0][1].endswith("2 operations begin anew. Not finished.")
    # To look at the page again does nothing.
    again = boss.get(page.redirect_chain[-1][0])
    assert text(again).replace(csrf(again), "") == shown.replace(csrf(page), "")
    assert base(failed[2]).state == "failed"
    page, count = finish(boss, page, LIST)
    assert said(page) == ["success: 5 operations begin anew."]
    assert count == 2
    assert {base(row).state for row in failed} == {"due"}
    assert base(late).state == "failed" and base(other).state == "cancelled"
    assert entries() == [
        ("all that match state=failed", "Retried, by an action. 5 operations begin anew.")
    ]
    assert page.request["QUERY_STRING"] == "state=failed"


def csrf(page: Any) -> str:
    return str(text(page)).partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]


def test_all_that_match_at_once_where_there_is_time(boss: Client) -> None:
    made = everything()
    asked = boss.post(REPORTS, all_of("cancel_selected"))
    page = boss.post(REPORTS, yes(asked), follow=True)
    assert said(page) == [
        "success: 2 operations were cancelled.",
        "warning: 5 operations were left alone: they were not pending any more.",
    ]
    assert after(made)["due"] == "cancelled"
    assert base(made["due"]).reason == "cancelled by boss in the admin"
    assert entries()[0][0] == "all operations"


@pytest.mark.usefixtures("_small_steps")
def test_who_posts_the_same_twice_changes_nothing_twice(boss: Client) -> None:
    for _ in range(5):
        in_state("failed", Report)
    page = boss.post(LIST, yes(boss.post(LIST, all_of("retry_selected"))), follow=True)
    going = page.redirect_chain[-1][0]
    for _ in range(9):
        page = boss.post(going)
    assert boss.post(going).status_code == 302
    assert not Operation.all_objects.failed().exists()
    assert boss.get(going).status_code == 302


@once
def test_a_run_that_there_is_not(boss: Client, staff: Callable[..., Client]) -> None:
    for client in (boss, staff("view_operation")):
        page = client.get(f"{LIST}?state=due&_run=nonsense")
        assert (page.status_code, page["Location"]) == (302, f"{LIST}?state=due")


@once
@pytest.mark.usefixtures("_small_steps")
def test_who_may_not_any_more_does_not_go_on(staff: Callable[..., Client]) -> None:
    for _ in range(5):
        in_state("failed", Report)
    client = staff("view_operation", "retry_operation")
    page = client.post(LIST, yes(client.post(LIST, all_of("retry_selected"))), follow=True)
    going = page.redirect_chain[-1][0]
    before = Operation.all_objects.failed().count()
    User.objects.get(pk=client.session["_auth_user_id"]).user_permissions.clear()
    assert client.post(going).status_code == 403 and client.get(going).status_code == 403
    assert Operation.all_objects.failed().count() == before


@once
@pytest.mark.usefixtures("_small_steps")
def test_going_on_is_safe_from_other_sites(boss: Client) -> None:
    for _ in range(5):
        in_state("failed", Report)
    page = boss.post(LIST, yes(boss.post(LIST, all_of("retry_selected"))), follow=True)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = boss.cookies
    before = Operation.all_objects.failed().count()
    assert strict.post(page.redirect_chain[-1][0]).status_code == 403
    assert strict.post(LIST, all_of("retry_selected")).status_code == 403
    assert Operation.all_objects.failed().count() == before


@once
def test_ids_far_apart(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk is looked for among so many ids at once."""
    monkeypatch.setattr(runs, "SPAN", 3)
    made = [in_state("failed", Sweep) for _ in range(3)]
    far = in_state("failed", Sweep)
    Operation.all_objects.filter(pk=far.pk).update(id=far.pk + 20)
    boss.post(LIST, yes(boss.post(LIST, all_of("retry_selected"))), follow=True)
    assert not Operation.all_objects.failed().exists()
    assert all(base(row).state == "due" for row in made)


@once
@pytest.mark.parametrize("until", ["", "x", "-1", "9" * 40])
def test_a_bound_that_is_none(boss: Client, until: str) -> None:
    in_state("failed", Report)
    posted = yes(boss.post(LIST, all_of("retry_selected")), _until=until)
    page = boss.post(LIST, posted, follow=True)
    assert said(page) == ["success: 1 operation begins anew."]


@once
def test_kinds_that_are_not_mine(staff: Callable[..., Client]) -> None:
    made = {"note": in_state("failed", Note), "report": in_state("failed", Report)}
    client = staff("view_operation", "retry_report")
    asked = client.post(LIST, all_of("retry_selected"))
    assert "Those of kinds that you may not do this to will be left alone." in text(asked)
    page = client.post(LIST, yes(asked), follow=True)
    assert said(page) == [
        "success: 1 operation begins anew.",
        "warning: 1 operation was left alone: it is of a kind that you may not do this to.",
    ]
    assert after(made) == {"note": "failed", "report": "due"}


# Deletion


@pytest.mark.usefixtures("_small_steps")
def test_delete_all_that_match(boss: Client) -> None:
    user = User.objects.create_user("ann")
    made = {state: in_state(state, RankUp, user=user) for state in STATES}
    OperationJob.objects.create(operation_id=made["failed"].pk, number=1, started_at=clock.now())
    asked = boss.post(LIST, all_of("delete_selected"))
    assert lines(asked)["running"] == ("1", False) and lines(asked)["failed"] == ("1", True)
    page, _count = finish(boss, boss.post(LIST, yes(asked), follow=True), LIST)
    assert said(page) == [
        "success: 5 operations were deleted.",
        "warning: 2 operations are claimed by an operator and are left alone.",
    ]
    assert {row.state for row in Operation.all_objects.all()} == {"running", "stuck"}
    assert RankUp.all_objects.count() == 2 and not OperationJob.objects.exists()
    (entry,) = LogEntry.objects.all()
    assert entry.action_flag == DELETION and "5 operations were deleted" in entry.change_message


@once
def test_what_may_not_go_along_stops_it(
    boss: Client, monkeypatch: pytest.MonkeyPatch, staff: Callable[..., Client]
) -> None:
    in_state("failed", Report)

    def refuse(*args: Any, **options: Any) -> None:
        raise IntegrityError("still referenced")

    with monkeypatch.context() as patch:
        patch.setattr("operator_app.admin.guard.hold_deletable", refuse)
        page = boss.post(LIST, yes(boss.post(LIST, all_of("delete_selected"))), follow=True)
    assert "still referenced" in said(page)[-1] and len(said(page)) == 2
    assert Operation.all_objects.count() == 1
    assert "still referenced" in entries()[0][1]


# The admin's log


def test_each_of_a_selection_is_logged_that_was_changed(boss: Client) -> None:
    made = everything()
    taken = put(in_state("failed", Report), unique_key="k")
    Report.schedule(timedelta(1), unique_key="k")
    boss.post(REPORTS, sure("retry_selected", *made.values(), taken))
    changed = {str(made[state].pk) for state in ("failed", "cancelled")}
    rows = LogEntry.objects.all()
    assert {row.object_id for row in rows} == changed and len(rows) == 2
    assert {row.change_message for row in rows} == {"Retried, by an action."}
    assert {row.action_flag for row in rows} == {CHANGE}
    history = text(boss.get(page_of(made["failed"]).replace("change", "history")))
    assert "Retried, by an action." in history


@once
def test_a_large_selection_has_one_entry(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "EACH", 2)
    made = [in_state("failed", Report) for _ in range(3)]
    boss.post(LIST, choose("retry_selected", *made))
    assert entries() == [("3 operations begin anew.", "Retried, by an action.")]


@once
def test_nothing_changed_is_not_logged(boss: Client) -> None:
    page = boss.post(LIST, choose("retry_selected", in_state("due", Report)), follow=True)
    assert said(page)[0].startswith("warning: 1 operation was left alone")
    assert entries() == []


# The pages


@once
def test_the_script_is_there(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finders.find("operator_app/run.js")
    monkeypatch.setattr(runs, "BUDGET", 0)
    monkeypatch.setattr(runs, "CHUNK", 1)
    for _ in range(3):
        in_state("failed")
    page = boss.post(LIST, yes(boss.post(LIST, all_of("retry_selected"))), follow=True)
    assert 'src="/static/operator_app/run.js"' in text(page)


@once
def test_a_session_remembers_so_many(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "KEPT", 2)
    in_state("failed")
    for _ in range(4):
        boss.post(LIST, yes(boss.post(LIST, all_of("retry_selected"))))
    assert len(boss.session[run.SESSION]) == 2


def test_what_a_button_does_is_logged(boss: Client) -> None:
    operation = in_state("failed", Report)
    posted = choose("retry_selected", operation, **{selection.FROM_PAGE: 1})
    boss.post(REPORTS, posted)
    assert [row.object_id for row in LogEntry.objects.all()] == [str(operation.pk)]


def test_deleting_works_with_a_django_that_finds_them_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then what attempts have logged is read as well."""
    own = deletion.utils.get_deleted_objects

    def other(*arguments: Any) -> Any:
        return own(*arguments)

    assert deletion._lightly() is not own
    monkeypatch.setattr(deletion.utils, "get_deleted_objects", other)
    assert deletion._lightly() is other


@pytest.mark.parametrize("across", [False, True])
def test_deleting_reads_no_long_texts(boss: Client, across: bool) -> None:
    """The attempts go along, with megabytes of logs and tracebacks that nobody looks at."""
    made = [in_state("failed") for _ in range(2)]
    for each in made:
        OperationJob.objects.create(
            operation_id=each.pk, number=1, started_at=clock.now(), log="long"
        )
    chosen = all_of("delete_selected") if across else choose("delete_selected", *made)
    with queries("SELECT") as read:
        asked = boss.post(LIST, chosen)
        sure_of_it = yes(asked) if across else chosen | {"post": "yes"}
        boss.post(LIST, sure_of_it, follow=True)
    assert not Operation.all_objects.exists() and not OperationJob.objects.exists()
    of_jobs = [sql.partition(" FROM ")[0] for sql in read if _JOBS.search(sql)]
    assert of_jobs
    assert not [sql for sql in of_jobs if re.search(r"\b(log|traceback|stack|meta)\b", sql)]


_JOBS = re.compile(r"FROM .?operator_app_operationjob")
