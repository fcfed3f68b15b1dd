"""Takes the pictures of the documentation anew: `python -m tests.browser.screenshots [name ...]`.

From a database of its own, filled as for the tests; into `docs/images`, as WebP of less than
`MOST` bytes.
"""

from __future__ import annotations

import os
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.browser import chromium
from tests.databases import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES: Final = ROOT / "docs" / "images"
ROWS: Final = 20_000
MOST: Final = 150_000


class Shot(NamedTuple):
    """A picture of the documentation."""

    name: str
    place: str
    """The name of the page: see `tests.browser.pages`."""
    theme: str = "light"
    width: int = 1280
    height: int = 800


SHOTS: Final = [
    Shot("overview", "operation-overview", height=1000),
    Shot("operations", "operation-changelist"),
    Shot("operation", "operation-change-failed", height=1000),
]


def main(names: list[str]) -> int:
    """Take those of these names, or all; 1 if there is no browser."""
    if chromium.find() is None:
        print(chromium.MISSING, file=sys.stderr)
        return 1
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.browser.settings"
    from benchmarks import runs

    with runs.database():
        from tests.browser import filling, stage
        from tests.browser.surroundings import BOSS

        filling.fill(ROWS)
        with stage.serving() as server, stage.browsing() as browser:
            for shot in SHOTS:
                if not names or shot.name in names:
                    context = stage.enter(browser, server, BOSS, shot.width)
                    take(shot, context.new_page())
                    context.close()
    return 0


def take(shot: Shot, page: Page) -> None:
    """Open the page, and write the picture."""
    from tests.browser import look
    from tests.browser.pages import places

    (place,) = (each for each in places() if each.name == shot.place)
    # Without Django's list of all models at the left, there is more to see of the page.
    page.add_init_script("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
    page.set_viewport_size({"width": shot.width, "height": shot.height})
    look.dress(page, shot.theme)
    page.goto(place.address(), wait_until="networkidle")
    path = IMAGES / f"{shot.name}.webp"
    size = write(page.screenshot(animations="disabled"), path)
    print(f"{path.relative_to(ROOT)}: {size:,} bytes")


def write(png: bytes, path: Path) -> int:
    """Write the picture as WebP, as good as it may be within `MOST` bytes; return its size."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    for quality in range(90, 20, -10):
        with Image.open(BytesIO(png)) as image:
            image.convert("RGB").save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size < MOST:
            return path.stat().st_size
    raise ValueError(f"{path} cannot be made smaller than {MOST:,} bytes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
