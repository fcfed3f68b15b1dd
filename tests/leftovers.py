"""What operators may leave behind when a test is over: nothing, wherever one looks.

A fixture that starts operators appends them to `started`, and calls `end` before `start_operator`
clears away what is left in their process groups.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from operator_app.models import Operation, OperatorProcess
from tests.processes import OperatorUnderTest, poll


@pytest.fixture
def started(
    request: pytest.FixtureRequest, transactional_db: None
) -> Iterator[list[OperatorUnderTest]]:
    """The operators of a test, in order of their start; when all of them have ended, no thread, no
    connection, no claim and no row of theirs may be left.

    A test that `gives_up` keeps claims and rows: its operator may not wait for the database.
    """
    # It brings models of an app that the project of tests/browser has not installed.
    from tests.process.support import other_sessions

    threads = set(threading.enumerate())
    operators: list[OperatorUnderTest] = []
    yield operators
    log = "\n".join(f"{operator!r}\n{operator.log}" for operator in operators)
    poll(lambda: other_sessions() == 0, 10, f"the operators' connections to be closed\n{log}")
    poll(
        lambda: set(threading.enumerate()) <= threads, 10, f"the threads of the test to end\n{log}"
    )
    if request.node.get_closest_marker("gives_up") is None:
        claimed = list(Operation.all_objects.started().values())
        assert claimed == [], f"still claimed: {claimed}\n{log}"
        died = {operator.pid for operator in operators if operator.returncode not in {0, 1}}
        living = OperatorProcess.objects.filter(lost_at=None).exclude(pid__in=died)
        assert not operators or list(living) == [], log


def end(operators: list[OperatorUnderTest]) -> None:
    """End those that still run; none may leave a process behind, whatever that was started for."""
    for operator in operators:
        operator.ask_to_end()
    for operator in operators:
        poll(
            lambda one=operator: not processes_of(one),  # type: ignore[misc]
            20,
            lambda one=operator: f"{processes_of(one)} to end\n{one!r}\n{one.log}",  # type: ignore[misc]
        )


def processes_of(operator: OperatorUnderTest) -> set[int]:
    """The processes of an operator's session that live: itself, and all that it has started."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == operator.pid and fields[0] not in "ZX":
            found.add(int(folder.name))
    return found
