"""What programs may ask."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import path

from operator_app import clock
from operator_app.models import Operation, OperatorProcess, Pause
from operator_app.testing import run_due
from operator_app.urls import urlpatterns as ours
from tests.kinds.models import Note, Scripted
from tests.models.conftest import make_operator, operator
from tests.models.tools import HOUR, write

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
        ],
    )
    @pytest.mark.parametrize("page", ["/operations.json", "/failed.json"])
    def test_what_is_refused(
        self, ask: Any, page: str, query: dict[str, str], problem: str
    ) -> None:
        if page == "/failed.json" and "state" in query:
            pytest.skip("the state is given there")
        assert problem in ask(page, 400, **query)["error"]

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
        Scripted.forget()

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
        assert Operation.objects.failed().count() == 3
        Scripted.forget()
