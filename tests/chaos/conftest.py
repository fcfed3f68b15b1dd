"""Real operators, and what is checked after each test: nothing and nobody is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from typing import Any

import pytest

from tests.chaos.support import told
from tests.leftovers import end
from tests.process.support import environment
from tests.processes import OperatorUnderTest

Start = Callable[..., OperatorUnderTest]


@pytest.fixture
def operate(started: list[OperatorUnderTest], start_operator: Start) -> Iterator[Start]:
    """Start `manage.py operator ARGUMENTS`; keywords become its OPERATOR settings."""

    def start(*arguments: str, env: dict[str, str] | None = None, **settings: Any) -> Any:
        operator = start_operator(*arguments, env=environment(**settings) | (env or {}))
        started.append(operator)
        return operator

    yield start
    end(started)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Sum up what became of it all; under xdist only the workers know, which sum up nothing."""
    if told:
        terminalreporter.section("chaos")
        terminalreporter.write_line(str(reduce(add, told)))
