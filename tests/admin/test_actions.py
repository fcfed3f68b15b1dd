"""What people do to operations from the list and from the page: cancel, abort, run now, retry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from operator_app import clock
from operator_app.models import Operation
from tests.admin.conftest import STATES, in_state, put
from tests.admin.test_pages import LIST, page_of, text
from tests.kinds.models import Report, Sweep

pytestmark = pytest.mark.django_db

ACTIONS = [
    "run_selected_now",
    "cancel_selected",
    "abort_selected",
    "retry_selected",
    "release_selected",
]
BUTTONS = {
    "scheduled": {"run_selected_now", "cancel_selected"},
    "due": {"cancel_selected"},
    "running": {"abort_selected"},
    "stuck": {"abort_selected", "release_selected"},
    "finished": set(),
    "failed": {"retry_selected"},
    "cancelled": {"retry_selected"},
}


def choose(action: str, *operations: Operation, **more: Any) -> dict[str, Any]:
    """What the form of a list posts."""
    ids = [operation.pk for operation in operations]
    return {"action": action, "index": 0, "_selected_action": ids, **more}


def sure(action: str, *operations: Operation, **more: Any) -> dict[str, Any]:
    """What the page posts that asks whether that is meant."""
    posted = choose(action, *operations, _confirmed=1, **more)
    del posted["index"]
    return posted


def said(response: Any) -> list[str]:
    """The messages, each with its level."""
    assert response.status_code == 200, response
    return [f"{message.level_tag}: {message}" for message in response.context["messages"]]


def base(operation: Operation) -> Operation:
    return Operation.all_objects.get(pk=operation.pk)


def everything() -> dict[str, Operation]:
    return {state: in_state(state, Report) for state in STATES}


def after(made: dict[str, Operation]) -> dict[str, str]:
    return {state: base(operation).state for state, operation in made.items()}


@pytest.mark.parametrize("address", [LIST, "/kinds/kinds/report/"])
def test_abort(boss: Client, address: str) -> None:
    made = everything()
    page = boss.post(address, sure("abort_selected", *made.values()), follow=True)
    assert said(page) == [
        "success: 2 operations were asked to abort.",
        "warning: 5 operations were not running, or had been asked before.",
    ]
    asked = Operation.all_objects.filter(abort_requested_at__isnull=False)
    assert {row.state for row in asked} == {"running", "stuck"}
    assert {row.reason for row in asked} == {"abort requested by boss in the admin"}
    assert after(made) == {state: state for state in STATES}
    page = boss.post(address, choose("abort_selected", made["running"]), follow=True)
    assert said(page) == ["warning: 1 operation was not running, or had been asked before."]


@pytest.mark.parametrize("address", [LIST, "/kinds/kinds/report/"])
def test_cancel(boss: Client, address: str) -> None:
    made = everything()
    page = boss.post(address, sure("cancel_selected", *made.values()), follow=True)
    assert said(page) == [
        "success: 2 operations were cancelled.",
        "warning: 5 operations were left alone: they were not pending any more.",
    ]
    gone = {"scheduled": "cancelled", "due": "cancelled"}
    assert after(made) == {state: gone.get(state, state) for state in STATES}
    assert base(made["due"]).reason == "cancelled by boss in the admin"


def test_run_now(boss: Client) -> None:
    made = everything()
    page = boss.post(LIST, sure("run_selected_now", *made.values()), follow=True)
    assert said(page) == [
        "success: 1 operation is due now.",
        "warning: 6 operations were left alone: they were not waiting for a later time.",
    ]
    assert after(made) == {state: state for state in STATES} | {"scheduled": "due"}


def test_retry(boss: Client) -> None:
    made = everything()
    taken = put(in_state("failed", Report), unique_key="k")
    Report.schedule(timedelta(1), unique_key="k")
    page = boss.post(LIST, sure("retry_selected", *made.values(), taken), follow=True)
    assert said(page) == [
        "success: 2 operations begin anew.",
        "warning: 1 operation was left alone: another one with its unique key has not ended.",
        "warning: 5 operations were left alone: they had neither failed nor been cancelled.",
    ]
    anew = {"failed": "due", "cancelled": "due"}
    assert after(made) == {state: anew.get(state, state) for state in STATES}
    assert base(taken).state == "failed"


def test_what_has_left_the_filter_meanwhile(boss: Client) -> None:
    """It has ended between the look at the list and the click."""
    note = in_state("finished")
    page = boss.post(f"{LIST}?state=running", choose("abort_selected", note), follow=True)
    assert said(page) == ["warning: Nothing was changed."]


@pytest.mark.parametrize("state", STATES)
def test_buttons_of_a_page(boss: Client, state: str) -> None:
    operation = in_state(state, Report)
    for row in (operation, base(operation)):
        page = text(boss.get(page_of(row)))
        assert {action for action in ACTIONS if f'value="{action}"' in page} == BUTTONS[state]
    if state == "running":
        put(operation, abort_requested_at=clock.now())
        assert "abort_selected" not in text(boss.get(page_of(operation)))


def test_a_button_leads_back_to_the_page(boss: Client) -> None:
    operation = in_state("running", Report)
    for row in (base(operation), operation):
        put(operation, abort_requested_at=None, reason="")
        address = page_of(row).replace(f"{row.pk}/change/", "")
        button = choose("abort_selected", row, _from_page=1)
        response = boss.post(address, button, follow=True)
        assert response.redirect_chain == [(page_of(row), 302)]
        assert said(response) == ["success: 1 operation was asked to abort."]
        assert "abort requested by boss in the admin" in text(response)


def test_a_button_that_comes_too_late(boss: Client) -> None:
    operation = put(in_state("running", Report), finished_run_at=clock.now())
    button = choose("abort_selected", operation, _from_page=1)
    response = boss.post("/kinds/kinds/report/", button, follow=True)
    assert said(response) == ["warning: 1 operation was not running, or had been asked before."]
    assert base(operation).abort_requested_at is None


def test_a_page_posts_what_its_button_says(boss: Client, settings: Any) -> None:
    """As a browser would: the fields of the form, whatever the numbers look like."""
    settings.USE_THOUSAND_SEPARATOR = True
    Operation.all_objects.filter(pk=Sweep.dispatch().pk).update(id=12_345)
    page = text(boss.get(page_of(Operation.all_objects.get())))
    form = page.partition('<form class="operator-verb"')[2].partition("</form>")[0]
    assert f'action="{LIST}"' in form and "csrfmiddlewaretoken" in form
    assert 'name="_selected_action" value="12345"' in form
    assert 'name="index" value="0"' in form and 'name="_from_page"' in form
