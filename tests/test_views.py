"""What programs may ask."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import PurePath
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db.models.signals import post_init
from django.test import Client
from django.urls import path

from operator_app import clock, views
from operator_app.models import Operation, OperationJob, OperatorProcess, Pause
from operator_app.testing import run_due
from operator_app.urls import urlpatterns as ours
from tests.kinds.models import Mailing, Note, Scripted
from tests.models.conftest import make_operator, operator
from tests.models.tools import HOUR, queries, write

__all__ = ["make_operator", "operator"]

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.test_views")]

urlpatterns = [*ours, path("elsewhere", lambda request: None)]

TOKEN = "a-token-of-at-least-twenty-characters"
PAGES = ["/health", "/stats.json", "/operations.json", "/operations/1.json", "/failed.json"]


@pytest.fixture(autouse=True)
def _token(settings: Any) -> None:
    settings.OPERATOR = settings.OPERATOR | {"API_TOKEN": TOKEN}


@pytest.fixture
def ask() -> Any:
    client = Client(headers={"Authorization": f"Bearer {TOKEN}"})

    def ask(page: str, status: int = 200, **query: Any) -> Any:
        answer = client.get(page, query)
        assert answer.status_code == status, answer.content
        assert "no-store" in answer["Cache-Control"]
        return answer.json()

    return ask


@pytest.mark.parametrize("page", PAGES)
class TestDoor:
    """Who is let in."""

    def test_nobody(self, page: str) -> None:
        answer = Client().get(page)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize(
        "header", ["Bearer wrong", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer é"]
    )
    def test_a_wrong_token(self, page: str, header: str) -> None:
        client = Client(HTTP_AUTHORIZATION=header)
        assert client.get(page).status_code == 401

    def test_without_a_token_in_the_settings(self, page: str, settings: Any) -> None:
        """Nothing lets in, an empty token least of all."""
        settings.OPERATOR = {**settings.OPERATOR, "API_TOKEN": ""}
        for header in ("Bearer ", "Bearer", f"Bearer {TOKEN}"):
            assert Client(HTTP_AUTHORIZATION=header).get(page).status_code == 401

    @pytest.mark.parametrize(
        ("facts", "status"),
        [
            ({}, 403),
            ({"is_staff": True}, 403),
            ({"is_superuser": True}, 403),
            ({"is_staff": True, "is_superuser": True}, 0),
        ],
    )
    def test_users(self, page: str, facts: dict[str, bool], status: int) -> None:
        client = Client()
        client.force_login(get_user_model().objects.create(username="ann", **facts))
        found = client.get(page).status_code
        assert found == status if status else found not in (401, 403)

    def test_staff_who_may_view(self, page: str) -> None:
        user = get_user_model().objects.create(username="ann", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_operation"))
        client = Client()
        client.force_login(user)
        assert client.get(page).status_code not in (401, 403)

    def test_they_only_read(self, page: str) -> None:
        client = Client(HTTP_AUTHORIZATION=f"Bearer {TOKEN}")
        for verb in (client.post, client.put, client.delete):
            assert verb(page).status_code == 405


class TestWhoMaySeeAttempts:
    """What attempts have left behind is for those who may view them in the admin."""

    SECRETS = ("hush-4711", "hush.Error", "last attempt")

    @pytest.fixture
    def read(self) -> Any:
        """Asks as a member of the staff with these permissions, by codename."""

        def read(page: str, *codenames: str) -> Any:
            user = get_user_model().objects.create(username=f"with {codenames}", is_staff=True)
            user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
            client = Client()
            client.force_login(user)
            answer = client.get(page)
            assert answer.status_code == 200
            return answer.json()

        return read

    @pytest.mark.parametrize("ended", [True, False])
    def test_one(self, read: Any, ask: Any, ended: bool) -> None:
        page = f"/operations/{tried(ended=ended).pk}.json"
        less = read(page, "view_operation")
        assert "attempts" not in less
        assert not [secret for secret in self.SECRETS if secret in str(less)]
        assert less["timeline"] and (less["explanation"] or ended)
        for more in (
            read(page, "view_operation", "view_operationjob"),
            read(page, "view_operation", "change_operationjob"),
            ask(page),
        ):
            assert more["attempts"][0]["message"] == "hush-4711"
            assert "hush-4711" in str(more["timeline"])

    def test_failed(self, read: Any, ask: Any) -> None:
        tried(ended=True)
        page = "/failed.json"
        with queries() as made:
            (less,) = read(page, "view_operation")["operations"]
        assert "error" not in less and less["state"] == "failed"
        assert not [sql for sql in made if "operator_app_operationjob" in sql]
        (more,) = read(page, "view_operation", "view_operationjob")["operations"]
        assert more["error"]["message"] == "hush-4711" and more["error"]["traceback"] == "hush"
        assert ask(page)["operations"] == [more]


def tried(*, ended: bool) -> Operation:
    """An operation of which an attempt has gone wrong; it waits for the next one, or has failed."""
    note, now = Note.dispatch(), clock.now()
    OperationJob.objects.create(
        operation_id=note.pk,
        number=1,
        started_at=now - HOUR,
        ended_at=now,
        outcome="failed" if ended else "retried",
        exception_class="hush.Error",
        message="hush-4711",
        traceback="hush",
    )
    values: dict[str, Any] = {"attempts": 1, "failures": 1}
    if ended:
        values |= {"started_run_at": now - HOUR, "failed_run_at": now}
    write(note, **values)
    return note


class TestHealth:
    """200 or 503."""

    def test_nobody_lives(self, ask: Any) -> None:
        answer = ask("/health", 503)
        assert answer == {
            "healthy": False,
            "operators": 0,
            "late": None,
            "problem": "No operator lives.",
        }

    def test_somebody_lives(self, ask: Any, operator: OperatorProcess) -> None:
        Note.schedule(HOUR)
        assert ask("/health") == {"healthy": True, "operators": 1, "late": None, "problem": ""}

    def test_late(self, ask: Any, operator: OperatorProcess) -> None:
        Note.schedule(clock.now() - timedelta(seconds=200))
        assert 199 < ask("/health")["late"] < 230
        Note.schedule(clock.now() - timedelta(seconds=400))
        answer = ask("/health", 503)
        assert "has been due for" in answer["problem"] and "the limit is 5 min" in answer["problem"]

    def test_what_is_paused_is_not_late(self, ask: Any, operator: OperatorProcess) -> None:
        Note.schedule(clock.now() - timedelta(days=2))
        Pause.objects.pause(kind=Note)
        assert ask("/health")["late"] is None

    def test_one_that_is_about_to_leave(self, ask: Any, operator: OperatorProcess) -> None:
        OperatorProcess.objects.update(draining=True)
        ask("/health", 503)


def test_stats(ask: Any, operator: OperatorProcess) -> None:
    Note.dispatch(queue="mail")
    found = ask("/stats.json")
    assert found["states"]["due"] == {"count": 1, "is_more": False}
    assert [queue["name"] for queue in found["queues"]] == ["mail"]
    assert [each["name"] for each in found["operators"]] == [str(operator)]


class TestOperations:
    """Lists."""

    def test_filters_and_pages(self, ask: Any) -> None:
        ids = [Note.dispatch(queue="a" if n % 2 else "b").pk for n in range(5)][::-1]
        answer = ask("/operations.json", limit=2)
        assert [each["id"] for each in answer["operations"]] == ids[:2]
        assert answer["before"] == ids[1]
        answer = ask("/operations.json", before=ids[1])
        assert [each["id"] for each in answer["operations"]] == ids[2:]
        assert answer["before"] is None
        assert len(ask("/operations.json", queue="a", state="due")["operations"]) == 2
        assert ask("/operations.json", kind="kinds.Sweep")["operations"] == []

    @pytest.mark.parametrize(
        ("query", "problem"),
        [
            ({"limit": "0"}, "limit must be a whole number of at least 1, not '0'."),
            ({"before": "x"}, "before must be a whole number"),
            ({"limit": "9" * 30}, "limit must be a whole number"),
            ({"state": "done"}, "There is no state 'done'"),
            ({"kind": "kinds.Nothing"}, "There is no model 'kinds.Nothing'"),
            ({"operator": "x"}, "An operator is named as HOST:PID"),
            ({"ended_after": "soon"}, "ended_after is a moment as 2026-12-24T18:00, not 'soon'."),
            ({"due_before": "2026-02-30T12:00"}, "due_before 2026-02-30T12:00: "),
        ],
    )
    @pytest.mark.parametrize("page", ["/operations.json", "/failed.json"])
    def test_what_is_refused(
        self, ask: Any, page: str, query: dict[str, str], problem: str
    ) -> None:
        if page == "/failed.json" and "state" in query:
            pytest.skip("the state is given there")
        assert problem in ask(page, 400, **query)["error"]

    def test_times(self, ask: Any) -> None:
        """From when on, and until when; in any zone, or on the project's clock."""
        now = clock.now()
        ids = [Note.schedule(hours * HOUR).pk for hours in (1, 2, 3)]
        write(Note.objects.get(pk=ids[0]), cancelled_at=now - 2 * HOUR)
        write(Note.objects.get(pk=ids[2]), created_at=now - 9 * HOUR)

        def found(**query: Any) -> list[int]:
            return [each["id"] for each in ask("/operations.json", **query)["operations"]][::-1]

        soon = (now + 1.5 * HOUR).isoformat()
        assert found(due_after=soon) == ids[1:]
        assert found(due_before=soon) == ids[:1]
        assert found(due_after=soon, due_before=(now + 2.5 * HOUR).isoformat()) == [ids[1]]
        assert found(created_before=(now - HOUR).isoformat()) == [ids[2]]
        assert found(created_after=(now - HOUR).isoformat()) == ids[:2]
        assert found(ended_after=(now - HOUR).isoformat()) == []
        ago = clock.local(now - 3 * HOUR)
        assert found(ended_after=f"{ago:%Y-%m-%dT%H:%M}") == ids[:1]
        assert found(ended_before=f"{ago:%Y-%m-%d}", ended_after="2020-01-01") == []
        # A "+" that was not encoded arrives as a space.
        assert ask(f"/operations.json?ended_after={ago.isoformat()}")["operations"]
        assert found(due_after="") == ids

    def test_the_cost(self, ask: Any, django_assert_max_num_queries: Any) -> None:
        for _ in range(60):
            Note.dispatch()
        with django_assert_max_num_queries(1):
            assert len(ask("/operations.json")["operations"]) == 50
        assert len(ask("/operations.json", limit=1000)["operations"]) == 60


