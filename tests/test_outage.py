"""While the database is away."""

from __future__ import annotations

import logging

import pytest
from django.db import OperationalError

from operator_app import outage as module
from operator_app.outage import Outage

GONE = OperationalError("the disk is full\n")


class OfDriver(Exception):
    """What psycopg raises."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("gone")
        self.sqlstate = sqlstate


def of_postgresql(sqlstate: str | None) -> OperationalError:
    error = OperationalError("gone")
    error.__cause__ = OfDriver(sqlstate)
    return error


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
    assert "(the disk is full)" in caplog.records[0].getMessage()


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


@pytest.mark.parametrize(
    "error",
    [
        of_postgresql("57P01"),  # admin_shutdown
        of_postgresql("57P05"),  # idle_session_timeout
        of_postgresql("08006"),  # connection_failure
        of_postgresql(None),  # found out by the driver
        OperationalError(2006, "Server has gone away"),
        OperationalError(4031, "The client was disconnected because of inactivity"),
    ],
)
def test_the_end_of_a_session_is_no_outage(
    error: OperationalError, moment: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """The next one is opened at once, and it is no error; unless that fails, too, or ends soon."""
    outage = Outage()
    with caplog.at_level(logging.INFO, "operator_app"):
        assert outage.met(error) == 0.0 and not outage.is_on
        outage.over()
        moment[0] += 11
        assert outage.met(error) == 0.0
        assert outage.met(error) == 0.5 and outage.is_on
        outage.over()
        assert outage.met(error) == 0.5
    expected = ["session_ended"] * 2 + ["database_away", "database_back", "database_away"]
    assert actions(caplog) == expected


@pytest.mark.parametrize(
    "error",
    [of_postgresql("53100"), OperationalError("database is locked"), OperationalError(1205, "")],
)
def test_another_error_is_an_outage(error: OperationalError, moment: list[float]) -> None:
    assert Outage().met(error) == 0.5
