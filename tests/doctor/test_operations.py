"""Operations that do not get on, and operators that were lost."""

from __future__ import annotations

import pytest
from django.contrib.contenttypes.models import ContentType

from operator_app import clock
from operator_app.doctor.operations import stuck_operations, unknown_kinds
from operator_app.doctor.operators import lost_operators
from operator_app.models import Operation
from tests.doctor.tools import only
from tests.kinds.models import Sweep
from tests.models.tools import HOUR, Make, claim_all, claimed_job, write

pytestmark = pytest.mark.django_db


def test_stuck_ones(make_operator: Make) -> None:
    """How many, the one that was claimed first, why, and what shows it."""
    now = clock.now()
    dead = make_operator(alive_until=now - HOUR, heartbeat_at=now - HOUR)
    _, oldest, well = [Sweep.dispatch() for _ in range(3)]
    claim_all(dead)
    write(well, operator=make_operator())
    write(oldest, started_run_at=now - 2 * HOUR)
    finding = only(stuck_operations("default", clock.now()))
    assert (finding.id, finding.severity) == ("doctor.stuck", "problem")
    assert "2 operations are stuck" in finding.message
    assert f"the oldest, {oldest}, was claimed 2 h ago; operator host:1 gave" in finding.message
    assert f"`manage.py operations show {oldest.pk}`" in finding.hint


def test_one_that_overran(make_operator: Make) -> None:
    """It is stuck though its operator lives."""
    operation = Sweep.dispatch()
    claimed_job(operation, make_operator())
    now = clock.now()
    write(operation, begun_run_at=now - HOUR, times_out_at=now - HOUR / 2)
    finding = only(stuck_operations("default", clock.now()))
    assert f"1 operation is stuck: {operation} was claimed" in finding.message
    assert "ran 60 min, timeout 30 min" in finding.message


def test_one_that_runs(make_operator: Make) -> None:
    """It is not stuck."""
    claimed_job(Sweep.dispatch(), make_operator())
    assert list(stuck_operations("default", clock.now())) == []


def test_a_kind_that_is_not_installed(gone_kind: ContentType) -> None:
    """What the check says of it."""
    operation = Sweep.schedule(HOUR)
    Sweep.schedule(HOUR)
    assert list(unknown_kinds("default")) == []
    Operation.all_objects.filter(pk=operation.pk).update(kind=gone_kind)
    finding = only(unknown_kinds("default"))
    assert (finding.id, finding.severity) == ("doctor.unknown_kind", "warning")
    assert "1 operation of the kind 'kinds.deletedlongago' is pending" in finding.message
    assert "RenameKind" in finding.hint


def test_lost_operators(make_operator: Make) -> None:
    """One note for each, whether somebody has declared it lost or not; none for those that live."""
    now = clock.now()
    make_operator(pid=1)
    make_operator(pid=2, alive_until=now - HOUR, heartbeat_at=now - HOUR)
    make_operator(pid=3, lost_at=now - HOUR, heartbeat_at=now - 2 * HOUR)
    third, second = lost_operators("default", clock.now())
    assert third.severity == second.severity == "note"
    assert "host:3 was lost: its last heartbeat was 2 h ago" in third.message
    assert "host:2 was lost: its last heartbeat was 60 min ago" in second.message
