"""What every test gets: a header that names the ground it stands on, and the fixtures."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.contrib.contenttypes.models import ContentType

from tests.databases import Found, probe
from tests.leftovers import started
from tests.processes import start_operator, zygote
from tests.spread import spread

__all__ = ["start_operator", "started", "zygote"]

# They need Chromium and another project: `make browser` names them.
collect_ignore = ["browser"]


@pytest.fixture(autouse=True)
def _fresh_content_types() -> Iterator[None]:
    """Forget content types with the test that made them: a rollback lets SQLite use their ids
    again, and Django would remember the old names for them.
    """
    yield
    ContentType.objects.clear_cache()


def pytest_report_header(config: pytest.Config) -> str:
    name = os.environ.get("OPERATOR_TEST_DATABASE") or "sqlite"
    database = probe(name)
    server = database.server if isinstance(database, Found) else database.why
    return (
        f"database: {name} ({server}), slot {os.environ.get('OPERATOR_TEST_SLOT', '-')}; "
        f"Python {platform.python_version()}, Django {django.get_version()}"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "start_operator" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.process)
    here = os.environ.get("OPERATOR_TEST_DATABASE") or "sqlite"
    spread(items, here, (os.environ.get("OPERATOR_TEST_SPREAD") or "").split(","))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell `tests.run` how many tests ended how, as pytest itself counts them."""
    if path := os.environ.get("OPERATOR_TEST_COUNTS"):
        count = {name: len(reports) for name, reports in terminalreporter.stats.items()}
        counts = {
            "passed": count.get("passed", 0) + count.get("xpassed", 0),
            "failed": count.get("failed", 0) + count.get("error", 0),
            "skipped": count.get("skipped", 0) + count.get("xfailed", 0),
        }
        Path(path).write_text(json.dumps(counts))
