"""What people do on the pages, with a mouse and without; each time the database is asked after."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from example_project.shop.models import ComputeMargin, FetchRate, UpdateStock
from operator_app import clock
from operator_app.models import Operation, OperationTag
from tests.browser import look
from tests.browser.conftest import Open
from tests.browser.surroundings import VIEWER

LIST = "/admin/operator_app/operation/"


def page_of(row: Any) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


def written(operation: Operation) -> Any:
    return type(operation).all_objects.get(pk=operation.pk)


def failed() -> Operation:
    """An operation of this test's own, that has failed."""
    operation = FetchRate.dispatch(currency="SEK")
    now = clock.now()
    Operation.all_objects.filter(pk=operation.pk).update(
        started_run_at=now, failed_run_at=now, attempts=3, failures=3, reason="PartnerDown"
    )
    return written(operation)


def ids(page: Page) -> list[int]:
    """The operations that a list shows."""
    boxes = page.locator("#result_list input[name=_selected_action]")
    return [int(box.get_attribute("value") or 0) for box in boxes.all()]


def follow(page: Page, selector: str) -> None:
    """Click a link, and wait for where it leads."""
    with page.expect_navigation():
        page.locator(selector).first.click()


def press(page: Page, label: str) -> None:
    """Press the button of an operation's page, and say yes if that is asked."""
    page.get_by_role("button", name=re.compile(label, re.IGNORECASE)).first.click()


def test_lists_are_filtered_by_state_and_kind(page: Page) -> None:
    page.goto(LIST)
    follow(page, 'a[href*="state=failed"]')
    follow(page, 'a[href*="kind=shop.ComputeMargin"]')
    expect(page).to_have_url(re.compile("state=failed"))
    shown = Operation.all_objects.filter(pk__in=ids(page))
    assert {row.state for row in shown} == {"failed"}
    assert {row.kind_label for row in shown} == {"shop.ComputeMargin"}
    newest = Operation.all_objects.failed().of_kind(ComputeMargin).order_by("-pk")
    assert ids(page)[:20] == list(newest.values_list("pk", flat=True)[:20])


def test_a_tag_is_searched_for(page: Page) -> None:
    page.goto(LIST)
    box = page.locator("input[name=q]")
    box.fill("customer:3")
    with page.expect_navigation():
        box.press("Enter")
    expect(page).to_have_url(re.compile("q=customer"))
    tagged = OperationTag.objects.filter(name="customer:3").order_by("-operation_id")
    assert ids(page)[:20] == list(tagged.values_list("operation_id", flat=True)[:20])


def test_a_failed_operation_is_opened_and_retried(page: Page) -> None:
    operation = failed()
    page.goto(f"{LIST}?q={operation.pk}")
    follow(page, "#result_list tbody th a")
    expect(page.locator(".operator-failed").first).to_be_visible()
    press(page, "^retry")
    expect(page.locator(".operator-due").first).to_be_visible()
    row = written(operation)
    assert row.failed_run_at is None and row.failures == 0
    assert row.should_run_at <= clock.now() and row.state == "due"


def test_a_pending_operation_is_rescheduled_in_its_form(page: Page) -> None:
    operation = UpdateStock.schedule(timedelta(days=3), wholesaler="folio")
    page.goto(page_of(operation))
    page.locator("#id_should_run_at_0").fill("2031-05-17")
    page.locator("#id_should_run_at_1").fill("06:30:00")
    page.locator("input[name=_save]").click()
    expect(page.locator(".messagelist .success")).to_be_visible()
    row = written(operation)
    assert f"{row.should_run_at:%Y-%m-%d %H:%M:%S}" == "2031-05-17 06:30:00"
    assert row.state == "scheduled" and row.wholesaler == "folio"


def test_a_new_operation_is_scheduled(page: Page) -> None:
    page.goto("/admin/shop/fetchrate/")
    page.locator(".object-tools .addlink").click()
    page.wait_for_url("**/add/", wait_until="load")  # The form's scripts have done their part.
    page.locator("#id_currency").fill("NOK")
    page.locator("#id_should_run_at_0").fill("2031-05-18")
    expect(page.locator("#id_should_run_at_0")).to_have_value("2031-05-18")
    page.locator("input[name=_save]").click()
    expect(page.locator(".messagelist .success")).to_be_visible()
    made = FetchRate.objects.get(currency="NOK")
    assert f"{made.should_run_at:%Y-%m-%d}" == "2031-05-18" and made.state == "scheduled"
    assert made.queue == "partners"


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until this has the focus."""
    for _ in range(300):
        page.keyboard.press("Tab")
        if page.evaluate("at => !!document.activeElement?.matches(at)", selector):
            return
    pytest.fail(f"no key leads to {selector}")


def test_an_operation_is_cancelled_with_the_keyboard_alone(page: Page) -> None:
    operation = UpdateStock.schedule(timedelta(days=3), wholesaler="folio")
    page.goto(f"{LIST}?q={operation.pk}")
    tab_to(page, "select[name=action]")
    page.keyboard.type("Cancel selected")
    tab_to(page, "input[name=_selected_action]")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist li").first).to_be_visible()
    row = written(operation)
    assert row.cancelled_at is not None and "ada" in row.reason


def agree(page: Page) -> None:
    """Say yes if the page asks whether it is to go on."""
    yes = page.locator("form.operator-question input[type=submit]")
    if yes.count():
        with page.expect_navigation():
            yes.first.click()


@pytest.mark.parametrize("width", [look.DESKTOP, look.PHONE])
def test_all_that_match_are_cancelled(open_as: Open, width: int) -> None:
    queue, page = f"spring cleaning {width}", open_as(width=width)
    FetchRate.schedule_many(
        [
            FetchRate(should_run_at=clock.now() + timedelta(days=1), currency="DKK", queue=queue)
            for _ in range(130)
        ]
    )
    due = FetchRate.dispatch(currency="DKK")
    page.goto(f"{LIST}?queue={queue}&state=scheduled")
    page.locator("#action-toggle").check()
    page.locator(".actions .question a").click()
    page.locator("select[name=action]").select_option("cancel_selected")
    with page.expect_navigation():
        page.locator(".actions button[type=submit]").click()
    found = look.examine(page, "all-that-match", width)
    assert not found, "\n".join(found)
    agree(page)
    expect(page.locator(".messagelist .success")).to_contain_text("130")
    assert FetchRate.all_objects.filter(queue=queue).cancelled().count() == 130
    assert written(due).state == "due"


def test_who_may_only_view_sees_no_button_and_is_refused(open_as: Open) -> None:
    operation = failed()
    page = open_as(VIEWER)
    page.goto(page_of(Operation.all_objects.get(pk=operation.pk)))
    expect(page.locator(".operator-failed").first).to_be_visible()
    mine = page.locator("#content button, #content input[type=submit]")
    assert mine.count() == 0, mine.all_inner_texts()
    page.goto(LIST)
    assert page.locator("select[name=action]").count() == 0
    token = page.locator("input[name=csrfmiddlewaretoken]").first.get_attribute("value") or ""
    answer = page.request.post(
        LIST,
        form={
            "action": "retry_selected",
            "_selected_action": str(operation.pk),
            "index": "0",
            "csrfmiddlewaretoken": token,
        },
        headers={"Referer": page.url},
        max_redirects=0,
    )
    assert answer.status == 403
    assert written(operation).failed_run_at is not None
