"""What is claimed for an operator that does not know of it: the answer to its claim was lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import clock
from operator_app.duties import Heartbeat, Recount
from operator_app.models import OperationJob
from tests.duties.conftest import Claim
from tests.models.tools import claimed_job, queries, stored, write
from tests.work.models import Tick

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held() -> list[OperationJob]:
    """What the operator knows that it holds."""
    return []


@pytest.fixture
def recount(heartbeat: Heartbeat, held: list[OperationJob]) -> Recount:
    return Recount("default", heartbeat=heartbeat, held=lambda: held)


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "action", "") for record in caplog.records]


def test_what_is_known_is_let_alone(
    recount: Recount, held: list[OperationJob], claim: Claim, settings: Any
) -> None:
    """One query if all is well; again after two timeouts."""
    settings.OPERATOR = {"HEARTBEAT": {"interval": 2, "timeout": 9}}
    operation = Tick.dispatch()
    held += claim()
    with queries() as made:
        assert recount.run() == 18
    assert len(made) == 1
    assert stored(operation).state == "running"


def test_what_is_not_known_is_released(
    recount: Recount,
    held: list[OperationJob],
    claim: Claim,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Uncharged and due at its old time; the log says so once, and what is known runs on."""
    known, unknown = Tick.dispatch(), Tick.dispatch()
    held += [job for job in claim() if job.operation_id == known.pk]
    due_at = stored(unknown).should_run_at
    recount.run()
    recount.run()
    row = stored(unknown)
    assert (row.state, row.should_run_at, row.operator_id) == ("due", due_at, None)
    assert (row.attempts, row.failures, row.crashes) == (1, 0, 0)
    assert stored(known).state == "running"
    assert OperationJob.objects.get().outcome == "released"
    assert actions(caplog).count("recounted") == 1


def test_an_earlier_claim_of_the_same_operation_is_not_this_one(
    recount: Recount, held: list[OperationJob], claim: Claim
) -> None:
    """What it holds of an operation is one claim, by its number."""
    operation = Tick.dispatch()
    held += claim()
    write(operation, attempts=2)
    recount.run()
    assert stored(operation).state == "due"


def test_one_that_has_begun_waits(recount: Recount, claim: Claim) -> None:
    """Something has run it, so it is not due again at once."""
    operation = Tick.dispatch()
    claim()
    write(operation, begun_run_at=clock.now())
    recount.run()
    assert stored(operation).should_run_at > clock.now() + timedelta(seconds=3)


def test_what_others_hold_is_let_alone(recount: Recount) -> None:
    """Whoever they are."""
    other = Heartbeat("default", queues=[], capacity=1).register()
    operation = Tick.dispatch()
    claimed_job(operation, other)
    recount.run()
    assert stored(operation).operator_id == other.pk
