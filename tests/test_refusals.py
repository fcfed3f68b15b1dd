"""Duties that the database refuses, while it is there."""

from __future__ import annotations

import pytest
from django.db import IntegrityError

from operator_app import refusals
from operator_app.duties import NowAndThen
from operator_app.duties.base import Duty
from operator_app.refusals import Refusals
from tests.once import once

pytestmark = once


class Sweep(Duty):
    def run(self) -> float:
        return 0.0


def test_it_is_left_for_longer_and_longer_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals.random, "uniform", lambda low, high: high)
    duty, other = NowAndThen(Sweep()), NowAndThen(Sweep())
    refused = Refusals()
    assert refused.left(duty.run) == 0
    delays = [refused.met(duty.run, IntegrityError("it is referred to\n")) for _ in range(6)]
    assert delays == [5, 10, 20, 40, 60, 60]
    assert 59 < refused.left(duty.run) <= 60 and refused.left(other.run) == 0
    (line,) = caplog.records
    assert (line.action, line.duty, line.levelname) == ("duty_refused", "sweep", "ERROR")
    assert "(sweep): it is referred to. All else goes on" in line.getMessage()
    refused.over(other.run)
    refused.over(duty.run)
    refused.over(duty.run)
    assert [each.action for each in caplog.records] == ["duty_refused", "duty_back"]
    assert refused.left(duty.run) == 0 and refused.met(duty.run, IntegrityError("again")) == 5
