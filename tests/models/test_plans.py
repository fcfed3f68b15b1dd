"""How the database finds the rows: the engine's statements read what they need, by an index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import pytest
from django.db import connection

from operator_app import clock
from operator_app.models import (
    Operation,
    OperationJob,
    OperatorProcess,
    attempt_pruning,
    failed,
    kind_facts,
    kinds,
    latest,
    queue_facts,
    rescues,
    search,
    takes,
)
from operator_app.models.choice import Choice
from operator_app.models.depths import depths
from operator_app.models.following import Follower
from operator_app.models.pruning import Rules
from operator_app.outcomes import Finished, Stopped
from tests.kinds.models import LongNote, Note, Shout, Sweep
from tests.models.tools import HOUR, claim_all

# ANALYZE commits on MySQL and MariaDB, so that a rollback at the end would leave the rows behind.
pytestmark = pytest.mark.django_db(transaction=connection.vendor == "mysql")

SQLITE, POSTGRESQL = connection.vendor == "sqlite", connection.vendor == "postgresql"
ROWS = 12_000
"""So many that to read all of them is worth an index to every planner."""
COPIES: Final = 10
"""How many of them are alike: made by the database, which is quicker at it."""


@pytest.fixture(autouse=True)
def _full(operator: OperatorProcess) -> None:
    """Rows of four kinds in two queues: mostly finished or far in the future, some due, some of
    each other state; and the database knows it.
    """
    now = clock.now()
    ids = [kinds.content_type(kind, "default").pk for kind in (Sweep, Note, LongNote, Shout)]
    columns: list[dict[str, Any]] = [
        *[{"started_run_at": now, "finished_run_at": now}] * 9,
        *[{"should_run_at": now + HOUR}] * 9,
        {},
        {"started_run_at": now, "failed_run_at": now},
    ]
    rows = [
        Operation(
            **{
                "kind_id": ids[number % 4],
                "queue": "ab"[number % 2],
                "priority": 0,
                "should_run_at": now - timedelta(seconds=number % 977),
                "created_at": now,
                **columns[number % 20],
            }
        )
        for number in range(ROWS // COPIES)
    ]
    fields = [field for field in Operation._meta.local_concrete_fields if not field.primary_key]
    if POSTGRESQL:
        with connection.cursor() as cursor:
            # What other tests have rolled back leaves pages behind, which count in its estimates.
            cursor.execute(f"TRUNCATE {table()} CASCADE")
    Operation._base_manager.all()._batched_insert(rows, fields, None)  # type: ignore[attr-defined]
    names = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    numbers = " UNION ALL ".join(f"SELECT {number} AS number" for number in range(1, COPIES))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table()} ({names}) "
            f"SELECT {names} FROM {table()} CROSS JOIN ({numbers}) copies"
        )
        assert Operation.all_objects.count() == ROWS
        cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{table()}")


def table() -> str:
    return connection.ops.quote_name(Operation._meta.db_table)


def plan(sql: str, parameters: Any) -> list[str]:
    """What the database says that it would do, a line for each step."""
    with connection.connection.cursor() if not SQLITE else _raw() as cursor:
        if SQLITE:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql.replace('%s', '?')}", parameters)
            return [row[3] for row in cursor.fetchall()]
        cursor.execute(f"EXPLAIN {sql}", parameters)
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        if POSTGRESQL:
            return [row["QUERY PLAN"] for row in rows]
        return [f"{row['table']} {row['type']} {row['key']} {row['Extra']}" for row in rows]


@contextmanager
def _raw() -> Iterator[Any]:
    yield connection.connection.cursor()


def is_full_scan(step: str) -> bool:
    """Whether a step reads all operations, in the table or in an index. All that have started, or
    have failed, are few, and have an index of their own.
    """
    if POSTGRESQL:
        return re.search(r"Seq Scan on operator_app_operation\b", step) is not None
    if SQLITE:
        # The pending ones are scanned for the first of them, at a LIMIT that the plan leaves out.
        few = r"\S+ USING (COVERING )?INDEX operator_app_(started|failed|cancelled|pending)$"
        # U0: operators.
        other = r"lane|counted|json_each|CONSTANT|(operator_app_operatorprocess|U0)( LEFT-JOIN)?$"
        return re.match(rf"SCAN (?!{few}|{other})", step) is not None
    # The tables of kinds and of operators (U0) are next to empty here.
    other = r"<|ended|None|kinds_|operator_app_operatorprocess|U0"
    return re.match(rf"(?!{other})\S+ (ALL|index) ", step) is not None


@contextmanager
def plans() -> Iterator[dict[str, list[str]]]:
    """Collect the plans of the statements about operations that are executed in the block."""
    found: dict[str, list[str]] = {}

    def explain(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        verb = sql.lstrip("( ").split(" ", 1)[0]
        if verb in {"SELECT", "WITH", "UPDATE", "DELETE"} and table() in sql:
            found[sql] = plan(sql, (parameters[0] if many else parameters) or ())
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(explain):
        yield found


def jobs_of(operator: OperatorProcess, count: int) -> list[OperationJob]:
    jobs = [OperationJob.of(each) for each in claim_all(operator, limit=count)]
    assert len(jobs) == count
    for job in jobs:
        job.end_as(Finished())
    return sorted(jobs, key=lambda job: job.operation_id)


def looked(operator: OperatorProcess) -> None:
    """The first look, and one at which some have been claimed and some have ended."""
    this = Follower("default", clock.now(), back=clock.now() - HOUR, newest=100)
    this.look(clock.now())
    jobs = jobs_of(operator, 100)
    jobs[50].end_as(Stopped("later"))
    Operation.all_objects.record(jobs[:60])
    Note.schedule_many([Note(should_run_at=clock.now()) for _ in range(3)])
    assert len(this.look(clock.now())) >= 160


OLD = Rules({"attempts": 60.0})
Step = Callable[[OperatorProcess], object]
STEPS: dict[str, Step] = {
    "the lanes": lambda operator: Operation.all_objects.all().lanes(),
    "the depths": lambda operator: depths(
        Operation.all_objects.lanes(), clock.now(), "default", 100
    ),
    "the queues": lambda operator: queue_facts.look("default", clock.now()),
    "a claim of one": lambda operator: claim_all(operator, limit=1),
    "a claim of many": lambda operator: claim_all(operator, limit=100),
    "the requests": lambda operator: Operation.all_objects.requests(jobs_of(operator, 100)),
    "the marks": lambda operator: Operation.all_objects.mark_begun(jobs_of(operator, 5)),
    "the survey": lambda operator: rescues.survey("default", clock.now()),
    "old attempts": lambda operator: attempt_pruning.prune_next(OLD, clock.now(), "default"),
    "a search for a key": lambda operator: list(
        Operation.all_objects.filter(search.condition("no such key", "default")).order_by("-pk")[:9]
    ),
    "the record": lambda operator: Operation.all_objects.record(jobs_of(operator, 100)),
}
PAGES: dict[str, Step] = {
    "a look of tail": lambda operator: looked(operator),
    "the kinds": lambda operator: kind_facts.look("default", clock.now()),
}
"""Of which PostgreSQL takes parts for the many that they are not."""
FEW: dict[str, Step] = {
    "the stuck": lambda operator: list(Operation.objects.stuck()),
    "the deserted": lambda operator: list(Operation.objects.deserted(clock.now())),
    "the failures": lambda operator: failed.look("default", clock.now()),
    "the failures of a sort": lambda operator: list(
        Choice(states=["failed"], fingerprint="a" * 16).rows("default")
    ),
    "whatever ended with an error of a sort": lambda operator: list(
        Choice(fingerprint="a" * 16).rows("default").order_by("-pk")[:101]
    ),
    "the page of the stuck": lambda operator: list(
        Operation.all_objects.stuck().order_by("operator_id", "started_run_at")[:201]
    ),
}


# What PostgreSQL takes for many it may read from the table, where that has few pages.
@pytest.mark.parametrize("name", [*STEPS, *([] if POSTGRESQL else FEW | PAGES)])
def test_no_statement_reads_all_operations(name: str, operator: OperatorProcess) -> None:
    """Not the whole table and not a whole index, however full it is."""
    with plans() as found:
        (STEPS | FEW | PAGES)[name](operator)
    assert found
    assert [step for steps in found.values() for step in filter(is_full_scan, steps)] == []


@pytest.mark.skipif(not POSTGRESQL, reason="it tells what it expects, and compiles by that")
@pytest.mark.parametrize("name", FEW)
def test_the_few_that_have_started_are_cheap_to_judge(name: str, operator: OperatorProcess) -> None:
    """PostgreSQL cannot know that next to none of those that have started have not ended, and takes
    them for a quarter of the table. If judging each looked expensive it would compile the query
    (JIT), each time, for a tenth of a second.
    """
    with plans() as found:
        FEW[name](operator)
        list(Operation.all_objects.filter(reason="nowhere"))
    *judged, everything = [
        max(float(cost) for step in steps for cost in re.findall(r"\.\.(\d+\.\d+) rows", step))
        for steps in found.values()
    ]
    assert judged and max(judged) < 2 * everything


@pytest.mark.parametrize("kind", [Sweep, Note])
def test_the_latest_runs_of_a_kind(
    kind: type[Operation], operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a range of primary keys, however many there are."""
    monkeypatch.setattr(latest, "SPAN", 200)
    monkeypatch.setattr(latest, "LOOKED_AT", 50)
    Note.schedule_many([Note(should_run_at=clock.now()) for _ in range(60)])
    operation = Operation.all_objects.of_kind(kind).latest("pk")
    with plans() as found:
        latest.runs(operation, 50)
        latest.runs(operation, 50, up_to=operation.pk)
    assert found
    assert [step for steps in found.values() for step in filter(is_full_scan, steps)] == []


