"""While the database is away."""

from __future__ import annotations

import logging

import pytest
from django.db import OperationalError

from operator_app import outage as module
from operator_app.outage import Outage

GONE = OperationalError("server closed the connection unexpectedly\n")


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still."""
    moment = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: moment[0])
    monkeypatch.setattr(module.random, "uniform", lambda least, most: most)
    return moment


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records]


def test_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing to wait for, nothing to say."""
    outage = Outage()
    outage.over()
    assert (outage.is_on, outage.left, caplog.records) == (False, 0, [])


def test_the_waits_grow_and_are_capped(moment: list[float]) -> None:
    """Each is double the last, up to 30 seconds; the next outage begins anew."""
    outage = Outage()
    assert [outage.met(GONE) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    outage.over()
    assert outage.met(GONE) == 0.5


def test_the_waits_are_jittered() -> None:
    """By up to a half, so that operators do not come back all at once."""
    delays = {Outage().met(GONE) for _ in range(20)}
    assert len(delays) > 10 and 0.25 <= min(delays) <= max(delays) <= 0.5


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """That it is away with the error, and that it is back; no line per try."""
    outage = Outage()
    with caplog.at_level(logging.INFO, "operator_app"):
        for _ in range(3):
            outage.met(GONE)
        outage.over()
        outage.over()
    assert actions(caplog) == ["database_away", "database_back"]
    assert "(server closed the connection unexpectedly)" in caplog.records[0].getMessage()


def test_until_the_next_try(moment: list[float]) -> None:
    """However often it is asked, it is not due before its time; unless told so."""
    outage = Outage()
    outage.met(GONE)
    assert (outage.is_on, outage.left) == (True, 0.5)
    moment[0] += 0.4
    assert 0 < outage.left < 0.2
    moment[0] += 1
    assert outage.left == 0
    outage.met(GONE)
    outage.try_now()
    assert (outage.is_on, outage.left) == (True, 0)
