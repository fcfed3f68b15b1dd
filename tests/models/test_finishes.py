"""One statement for all that finished."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.models.finishes import finish
from operator_app.outcomes import Finished
from tests.kinds.models import Sweep
from tests.models.conftest import Make
from tests.models.tools import claim_all, queries

pytestmark = pytest.mark.django_db


def finished(operator: OperatorProcess, count: int) -> list[OperationJob]:
    """So many claimed jobs that finished, a second and a bit apart."""
    now = clock.now()
    Sweep.schedule_many(
        [Sweep(should_run_at=now, unique_key=f"{operator.pk}-{n}") for n in range(count)]
    )
    jobs = [OperationJob.of(operation) for operation in claim_all(operator)]
    for number, job in enumerate(jobs):
        job.end_as(Finished(), at=now + timedelta(seconds=number, microseconds=number))
    return jobs


def test_each_keeps_the_time_of_its_own_end(operator: OperatorProcess) -> None:
    """To the microsecond, and frees its unique key; what else is in the row stays."""
    jobs = finished(operator, 3)
    with queries() as seen:
        assert finish(jobs, "default")
    assert len(seen) == 1
    for job in jobs:
        row = Operation.all_objects.get(pk=job.operation_id)
        assert row.finished_run_at == job.ended_at
        assert (row.active_key, row.reason, row.unique_key is None) == (None, "", False)
        assert (row.attempts, row.operator_id) == (1, operator.pk)


@pytest.mark.parametrize(
    "change",
    [
        {"attempts": 2},
        {"operator": None},
        {"operator": None, "started_run_at": None},
        {"cancelled_at": timezone.now()},
        {"failed_run_at": timezone.now()},
    ],
)
def test_a_lost_claim_is_told_and_not_written(
    operator: OperatorProcess, change: dict[str, object]
) -> None:
    """Whatever made it lose its claim, its row stays as it is."""
    jobs = finished(operator, 3)
    rows = Operation.all_objects.filter(pk=jobs[1].operation_id)
    rows.update(**change)
    before = rows.values().get()
    assert not finish(jobs, "default")
    assert rows.values().get() == before


def test_claims_of_several_identities(operator: OperatorProcess, make_operator: Make) -> None:
    """An operator that goes on under a new identity records what it holds under both."""
    first = finished(operator, 2)
    second = finished(make_operator(), 2)
    assert finish([first[0], second[0], first[1], second[1]], "default")
    assert Operation.objects.finished().count() == 4


def test_a_large_group(operator: OperatorProcess) -> None:
    """As many as are ever recorded together."""
    jobs = finished(operator, 500)
    assert finish(jobs, "default")
    ends = Operation.objects.finished().values_list("finished_run_at", flat=True)
    assert sorted(ends) == sorted(job.ended_at for job in jobs if job.ended_at)
