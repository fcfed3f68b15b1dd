"""Looks at the pages of the admin with a browser: `python -m tests.browser [arguments for pytest]`.

On SQLite; environment, besides that of `tests.run`:

    CHROMIUM                the browser's program, if it is not on the PATH
    OPERATOR_BROWSER_ROWS   how many operations there are (100000)
    OPERATOR_TEST_DATABASE  another database: postgresql, mariadb or mysql

What was seen is in `build/browser`, a picture for each page, theme and width.
"""

from __future__ import annotations

import os
import sys

from tests import run
from tests.browser import chromium


def main(arguments: list[str]) -> int:
    """Run the tests of this folder; 1 if there is no browser to run them with."""
    if chromium.find() is None:
        print(chromium.MISSING, file=sys.stderr)
        return 1
    database = os.environ.setdefault("OPERATOR_TEST_DATABASE", "sqlite")
    os.environ |= {
        "OPERATOR_TEST_REQUIRE": database,
        "DJANGO_SETTINGS_MODULE": "tests.browser.settings",
    }
    os.environ.setdefault("OPERATOR_TEST_WORKERS", str(os.cpu_count() or 1))
    paths = [each for each in arguments if each.startswith("tests/")]
    return run.main([*([] if paths else ["tests/browser"]), *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
