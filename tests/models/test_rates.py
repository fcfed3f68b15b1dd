"""Rates of the last minute, hour and day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import clock
from operator_app.models.rates import rates
from operator_app.models.tallies import Key, compact, write
from operator_app.outcomes import Failed, Finished, Stopped
from tests.models.test_tallies import counted

pytestmark = pytest.mark.django_db


def test_each_time_has_what_was_done_in_it(django_assert_num_queries: Any) -> None:
    now = clock.now()
    key = Key(1, "default")
    write({key: counted(Finished(), Finished(), Stopped())}, now - timedelta(seconds=20), "default")
    write({key: counted(Finished(), Failed("x"))}, now - timedelta(minutes=30), "default")
    write({key: counted(Failed("x"))}, now - timedelta(hours=20), "default")
    write({key: counted(Failed("x"))}, now - timedelta(hours=30), "default")
    while compact(now, "default"):
        pass
    with django_assert_num_queries(2):
        found = rates("default", now)
    assert {name: rate.ended for name, rate in found.items()} == {"minute": 2, "hour": 4, "day": 5}
    assert found["hour"].failure_rate == 0.25
    assert found["minute"].failure_rate == 0
    assert found["minute"].per_second == pytest.approx(2 / 60)
    assert found["hour"].duration == pytest.approx(2, rel=0.2)
    assert found["day"].late_p95 == pytest.approx(1, rel=0.2)


def test_nothing() -> None:
    for rate in rates("default", clock.now()).values():
        assert (rate.ended, rate.failure_rate, rate.duration, rate.late) == (0, None, None, None)
