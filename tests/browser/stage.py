"""A server, a browser, and somebody who is logged in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test import Client
from django.test.testcases import LiveServerThread
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser import chromium, look

PATIENCE: Final = 15_000
"""Milliseconds for which a test waits for what it expects on a page."""

# Playwright runs an event loop in the main thread, beside which Django would not ask the database.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


@contextmanager
def serving() -> Iterator[str]:
    """Serve the project from this process, with a thread for each request; yield the address."""
    thread = LiveServerThread("127.0.0.1", StaticFilesHandler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    if thread.error is not None:
        raise thread.error
    try:
        yield f"http://127.0.0.1:{thread.port}"
    finally:
        thread.terminate()


@contextmanager
def browsing() -> Iterator[Browser]:
    """Have a browser."""
    path = chromium.find()
    assert path is not None, chromium.MISSING
    with sync_playwright() as playwright:
        # A container has no sandbox for it, and little shared memory.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        yield playwright.chromium.launch(executable_path=path, args=arguments)


def enter(
    browser: Browser, server: str, username: str, width: int, **options: Any
) -> BrowserContext:
    """Return a window of this width in which a user is logged in."""
    context = browser.new_context(
        base_url=server,
        viewport={"width": width, "height": look.HEIGHTS[width]},
        has_touch=width == look.PHONE,
        locale="en-GB",
        **options,
    )
    context.set_default_timeout(PATIENCE)
    client = Client()
    client.force_login(User.objects.get(username=username))
    cookie = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": server}])
    return context