class TestOperation:
    """One."""

    def test_all_of_it(self, ask: Any) -> None:
        Scripted.does("fail", lambda operation: 1 / 0)
        operation = Scripted.dispatch(script="fail")
        run_due()
        answer = ask(f"/operations/{operation.pk}.json")
        assert (answer["kind"], answer["fields"]) == ("kinds.Scripted", {"script": "fail"})
        (attempt,) = answer["attempts"]
        assert (attempt["number"], attempt["outcome"]) == (1, "retried")
        assert attempt["exception_class"] == "ZeroDivisionError"
        assert answer["explanation"][0]["code"] == "scheduled"
        codes = [event["code"] for event in answer["timeline"]]
        assert codes == ["created", "claimed", "retried", "due"]
        assert answer["timeline"][2]["claim"] == 1 and answer["timeline"][3]["is_ahead"]
        Scripted.forget()

    def test_values_that_json_has_no_word_for(
        self, ask: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Told as a text: a column may hold anything."""
        values = {"raw": b"\x01", "path": PurePath("a/b"), "at": date(2026, 1, 2)}
        monkeypatch.setattr(views, "own_columns", lambda operation: values)
        note = Note.dispatch()
        fields = ask(f"/operations/{note.pk}.json")["fields"]
        assert fields == {"raw": "01", "path": "a/b", "at": "2026-01-02"}

    def test_what_is_sensitive(self, ask: Any) -> None:
        mailing = Mailing.dispatch(token="hush-4711")
        answer = ask(f"/operations/{mailing.pk}.json")
        assert answer["fields"]["token"] == "********"
        assert "hush-4711" not in str(answer)

    def test_none(self, ask: Any) -> None:
        assert ask("/operations/17.json", 404) == {"error": "There is no operation 17."}

    def test_one_that_is_cancelled(self, ask: Any) -> None:
        note = Note.dispatch()
        Note.objects.all().cancel("not wanted")
        assert ask(f"/operations/{note.pk}.json")["state"] == "cancelled"


class TestFailed:
    """For post-mortems."""

    def test_with_the_last_error(self, ask: Any, django_assert_max_num_queries: Any) -> None:
        Note.dispatch()
        Scripted.does("fail", lambda operation: 1 / 0)
        failing = [Scripted.dispatch(script="fail") for _ in range(3)]
        run_due()
        for each in failing:
            write(each, failed_run_at=clock.now())
        with django_assert_max_num_queries(2):
            found = ask("/failed.json")["operations"]
        assert [each["id"] for each in found] == [each.pk for each in failing][::-1]
        error = found[0]["error"]
        assert error["exception_class"] == "ZeroDivisionError"
        assert "1 / 0" in error["traceback"]
        sort = error["fingerprint"]
        assert len(sort) == 16 and {each["error"]["fingerprint"] for each in found} == {sort}
        assert len(ask("/failed.json", fingerprint=sort)["operations"]) == 3
        assert ask("/failed.json", fingerprint="0" * 16)["operations"] == []
        assert Operation.objects.failed().count() == 3
        Scripted.forget()

    def test_nothing_is_read_that_is_not_told(self, ask: Any) -> None:
        """Of the last error only what is told: what all attempts have logged may be megabytes."""
        note = tried(ended=True)
        for number in (2, 3, 4):
            OperationJob.objects.create(
                operation_id=note.pk,
                number=number,
                started_at=clock.now(),
                exception_class="" if number == 4 else f"app.E{number}",
                log="long",
            )
        write(note, attempts=4)
        read: list[str] = []

        def note_it(sender: Any, instance: OperationJob, **_more: Any) -> None:
            read.append(instance.exception_class)

        post_init.connect(note_it, OperationJob)
        try:
            with queries("SELECT") as made:
                (found,) = ask("/failed.json")["operations"]
        finally:
            post_init.disconnect(note_it, OperationJob)
        assert found["error"]["exception_class"] == "app.E3"
        assert read == ["app.E3"]
        (sql,) = [sql for sql in made if "traceback" in sql]
        selected = sql.partition(" FROM ")[0]
        assert not [name for name in ("log", "stack", "meta") if name in selected]
