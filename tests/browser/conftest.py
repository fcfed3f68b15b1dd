"""A server with a full database, and a browser that is logged in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from benchmarks import runs
from tests.browser import filling, look, stage
from tests.browser.surroundings import BOSS

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser."""
    with stage.browsing() as browser:
        yield browser


@pytest.fixture(scope="session")
def filled(
    browser: Browser, django_db_modify_db_settings: None, django_db_blocker
) -> Iterator[None]:
    """The database, once for all tests: each looks at it, or changes rows of its own. Made once the
    browser is there, beside which Django has other connections than without.
    """
    with django_db_blocker.unblock(), runs.database():
        filling.fill()
        yield


@pytest.fixture(scope="session")
def server(filled: None) -> Iterator[str]:
    """The address of a server."""
    with stage.serving() as address:
        yield address


@pytest.fixture
def open_as(browser: Browser, server: str) -> Iterator[Open]:
    """A function that returns an empty page of a user who is logged in; the browser must not
    complain of anything until the test is over.
    """
    contexts: list[BrowserContext] = []
    complaints: list[look.Complaints] = []

    def make(username: str = BOSS, width: int = look.DESKTOP) -> Page:
        contexts.append(stage.enter(browser, server, username, width))
        page = contexts[-1].new_page()
        complaints.append(look.Complaints(page))
        return page

    yield make
    found = [each for several in complaints for each in several]
    for context in contexts:
        context.close()  # which breaks off what pages ask for now and then
    assert not found, "\n".join(found)


@pytest.fixture
def page(open_as: Open) -> Page:
    """An empty page of the superuser, as wide as a desk allows."""
    return open_as()
