"""Where the browser is. It is the system's: none is downloaded."""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find() -> str | None:
    """Return the path of Chromium: what CHROMIUM says, or the first that is on the PATH."""
    wanted = os.environ.get("CHROMIUM")
    for name in [wanted] if wanted else NAMES:
        if found := shutil.which(name):
            return found
    return None


MISSING = (
    "No Chromium was found, so no page can be looked at. Install the Debian package `chromium`, "
    "or name the program of one in the environment: CHROMIUM=/path/to/it."
)
