"""Each page of the admin is opened, in light and dark, on a desk and on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser import look
from tests.browser.conftest import Open
from tests.browser.csp import POLICY
from tests.browser.pages import REFUSED, Place, places

PLACES = list(places())
UNTOUCHED = {"delete", "history"}
VIEWS = [(place, look.DESKTOP) for place in PLACES]
# Django's own pages of deletion and history have nothing of ours that could be too wide.
VIEWS += [(place, look.PHONE) for place in PLACES if not UNTOUCHED & {*place.name.split("-")}]


@pytest.mark.parametrize(
    ("place", "width"), VIEWS, ids=[f"{place.name}-{width}" for place, width in VIEWS]
)
def test_a_page(open_as: Open, place: Place, width: int) -> None:
    page = open_as(width=width)
    if not place.is_djangos:
        asked = page.request.get(place.address())
        if asked.status == 405:
            # Buttons lead there; it is no page.
            assert "GET" not in asked.headers["allow"]
            return
        if asked.ok and "<html" not in asked.text():
            return  # A part of a page, which a script puts into it.
    response = page.goto(place.address())
    assert response is not None
    assert response.status == (403 if place.view in REFUSED else 200)
    if response.status == 403:
        return
    assert response.headers["content-security-policy"] == POLICY
    found = look.examine(page, place.name, width)
    assert not found, "\n".join(found)


def test_there_are_operations_of_ten_kinds_in_every_state(filled: None) -> None:
    from operator_app.models import Operation
    from tests.browser.filling import ROWS
    from tests.browser.pages import STATES

    rows = Operation.all_objects.order_by()
    assert rows.count() >= ROWS  # Other tests add a few.
    assert len(rows.values("kind").distinct()) >= 10
    for state in STATES:
        assert getattr(rows, state)().exists(), state


SWITCHED = [
    place
    for place in PLACES
    if place.name
    in ("index", "operation-changelist", "operation-change-failed", "recurrence-change-first")
]


@pytest.mark.parametrize("place", SWITCHED, ids=[place.name for place in SWITCHED])
def test_the_admins_switch_gives_the_same_dark_as_the_system(page: Page, place: Place) -> None:
    page.goto(place.address())
    looks = """() => [...document.querySelectorAll("body, body *")].filter(
        each => each.checkVisibility()).map(each => {
        const style = getComputedStyle(each);
        return [each.tagName, each.className, style.color, style.backgroundColor];
    }).filter(each => !each[1].toString().includes("theme-"))"""
    look.dress(page, "light")
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark' }")
    look.settle(page)
    switched = page.evaluate(looks)
    page.evaluate("() => { document.documentElement.dataset.theme = 'auto' }")
    look.settle(page)
    assert page.evaluate(looks) != switched
    look.dress(page, "dark")
    assert page.evaluate(looks) == switched
