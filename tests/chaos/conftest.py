"""Real operators, and what is checked after each test: nothing and nobody is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from operator_app.models import Operation, OperatorProcess
from tests.chaos.support import logs, processes_of
from tests.process.support import environment, other_sessions
from tests.processes import OperatorUnderTest, poll

Start = Callable[..., OperatorUnderTest]


@pytest.fixture
def started(transactional_db: None) -> Iterator[list[OperatorUnderTest]]:
    """The operators of a test; when they have all been ended, nothing of them may be left."""
    threads = set(threading.enumerate())
    operators: list[OperatorUnderTest] = []
    yield operators
    for operator in operators:
        poll(lambda one=operator: not processes_of(one), 10, f"the children of {operator!r} to end")
    poll(lambda: other_sessions() == 0, 10, "the operators' connections to be closed")
    claimed = list(Operation.all_objects.started().values())
    assert claimed == [], f"still claimed: {claimed}\n{logs(*operators)}"
    died = {operator.pid for operator in operators if operator.returncode not in {0, 1}}
    living = OperatorProcess.objects.filter(lost_at=None).exclude(pid__in=died)
    assert list(living) == [], logs(*operators)
    assert set(threading.enumerate()) <= threads


@pytest.fixture
def operate(started: list[OperatorUnderTest], start_operator: Start) -> Start:
    """Start `manage.py operator ARGUMENTS`; keywords become its OPERATOR settings."""

    def start(*arguments: str, env: dict[str, str] | None = None, **settings: Any) -> Any:
        operator = start_operator(*arguments, env=environment(**settings) | (env or {}))
        started.append(operator)
        return operator

    return start
