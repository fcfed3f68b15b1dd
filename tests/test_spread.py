"""Tests of runners are spread over the databases, and none falls between them."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import pytest

from tests.databases import ROOT
from tests.once import once
from tests.spread import MODULES, spread

pytestmark = once

NAMES = ["sqlite", "postgresql", "mariadb"]


class Item:
    """A test as it was collected."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid
        self.reasons: list[str] = []

    def add_marker(self, mark: Any) -> None:
        self.reasons.append(mark.kwargs["reason"])


def run_at(here: str, names: list[str], ids: list[str]) -> list[str]:
    """Which of these tests run on a database."""
    items = [Item(nodeid) for nodeid in ids]
    spread(items, here, names)  # type: ignore[arg-type]
    return [item.nodeid for item in items if not item.reasons]


def test_each_runs_on_one_and_all_others_on_all() -> None:
    theirs = [f"{module}::test_{n}" for module in sorted(MODULES) for n in range(9)]
    ours = ["tests/models/test_claims.py::test_one"]
    runs = {name: run_at(name, NAMES, [*theirs, *ours]) for name in NAMES}
    assert Counter(chain.from_iterable(runs.values())) == Counter(theirs) + Counter({ours[0]: 3})
    assert min(map(len, runs.values())) > len(theirs) / 5


@pytest.mark.parametrize("names", [["sqlite"], ["postgresql", "mariadb"], [""]])
def test_on_the_only_one_all_of_them_run(names: list[str]) -> None:
    """Also where this one is not among those that are used: it was started by hand."""
    theirs = [f"{module}::test" for module in sorted(MODULES)]
    assert run_at("sqlite", names, theirs) == theirs


@pytest.mark.parametrize("module", sorted(MODULES))
def test_they_are_there_and_run_on_every_database(module: str) -> None:
    source = (ROOT / module).read_text()
    assert "tests.once" not in source
    assert "skip" not in source or "vendor" not in source
