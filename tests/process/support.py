"""What tests with real operator processes share."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from django.db import connection

from operator_app.models import Operation, OperatorProcess
from tests.processes import OperatorUnderTest, poll
from tests.work.models import Entry

TROUBLE = re.compile(r"Traceback|is locked|[Dd]eadlock|Exception ignored|Fatal Python")


def environment(**settings: Any) -> dict[str, str]:
    """The environment of an operator that logs everything as JSON, with `settings` as OPERATOR."""
    return {"OPERATOR_TEST_LOG": "json", "OPERATOR_TEST_SETTINGS": json.dumps(settings)}


def lines(operator: OperatorUnderTest, action: str | None = None) -> list[dict[str, Any]]:
    """What it has logged so far, each line as its dict; only those with this `action`, if given."""
    found = [
        json.loads(line)
        for line in operator.stderr.splitlines()
        if line.startswith("{") and line.endswith("}")
    ]
    return [line for line in found if action is None or line.get("action") == action]


def assert_calm(*operators: OperatorUnderTest) -> None:
    """No operator had trouble: no error, no lost claim, nothing that was not a line of the log."""
    __tracebackhide__ = True
    for operator in operators:
        assert not TROUBLE.search(operator.log), operator.log
        strange = [line for line in operator.stderr.splitlines() if not line.startswith("{")]
        assert strange == [], operator.log
        bad = [line for line in lines(operator) if line["level"] not in {"DEBUG", "INFO"}]
        assert bad == [], operator.log


def ready(*operators: OperatorUnderTest) -> None:
    """Wait until these operators look for work."""
    for operator in operators:
        operator.wait_for_log(" is ready.")


def entries(line: str = "") -> list[int]:
    """The operations that wrote this line, in the order of writing."""
    rows = Entry.objects.filter(line=line).order_by("id")
    return list(rows.values_list("operation_number", flat=True))


def wait_for_entries(
    count: int, line: str = "", *, by: Sequence[OperatorUnderTest] = (), timeout: float = 30
) -> None:
    """Wait until this line has been written so many times; fail at once if an operator ends.

    An operation that is run again, as after its operator was killed, may have written it twice.
    """
    __tracebackhide__ = True
    rows = Entry.objects.filter(line=line)
    _wait(lambda: rows.count() >= count, f"{count} lines {line!r}", by, timeout)


def wait_until_finished(
    count: int, *, by: Sequence[OperatorUnderTest] = (), timeout: float = 30
) -> None:
    """Wait until so many operations are recorded as finished; fail at once if an operator ends."""
    __tracebackhide__ = True
    rows = Operation.objects.finished()
    _wait(lambda: rows.count() >= count, f"{count} finished", by, timeout)


def logs(*operators: OperatorUnderTest) -> str:
    """All they have said, for the message of a failure."""
    return "\n".join(f"{operator!r}\n{operator.log}" for operator in operators)


def pause(seconds: float) -> None:
    """Let time pass where nothing but the time is waited for."""
    moment = time.monotonic() + seconds
    poll(lambda: time.monotonic() >= moment, seconds + 30)


def _wait(
    done: Callable[[], bool], what: str, by: Sequence[OperatorUnderTest], timeout: float
) -> None:
    __tracebackhide__ = True

    def message() -> str:
        return f"{what}.\n{logs(*by)}"

    def over() -> bool:
        return done() or not all(operator.running for operator in by)

    poll(over, timeout, message)
    if not done():
        pytest.fail(f"An operator ended before there were {message()}")


def assert_each_once(ids: Iterable[int], line: str = "") -> None:
    """Every one of these operations wrote this line exactly once, and no other did."""
    __tracebackhide__ = True
    wanted, seen = set(ids), Counter(entries(line))
    assert {pk: times for pk, times in seen.items() if times != 1} == {}, "ran more than once"
    assert wanted - set(seen) == set(), "never ran"
    assert set(seen) - wanted == set(), "ran but should not have"


def assert_once_an_attempt(ids: Iterable[int], line: str = "") -> None:
    """Every one of these operations wrote this line, none more often than it was attempted, and no
    other did: what a killed or frozen operator had begun may be attempted again.
    """
    __tracebackhide__ = True
    wanted, seen = set(ids), Counter(entries(line))
    attempts = dict(Operation.all_objects.filter(pk__in=wanted).values_list("pk", "attempts"))
    assert wanted - set(seen) == set(), "never ran"
    assert set(seen) - wanted == set(), "ran but should not have"
    assert {pk: (times, attempts[pk]) for pk, times in seen.items() if times > attempts[pk]} == {}


def assert_nothing_left() -> None:
    """No claim, no row of an operator and no connection of one is left."""
    __tracebackhide__ = True
    assert list(Operation.all_objects.started()) == []
    assert list(OperatorProcess.objects.all()) == []
    poll(lambda: other_sessions() == 0, 5, "the operators' connections to be closed")


def other_sessions() -> int:
    """How many connections to this test's database there are besides our own; 0 on SQLite."""
    queries = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() "
        "AND id <> CONNECTION_ID()",
    }
    if connection.vendor not in queries:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(queries[connection.vendor])
        return int(cursor.fetchone()[0])
