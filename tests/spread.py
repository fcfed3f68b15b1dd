"""Tests that are about runners, and not about databases: each runs on one of those that are used.

They start many processes and wait for much: half of the time of a whole run, and next to nothing
in them depends on the database. Spread over all, each database has its share of them, and the same
in each run. `OPERATOR_TEST_SPREAD=0` runs all of them on all.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import pytest

MODULES: Final = {
    "tests/chaos/test_poison.py",
    "tests/process/test_asked_to_end.py",
    "tests/process/test_async.py",
    "tests/process/test_children.py",
    "tests/process/test_circuits.py",
    "tests/process/test_claim_lost.py",
    "tests/process/test_stopping.py",
    "tests/runners/test_aio.py",
    "tests/runners/test_interrupts.py",
    "tests/runners/test_not_begun.py",
    "tests/runners/test_processes.py",
    "tests/runners/test_quarantine.py",
    "tests/test_stop_things.py",
}
"""They hold nothing that is skipped by database: it might fall to one that skips it."""


def spread(items: Sequence[pytest.Item], here: str, names: list[str]) -> None:
    """Skip those of these tests that run on another database.

    Args:
        items: the tests that were collected.
        here: the database of this run.
        names: those that are used, one after the other; fewer than two leave nothing to spread.
    """
    if here not in names:
        return
    for item in items:
        if item.nodeid.partition("::")[0] not in MODULES:
            continue
        chosen = names[zlib.crc32(item.nodeid.encode()) % len(names)]
        if chosen != here:
            reason = f"about runners, not databases: it runs on {chosen}"
            item.add_marker(pytest.mark.skip(reason=reason))
