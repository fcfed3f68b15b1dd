"""What a page that shows itself anew leaves alone: where a person is, what he has opened, and what
has been said to him.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from example_project.shop.models import FetchRate
from tests.browser import look, stage
from tests.browser.conftest import Open
from tests.browser.surroundings import BOSS
from tests.browser.test_flows import tab_to

OVERVIEW = "/admin/operator_app/operation/overview/"
LIVE = "[data-operator-refresh]"
DUE = f"{LIVE} .operator-cards a[href*='state=due'] strong"


def open_overview(page: Page) -> None:
    page.goto(OVERVIEW)
    expect(page.locator(".operator-refresh [role=status]")).to_have_text("Refreshes itself.")


def ask_again(page: Page) -> None:
    """Let it ask the server now: it does when somebody comes back to its tab."""
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def refreshed(page: Page) -> None:
    """Let something happen that the page has to show, and wait until it does."""
    before = page.locator(DUE).inner_text()
    FetchRate.dispatch(currency="ISK")
    ask_again(page)
    expect(page.locator(DUE)).not_to_have_text(before)


@pytest.fixture
def lenient(browser: Browser, server: str) -> Iterator[Page]:
    """A page that may be given bad answers."""
    context = stage.enter(browser, server, BOSS, look.DESKTOP)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(
    "place",
    [
        ".operator-cards li:nth-child(2) a",
        ".operator-wide[tabindex='0']",
        ".operator-spans a",
        "details.operator-numbers summary",
        "details[open] .operator-scroll[tabindex='0']",
    ],
)
def test_who_is_somewhere_stays_there(page: Page, place: str) -> None:
    open_overview(page)
    if "details[open]" in place:
        page.locator(f"{LIVE} details summary").first.click()
    tab_to(page, f"{LIVE} {place}")
    page.evaluate("document.activeElement.isMine = true")
    for _ in range(2):
        refreshed(page)
        assert page.evaluate("document.activeElement.isMine === true")
        assert page.evaluate("at => document.activeElement.matches(at)", f"{LIVE} {place}")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.isMine === true")


def test_what_is_open_and_scrolled_stays_so(open_as: Open) -> None:
    page = open_as(width=look.PHONE)
    open_overview(page)
    second = page.locator(f"{LIVE} details").nth(1)
    second.locator("summary").click()
    wide = page.locator(f"{LIVE} .operator-wide").first
    wide.evaluate("each => { each.scrollLeft = 40; }")
    refreshed(page)
    assert second.evaluate("each => each.open")
    assert page.locator(f"{LIVE} details[open]").count() == 1
    assert wide.evaluate("each => each.scrollLeft") == 40


def test_a_warning_is_said_once(page: Page) -> None:
    """Something new in an alert is read out, and nothing else: what stays is not touched."""
    warnings: list[str] = []

    def warn(route: Route) -> None:
        items = "".join(f'<li class="error">{each}</li>' for each in warnings)
        body = re.sub(
            r'(<div role="alert">).*?(</div>)',
            rf'\1<ul class="messagelist operator-warnings">{items}</ul>\2',
            route.fetch().text(),
            flags=re.DOTALL,
        )
        route.fulfill(body=body, content_type="text/html")

    page.route(lambda url: url.endswith(OVERVIEW), warn)
    warnings.append("The press is out of ink.")
    open_overview(page)
    expect(page.locator("[role=alert]")).to_contain_text("out of ink")
    page.evaluate(
        """() => {
            window.said = [];
            const isAlert = node =>
                node.matches?.("[role=alert]") || node.querySelector?.("[role=alert]");
            const isSaid = node =>
                (node.closest ? node : node.parentElement).closest("[role=alert]");
            new MutationObserver(found => found.forEach(({target, addedNodes}) => {
                const alerts = [...addedNodes].filter(isAlert);
                (isSaid(target) ? [target] : alerts).forEach(
                    node => window.said.push(node.textContent.trim()));
            })).observe(document, {childList: true, characterData: true, subtree: true});
        }"""
    )
    refreshed(page)
    assert page.evaluate("window.said") == []
    warnings.append("The cutter is blunt.")
    refreshed(page)
    expect(page.locator("[role=alert] li")).to_have_text(warnings)
    assert any("blunt" in each for each in page.evaluate("window.said"))
    del warnings[:]
    refreshed(page)
    expect(page.locator("[role=alert] li")).to_have_count(0)


def test_who_was_on_what_has_gone_is_still_there(lenient: Page) -> None:
    """Not at the start of the page."""
    open_overview(lenient)
    tab_to(lenient, f"{LIVE} .operator-spans a")
    lenient.route(
        lambda url: url.endswith(OVERVIEW),
        lambda route: route.fulfill(body=f"<div {LIVE[1:-1]}='10'><p>Quiet.</p></div>"),
    )
    ask_again(lenient)
    expect(lenient.locator(LIVE)).to_have_text("Quiet.")
    assert lenient.evaluate("at => document.activeElement.matches(at)", LIVE)


@pytest.mark.parametrize("code", [403, 500, 200, 0])
def test_it_says_that_what_it_shows_is_old(lenient: Page, code: int) -> None:
    """With an error, with something else than the page, without an answer; until it is not."""
    status = lenient.locator(".operator-refresh [role=status]")
    warned: list[str] = []
    lenient.on("console", lambda said: warned.append(said.type))
    open_overview(lenient)

    def bad(route: Route) -> None:
        if code:
            route.fulfill(status=code, body="<p>No.</p>", content_type="text/html")
        else:
            route.abort()

    lenient.route(lambda url: url.endswith(OVERVIEW), bad)
    before = lenient.locator(DUE).inner_text()
    lenient.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(status).to_have_text("Could not be refreshed: this is old. It is tried again.")
    assert lenient.locator(DUE).inner_text() == before
    assert "warning" in warned
    lenient.unroute_all()
    refreshed(lenient)
    expect(status).to_have_text("Refreshes itself.")


def test_to_stop_it_is_no_trouble(lenient: Page) -> None:
    page = lenient
    open_overview(page)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator(".operator-refresh button").click()
    status = page.locator(".operator-refresh [role=status]")
    expect(status).to_have_text("Refreshes no more.")
    page.wait_for_timeout(200)
    expect(status).to_have_text("Refreshes no more.")
    page.locator(".operator-refresh button").click()
    expect(status).to_have_text("Refreshes itself.")
