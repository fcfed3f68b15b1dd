"""Why an operation does not get on, for people."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.utils.timezone import get_current_timezone as zone

from operator_app import clock
from operator_app.models import OperatorProcess
from tests.kinds.models import Sweep
from tests.models.conftest import Make
from tests.models.tools import HOUR, claimed_job, stored, write

MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.django_db


def test_nothing_to_say(operator: OperatorProcess) -> None:
    """An operation that is not stuck has no reason to be, without a query for one that waits."""
    operation = Sweep.dispatch()
    assert stored(operation).stuck_reason == ""
    claimed_job(operation, operator)
    assert stored(operation).stuck_reason == ""
    write(operation, finished_run_at=clock.now())
    assert stored(operation).stuck_reason == ""


def wall(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(zone())


def test_a_silent_operator(make_operator: Make) -> None:
    """It names host, process and last heartbeat, declared lost or not yet."""
    now = clock.now()
    operator = make_operator(alive_until=now, heartbeat_at=now - timedelta(seconds=30))
    operation = Sweep.dispatch()
    claimed_job(operation, operator)
    beat = f"{wall(operator.heartbeat_at):%H:%M:%S}"
    said = f"operator host:1 gave no heartbeat since {beat}"
    assert stored(operation).stuck_reason == said
    operator.declare_lost(clock.now())
    assert stored(operation).stuck_reason == said


def test_the_time_is_that_of_the_wall(make_operator: Make, settings: Any) -> None:
    """In the project's time zone, and with the date where it is not today's."""
    settings.USE_TZ, settings.TIME_ZONE = True, "Asia/Tokyo"
    beat = datetime(2026, 1, 31, 23, 59, 30, tzinfo=timezone.utc)
    operation = Sweep.dispatch()
    claimed_job(operation, make_operator(alive_until=beat, heartbeat_at=beat))
    with clock.at(beat + HOUR):
        assert stored(operation).stuck_reason.endswith("since 08:59:30")
    with clock.at(beat + 24 * HOUR):
        assert stored(operation).stuck_reason.endswith("since 2026-02-01 08:59:30")


def test_no_operator_any_more(operator: OperatorProcess) -> None:
    """Its row is gone, and so is what there was to say of it."""
    operation = Sweep.dispatch()
    claimed_job(operation, operator)
    OperatorProcess.objects.all().delete()
    assert stored(operation).stuck_reason == "its operator process is gone"


def test_overran(operator: OperatorProcess) -> None:
    """A living operator, but the time is up."""
    operation = Sweep.dispatch()
    claimed_job(operation, operator)
    begun = clock.now() - 12 * MINUTE
    write(operation, begun_run_at=begun, times_out_at=begun + 5 * MINUTE)
    assert stored(operation).stuck_reason == "ran 12 min, timeout 5 min"


def test_a_silent_operator_comes_first(make_operator: Make) -> None:
    """That it ran for too long says nothing any more, once its operator is dead."""
    now = clock.now()
    operator = make_operator(alive_until=now, heartbeat_at=now - MINUTE)
    operation = Sweep.dispatch()
    claimed_job(operation, operator)
    write(operation, begun_run_at=now - HOUR, times_out_at=now - MINUTE)
    assert "gave no heartbeat since" in stored(operation).stuck_reason


def test_by_hand(db: None) -> None:
    """Nobody holds it, and it has taken too long."""
    operation = Sweep.dispatch()
    write(operation, started_run_at=clock.now() - 2 * HOUR, attempts=1)
    assert "started by hand" in stored(operation).stuck_reason
