"""Whoever writes some operations is not held up by others that somebody has locked, however small
the table is: a planner that reads all of a small one would wait for each of them.
"""

from __future__ import annotations

import pytest
from django.db import connection

from operator_app import clock
from operator_app.models import Operation, OperatorProcess, begun, records
from operator_app.models.transactions import impatient
from operator_app.outcomes import Failed, Finished, Outcome, Released, Retried, Stopped
from tests.kinds.models import Sweep
from tests.models.tools import HOUR, claim_all, claimed_job, elsewhere, locked

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no locks of rows"),
]

NEIGHBOURS = [1, 2]


@pytest.fixture(autouse=True, params=["new", "of one row"])
def _small(request: pytest.FixtureRequest) -> None:
    """Let the planner think of the table as it was then; it looks again at some time, and MariaDB
    reads all of a small one.
    """
    if request.param == "of one row":
        Sweep.schedule(HOUR)
    table = connection.ops.quote_name(Operation._meta.db_table)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"ANALYZE {table}")
        elif request.param == "new":
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            cursor.execute(f"TRUNCATE TABLE {table}")
            cursor.execute("SET FOREIGN_KEY_CHECKS = 1")
        else:
            cursor.execute(f"ANALYZE TABLE {table}")


@pytest.fixture(params=NEIGHBOURS)
def busy(request: pytest.FixtureRequest, operator: OperatorProcess) -> list[int]:
    """Operations that run; for a test to lock."""
    Sweep.schedule_many([Sweep(should_run_at=clock.now()) for _ in range(request.param)])
    return [operation.pk for operation in claim_all(operator)]


@pytest.mark.parametrize("neighbours", NEIGHBOURS)
def test_a_claim(neighbours: int, operator: OperatorProcess) -> None:
    """What a long transaction has scheduled keeps no other from being claimed."""
    mine = Sweep.dispatch()

    def schedule() -> None:
        Sweep.schedule_many([Sweep(should_run_at=clock.now()) for _ in range(neighbours)])

    with elsewhere(schedule), impatient():
        assert [operation.pk for operation in claim_all(operator)] == [mine.pk]


OUTCOMES = [Finished(), Retried("once more"), Stopped("later"), Failed("for good"), Released()]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
@pytest.mark.parametrize("count", [1, 3])
def test_an_outcome(
    count: int, outcome: Outcome, busy: list[int], operator: OperatorProcess
) -> None:
    """What runs in a transaction, and so has locked its row, lets the outcomes of others be."""
    jobs = [claimed_job(Sweep.dispatch(), operator) for _ in range(count)]
    for job in jobs:
        job.end_as(outcome)
    with locked(Operation.all_objects.filter(pk__in=busy)), impatient():
        assert records.record(jobs, alias="default") == jobs


def test_the_begin(busy: list[int], operator: OperatorProcess) -> None:
    """Nor the word that a run has begun."""
    job = claimed_job(Sweep.dispatch(), operator)
    with locked(Operation.all_objects.filter(pk__in=busy)), impatient():
        assert begun.mark_begun([job], "default") == 1


@pytest.mark.parametrize("verb", ["cancel", "reschedule", "run_now", "abort"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_verb(count: int, verb: str, busy: list[int], operator: OperatorProcess) -> None:
    """Nor what a person wants of others."""
    mine = Sweep.schedule_many([Sweep(should_run_at=clock.now() + HOUR) for _ in range(count)])
    if verb == "abort":
        mine = [claimed_job(Sweep.dispatch(), operator).operation for _ in range(count)]
    chosen = Operation.all_objects.filter(pk__in=[operation.pk for operation in mine])
    options = {"reschedule": {"when": 2 * HOUR}}.get(verb, {})
    with locked(Operation.all_objects.filter(pk__in=busy)), impatient():
        assert getattr(chosen, verb)(**options)
