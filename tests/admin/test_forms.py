"""What a person can write: scheduling, changing, being refused, deleting, and who may."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from operator_app import clock
from operator_app.admin import guard
from operator_app.models import Operation, OperationJob, OperationTag
from operator_app.testing import run_due
from tests.admin.conftest import STATES, in_state, operator, put
from tests.admin.test_pages import LIST, page_of, text
from tests.kinds.models import LongNote, Note, QuickNote, RankUp, Report, Scripted, Sweep, Tagged

pytestmark = pytest.mark.django_db


def moment(when: datetime) -> dict[str, str]:
    local = timezone.localtime(when) if timezone.is_aware(when) else when
    return {"should_run_at_0": f"{local:%Y-%m-%d}", "should_run_at_1": f"{local:%H:%M:%S}"}


def form(operation: Operation, **changes: Any) -> dict[str, Any]:
    values = {
        **moment(operation.should_run_at),
        "queue": operation.queue,
        "priority": operation.priority,
    }
    return values | changes


def claim(operation: Operation) -> None:
    put(operation, started_run_at=clock.now(), operator=operator().pk, attempts=1)


def errors(response: Any) -> str:
    assert response.status_code == 200, response
    return " ".join(response.context["adminform"].form.non_field_errors())


def test_adding_is_scheduling(boss: Client) -> None:
    page = "/kinds/kinds/report/add/"
    first = boss.get(page)
    assert 'placeholder="reports"' in text(first)
    now = first.context["adminform"].form.initial["should_run_at"]
    assert abs(clock.now() - now) < timedelta(seconds=10)
    values = {"title": "Q3", "queue": "", "priority": "", **moment(now)}
    assert boss.post(page, values).status_code == 302
    report = Report.objects.get()
    assert (report.title, report.queue, report.priority) == ("Q3", "reports", 1)
    assert [job.outcome for job in run_due()] == ["finished"]
    assert LogEntry.objects.count() == 1


def test_adding_with_a_schedule_of_its_own(boss: Client) -> None:
    tomorrow = clock.now().replace(microsecond=0) + timedelta(days=1)
    values = {"queue": "night", "priority": "-3", **moment(tomorrow)}
    for page in ("sweep", "longnote", "rankup"):
        user = User.objects.create_user(page)
        own = {"text": "t", "body": "b", "user": user.pk, "rank": "Expert"}
        assert boss.post(f"/kinds/kinds/{page}/add/", values | own).status_code == 302, page
    for kind in (Sweep, LongNote, RankUp):
        operation = kind.objects.get()
        assert operation.should_run_at == tomorrow
        assert (operation.queue, operation.priority) == ("night", -3)
        assert operation.kind_label == kind._meta.label


def test_adding_stores_tags(boss: Client) -> None:
    # The subclass names its fields: should_run_at comes with the engine's section all the same.
    values = {"customer": 3, "queue": "", "priority": "", **moment(clock.now())}
    assert boss.post("/kinds/kinds/tagged/add/", values).status_code == 302
    assert OperationTag.objects.filter(operation_id=Tagged.objects.get().pk).count() == 2


@pytest.mark.parametrize(
    "bad",
    [
        {"priority": "32768"},
        {"priority": "x"},
        {"queue": "q" * 65},
        {"should_run_at_0": ""},
        {"should_run_at_0": "0001-01-01"},
        {"should_run_at_0": "9999-12-31"},
    ],
)
def test_bad_input_is_an_error_of_the_form(boss: Client, bad: dict[str, str]) -> None:
    values = {"title": "t", "queue": "", "priority": "", **moment(clock.now())} | bad
    response = boss.post("/kinds/kinds/report/add/", values)
    assert response.status_code == 200 and response.context["errors"]
    assert not Operation.all_objects.exists()


def test_operations_of_no_kind_are_not_added(boss: Client) -> None:
    assert boss.get(f"{LIST}add/").status_code == 403


def test_a_pending_operation_is_changed(boss: Client) -> None:
    report = in_state("scheduled", Report, title="old")
    later = clock.now().replace(microsecond=0) + timedelta(days=3)
    values = form(report, title="new", queue="night", **moment(later))
    assert boss.post(page_of(report), values).status_code == 302
    report.refresh_from_db()
    assert (report.title, report.queue, report.should_run_at) == ("new", "night", later)


def test_all_kinds_can_be_rescheduled_in_the_base_admin(boss: Client, gone: Operation) -> None:
    for operation in (in_state("due", Report), in_state("scheduled", Sweep), gone):
        base = Operation.all_objects.get(pk=operation.pk)
        values = form(base, queue="night", priority="7")
        assert boss.post(page_of(base), values).status_code == 302
        base.refresh_from_db()
        assert (base.queue, base.priority) == ("night", 7)


def test_left_empty_the_policy_of_the_rows_own_kind_decides(boss: Client) -> None:
    quick = QuickNote.schedule(timedelta(1), queue="x", priority=9)
    base, note = Operation.objects.get(pk=quick.pk), Note.objects.get(pk=quick.pk)
    for row in (base, note):
        put(quick, queue="x", priority=9)
        assert (
            boss.post(page_of(row), form(quick, text="t", queue="", priority="")).status_code == 302
        )
        quick.refresh_from_db()
        assert (quick.queue, quick.priority) == ("notes", 5)


def test_what_was_not_changed_is_not_written(boss: Client) -> None:
    report = in_state("scheduled", Report)
    exact = put(report, should_run_at=report.should_run_at.replace(microsecond=123456))
    assert boss.post(page_of(report), form(report, title="new")).status_code == 302
    before, _ = exact.should_run_at, report.refresh_from_db()
    assert report.title == "new" and report.should_run_at == before


@pytest.mark.parametrize("state", ["running", "stuck", "finished", "failed", "cancelled"])
def test_what_is_not_pending_is_for_reading(boss: Client, state: str) -> None:
    report = in_state(state, Report, title="old")
    for row in (report, Operation.all_objects.get(pk=report.pk)):
        page = text(boss.get(page_of(row)))
        assert 'name="_save"' not in page and 'name="title"' not in page
        assert 'name="queue"' not in page and 'name="should_run_at_0"' not in page
        values = form(report, title="new", queue="night")
        response = boss.post(page_of(row), values)
        assert "nothing was saved" in errors(response)
        assert 'value="night"' in text(response)
    before = report.queue
    report.refresh_from_db()
    assert (report.title, report.queue) == ("old", before)
    assert not LogEntry.objects.exists()


def test_claimed_while_the_form_was_open(boss: Client) -> None:
    report = in_state("due", Report, title="old")
    values = form(report, title="typed in", priority="50")
    claim(report)
    response = boss.post(page_of(report), values)
    assert "has been claimed by an operator" in errors(response)
    assert 'value="typed in"' in text(response) and 'value="50"' in text(response)
    report.refresh_from_db()
    assert (report.title, report.priority, report.attempts) == ("old", 1, 1)
    assert report.started_run_at is not None


@pytest.mark.parametrize("changes", [{"title": "typed in"}, {"priority": "50"}])
def test_claimed_between_loading_and_saving(
    boss: Client, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
) -> None:
    report = in_state("due", Report, title="old")
    hold = guard.hold_pending

    def claimed_first(operation: Operation) -> None:
        # What an operator does that commits right before our lock. Undone with our transaction.
        put(Report.objects.get(pk=operation.pk), started_run_at=clock.now(), attempts=1)
        hold(operation)

    monkeypatch.setattr(guard, "hold_pending", claimed_first)
    response = boss.post(page_of(report), form(report, **{"title": "old"} | changes))
    assert "nothing was saved" in errors(response)
    report.refresh_from_db()
    assert (report.title, report.priority) == ("old", 1)
    assert not LogEntry.objects.exists()


def test_the_models_own_guard_is_a_form_error_too(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = in_state("due", Report)

    def claimed_after(operation: Operation) -> None:
        Operation.all_objects.filter(pk=operation.pk).update(started_run_at=clock.now())

    monkeypatch.setattr(guard, "hold_pending", claimed_after)
    response = boss.post(page_of(report), form(report, title="new", priority="50"))
    assert "has been claimed" in errors(response)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "hold", [guard.hold_pending, lambda row: guard.hold_deletable([row.pk], DEFAULT_DB_ALIAS)]
)
def test_what_is_being_saved_or_deleted_is_not_claimed(hold: Callable[[Operation], None]) -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("here a transaction that writes keeps all others from writing")
    report, process = in_state("due", Report), operator()
    claimed: list[list[Operation]] = []

    def take() -> None:
        rows = Operation.all_objects
        claimed.append(rows.claim(process, rows.lanes(), limit=5, now=clock.now()))
        connection.close()

    for holding in (True, False):
        with transaction.atomic():
            if holding:
                hold(report)
            thread = threading.Thread(target=take)
            thread.start()
            thread.join(timeout=30)
    assert [[row.pk for row in rows] for rows in claimed] == [[], [report.pk]]


def test_a_deleted_operation_cannot_be_saved(boss: Client) -> None:
    report = in_state("due", Report)
    values, page = form(report), page_of(report)
    report.delete()
    assert boss.post(page, values).status_code == 302
    assert not Operation.all_objects.exists()


def test_list_editable_meets_a_claim(boss: Client) -> None:
    notes = [in_state("due"), in_state("due")]
    values = {
        "form-TOTAL_FORMS": 2,
        "form-INITIAL_FORMS": 2,
        "form-0-operation_ptr": notes[1].pk,
        "form-0-priority": 7,
        "form-1-operation_ptr": notes[0].pk,
        "form-1-priority": 8,
        "_save": "Save",
    }
    claim(notes[0])
    response = boss.post("/kinds/kinds/note/", values, follow=True)
    assert "nothing was saved" in text(response)
    assert {row.priority for row in Note.objects.all()} == {0}
    put(notes[0], started_run_at=None, operator=None)
    boss.post("/kinds/kinds/note/", values, follow=True)
    assert {row.priority for row in Note.objects.all()} == {7, 8}


def test_save_as_new_schedules_a_copy(boss: Client) -> None:
    report = in_state("failed", Report, title="again")
    values = form(report, title="again", _saveasnew="1")
    assert boss.post(page_of(report), values).status_code == 302
    copy = Report.objects.exclude(pk=report.pk).get()
    assert copy.state == "due" and copy.failures == 0


# Deleting


@pytest.mark.parametrize("state", STATES)
def test_deleting_one(boss: Client, state: str) -> None:
    operation = in_state(state, LongNote)
    OperationJob.objects.create(operation_id=operation.pk, number=1, started_at=clock.now())
    OperationTag.objects.create(operation_id=operation.pk, name="tag")
    page = page_of(Operation.all_objects.get(pk=operation.pk)).replace("change", "delete")
    refused = state in ("running", "stuck")
    if refused:
        assert "cannot be deleted" in text(boss.get(page, follow=True))
        assert "delete/" not in text(boss.get(page.replace("delete", "change")))
        assert "cannot be deleted" in text(boss.post(page, {"post": "yes"}, follow=True))
    else:
        assert "Are you sure" in text(boss.get(page))
        assert boss.post(page, {"post": "yes"}).status_code == 302
    rows = [Operation.all_objects, Note.all_objects, LongNote.all_objects]
    assert {manager.count() for manager in rows} == {1 if refused else 0}
    assert {OperationJob.objects.count(), OperationTag.objects.count()} == {1 if refused else 0}


def test_deleting_many_leaves_the_running_ones(boss: Client) -> None:
    running, *rest = [in_state(state) for state in ("running", "due", "failed")]
    chosen = {"action": "delete_selected", "_selected_action": [running.pk]}
    assert "is left alone" in text(boss.post(LIST, chosen, follow=True))
    chosen["_selected_action"] += [row.pk for row in rest]
    page = text(boss.post(LIST, chosen))
    assert "Are you sure" in page and "is left alone" in page
    page = text(boss.post(LIST, chosen | {"post": "yes"}, follow=True))
    assert "Successfully deleted 2 operations" in page
    assert Operation.all_objects.get().pk == running.pk
    assert LogEntry.objects.count() == 2


def test_claimed_while_it_is_deleted(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = in_state("due")
    hold = guard.hold_deletable

    def claimed_first(ids: Any, alias: str) -> None:
        put(operation, started_run_at=clock.now())
        hold(ids, alias)

    monkeypatch.setattr(guard, "hold_deletable", claimed_first)
    page = page_of(operation).replace("change", "delete")
    assert "cannot be deleted" in text(boss.post(page, {"post": "yes"}, follow=True))
    chosen = {"action": "delete_selected", "_selected_action": operation.pk, "post": "yes"}
    put(operation, started_run_at=None)
    assert "cannot be deleted" in text(boss.post(LIST, chosen, follow=True))
    assert Operation.all_objects.count() == 1
    assert not LogEntry.objects.exists()


def test_a_refusal_of_the_database_is_a_message(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise IntegrityError("still referenced")

    monkeypatch.setattr(guard, "hold_deletable", refuse)
    page = page_of(in_state("due")).replace("change", "delete")
    assert "still referenced" in text(boss.post(page, {"post": "yes"}, follow=True))
    assert Operation.all_objects.count() == 1


def test_a_user_is_deleted_with_his_operations(boss: Client) -> None:
    user = User.objects.create_user("ann")
    operation = in_state("failed", RankUp, user=user)
    OperationJob.objects.create(operation_id=operation.pk, number=1, started_at=clock.now())
    page = f"/kinds/auth/user/{user.pk}/delete/"
    assert "Are you sure" in text(boss.get(page))
    assert boss.post(page, {"post": "yes"}).status_code == 302
    assert not Operation.all_objects.exists() and not OperationJob.objects.exists()


# Who may


def test_without_permission_nothing_opens(staff: Callable[..., Client]) -> None:
    client, report = staff("view_user"), in_state("due", Report)
    base = Operation.all_objects.get()
    jobs = "/kinds/operator_app/operationjob/"
    for page in (LIST, page_of(base), jobs, "/kinds/kinds/report/", page_of(report)):
        assert client.get(page).status_code == 403


def test_viewing_is_not_changing(staff: Callable[..., Client]) -> None:
    client, report = staff("view_operation", "view_report"), in_state("due", Report, title="old")
    base = Operation.all_objects.get()
    text(client.get(LIST))
    for row in (base, report):
        page = text(client.get(page_of(row)))
        assert 'name="_save"' not in page and "delete/" not in page
        assert client.post(page_of(row), form(row, title="new")).status_code == 403
        assert (
            client.post(page_of(row).replace("change", "delete"), {"post": "y"}).status_code == 403
        )
    chosen = {"action": "delete_selected", "_selected_action": report.pk, "post": "yes"}
    client.post(LIST, chosen)
    assert client.get("/kinds/kinds/report/add/").status_code == 403
    report.refresh_from_db()
    assert report.title == "old"


def test_changing_needs_no_permission_for_the_parts(staff: Callable[..., Client]) -> None:
    client = staff("change_report", "delete_report", "delete_operation")
    report = in_state("due", Report)
    OperationJob.objects.create(operation_id=report.pk, number=1, started_at=clock.now())
    assert client.post(page_of(report), form(report, title="new")).status_code == 302
    page = page_of(report).replace("change", "delete")
    assert client.post(page, {"post": "yes"}).status_code == 302
    assert not Operation.all_objects.exists()


def test_fields_and_attempts_are_shown_to_those_who_may(staff: Callable[..., Client]) -> None:
    report = in_state("failed", Report, title="confidential")
    OperationJob.objects.create(
        operation_id=report.pk, number=1, started_at=clock.now(), traceback="secret"
    )
    page = page_of(Operation.all_objects.get())
    shown = text(staff("view_operation").get(page))
    assert "confidential" in shown and "secret" not in shown  # That permission is for all kinds.
    assert "confidential" not in staff("view_note").get(page, follow=True).content.decode()
    shown = text(staff("view_report", "view_operationjob").get(page))
    assert "confidential" in shown and "secret" in shown


def test_jobs_and_operators_are_only_read(boss: Client) -> None:
    operation = in_state("running", Scripted)
    job = OperationJob.objects.create(
        operation_id=operation.pk, number=1, started_at=clock.now(), traceback="T"
    )
    for row in (job, operation.operator):
        page = text(boss.get(page_of(row)))
        assert 'name="_save"' not in page and "delete/" not in page
        assert boss.post(page_of(row), {"message": "x"}).status_code == 403
        for verb in ("delete", "add"):
            address = page_of(row).replace(f"{row.pk}/change", f"{row.pk}/{verb}")
            address = address.replace(f"{row.pk}/add", "add")
            assert boss.post(address, {"post": "yes"}).status_code == 403
    assert OperationJob.objects.exists()