def test_a_claim_in_steps(operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on MySQL, and on old versions of SQLite."""
    monkeypatch.setattr(takes, "_tells_updates", lambda alias: False)
    test_no_statement_reads_all_operations("a claim of many", operator)


def test_a_mixed_record(operator: OperatorProcess) -> None:
    """Some have finished, one has stopped."""
    jobs = jobs_of(operator, 100)
    jobs[50].end_as(Stopped("later"))
    with plans() as found:
        assert len(Operation.all_objects.record(jobs)) == 100
    assert found and not [step for steps in found.values() for step in filter(is_full_scan, steps)]


@pytest.mark.skipif(POSTGRESQL, reason="what it takes for many it may read from the table")
def test_a_rescue(operator: OperatorProcess) -> None:
    """The operations of an operator that was declared lost."""
    jobs_of(operator, 20)
    OperatorProcess.objects.update(lost_at=clock.now())
    with plans() as found:
        assert len(list(Operation.objects.deserted(clock.now()))) == 20
    assert found and not [step for steps in found.values() for step in filter(is_full_scan, steps)]


def test_a_full_scan_is_seen() -> None:
    """The test can fail: a condition that no index has."""
    with plans() as found:
        list(Operation.all_objects.filter(reason="nowhere"))
    (steps,) = found.values()
    assert any(map(is_full_scan, steps)), steps
