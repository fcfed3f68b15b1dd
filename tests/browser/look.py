"""What a browser has to say about a page: complaints, overflow, accessibility; and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import axe_playwright_python
from playwright.sync_api import ConsoleMessage, Page, Request, Response

from tests.databases import ROOT

PICTURES: Final = ROOT / "build" / "browser"
DESKTOP: Final = 1280
PHONE: Final = 390
HEIGHTS: Final = {DESKTOP: 900, PHONE: 844}
"""Pixels, by width."""
THEMES: Final = ("light", "dark")
AXE: Final = Path(axe_playwright_python.__file__).parent / "axe.min.js"
RULES: Final = {
    "resultTypes": ["violations"],
    "preload": False,  # It copies style sheets into the page, which the policy forbids.
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
LIKE_OTHERS: Final = "#result_list tbody tr:nth-child(n+16)"
"""Rows that axe-core leaves out: it takes its time, and a list has them all made alike."""
TALLEST: Final = 2400
"""Pixels of a picture."""
WATCH_POLICY: Final = """
document.addEventListener("securitypolicyviolation", event => console.error(
    `against the policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


class Allowed(NamedTuple):
    """A finding that is Django's own, and not in our hands."""

    rule: str
    selector: str
    why: str


ALLOWED: Final = [
    Allowed(
        "link-in-text-block",
        ".breadcrumbs a",
        "Django's way home tells links from text by their colour; its style is the site's.",
    ),
    Allowed(
        "label-title-only",
        "#searchbar",
        "Django labels the search box with a picture of a lens, and describes it in words below.",
    ),
    Allowed(
        "link-in-text-block",
        "#changelist-search .quiet a",
        "Django's link back to all rows stands in brackets beside their number.",
    ),
    Allowed(
        "target-size",
        ".operator-cell",
        "A strip of results is a picture, too; its page has the same links one below the other.",
    ),
    Allowed(
        "aria-input-field-name",
        ".select2-selection, .select2-selection__rendered",
        "Select2, with which Django completes foreign keys, has its label on the hidden select.",
    ),
]


class Complaints(list[str]):
    """What the browser finds fault with while a page is open: scripts, requests, the policy."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        page.add_init_script(WATCH_POLICY)
        # No page asks for it: Chromium does, of every site.
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.append(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.text.startswith("Failed to load resource"):
            return  # `_response` tells it better.
        if message.type in ("error", "warning"):
            self.append(f"console: {message.text} {message.location.get('url', '')}")

    def _failed(self, request: Request) -> None:
        self.append(f"no answer: {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.append(f"answer {response.status}: {response.url}")


def dress(page: Page, theme: str) -> None:
    """Let the page be light or dark, as the system has it, at once."""
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    settle(page)


def settle(page: Page) -> None:
    """End what moves: colours on their way to others may have too little contrast."""
    page.evaluate(
        """() => document.getAnimations().forEach(each => {
            try { each.finish(); } catch { each.cancel(); }  // One without an end has none.
        })"""
    )


def overflow(page: Page) -> list[str]:
    """Return what sticks out of the page to the right, if the page can be scrolled there."""
    found: list[str] = page.evaluate(
        """() => {
            const root = document.documentElement, width = root.clientWidth;
            if (root.scrollWidth <= width) return [];
            const out = [...document.body.querySelectorAll("*")].filter(
                each => each.getBoundingClientRect().right > width + 1);
            return [`${root.scrollWidth} > ${width}`].concat(
                out.slice(0, 8).map(each => each.outerHTML.slice(0, 120)));
        }"""
    )
    return found


def inaccessible(page: Page) -> list[str]:
    """Return the serious and critical findings of axe-core, but for what is `ALLOWED`."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())
    context = {"exclude": [LIKE_OTHERS]}
    asked = {"context": context, "rules": RULES}
    result: dict[str, Any] = page.evaluate("asked => axe.run(asked.context, asked.rules)", asked)
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]} {_advice(node)}"
        for each in result["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
        if not _is_allowed(page, each["id"], node["target"])
    ]


def _advice(node: dict[str, Any]) -> str:
    checks = [*node["any"], *node["all"], *node["none"]]
    return json.dumps([check["message"] for check in checks])


def _is_allowed(page: Page, rule: str, target: list[str]) -> bool:
    return any(
        page.evaluate("([at, theirs]) => document.querySelector(at).matches(theirs)", [at, theirs])
        for at in target
        for theirs in (each.selector for each in ALLOWED if each.rule == rule)
    )


def examine(page: Page, name: str, width: int) -> list[str]:
    """Return what is wrong with the page that is open, in both themes; and take pictures."""
    found = []
    for theme in THEMES:
        dress(page, theme)
        if width == DESKTOP or theme == "light":  # Colours do not depend on the width.
            found += [f"{theme}: {each}" for each in inaccessible(page)]
        picture(page, f"{name}-{theme}-{width}")
    return found + [f"sticks out: {each}" for each in overflow(page)]


def picture(page: Page, name: str) -> None:
    """Take a picture of the page, down to `TALLEST`, into `PICTURES`."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    size = page.evaluate("() => [innerWidth, document.documentElement.scrollHeight]")
    page.screenshot(
        path=PICTURES / f"{name}.png",
        full_page=True,
        clip={"x": 0, "y": 0, "width": size[0], "height": min(size[1], TALLEST)},
    )
