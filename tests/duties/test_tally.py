"""The duty that keeps the tally; and that real operators do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error, IntegrityError, OperationalError

from operator_app import clock
from operator_app.duties import KeepTally
from operator_app.duties import tally as tally_module
from operator_app.models import Operation, Tally
from operator_app.models.tallies import FINEST, Key, Summary, summary, total, write
from operator_app.outcomes import Finished
from tests.kinds.models import Note, Sweep
from tests.models.test_tallies import job
from tests.processes import OperatorUnderTest, poll

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[..., OperatorUnderTest]


@pytest.fixture
def duty() -> KeepTally:
    return KeepTally("default")


def counted() -> Summary:
    now = clock.now()
    found = summary("default", now - timedelta(hours=1), now + timedelta(hours=1), by="kind")
    return total(found.values())


def test_what_was_counted_is_written_once(
    duty: KeepTally, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    for _ in range(3):
        duty.count(job(Finished()))
    with django_assert_max_num_queries(3):  # With BEGIN and COMMIT, which not every Django makes.
        assert duty.run() == FINEST
    assert Tally.objects.get().finished == 3
    with django_assert_num_queries(0):
        assert duty.run() == FINEST


@pytest.mark.parametrize(("error", "kept"), [(OperationalError, 1), (IntegrityError, 0)])
def test_what_is_counted_waits_for_the_database_and_stops_nobody(
    duty: KeepTally,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Error],
    kept: int,
) -> None:
    duty.count(job(Finished()))

    def fail(*_: object) -> None:
        raise error("no")

    with monkeypatch.context() as patch:
        patch.setattr(tally_module, "write", fail)
        with pytest.raises(error) if kept else nullcontext():
            duty.run()
    duty.count(job(Finished()))
    duty.run()
    assert Tally.objects.get().finished == kept + 1
    assert ("could not be counted" in caplog.text) is (not kept)


def test_old_spans_are_made_longer_step_by_step(
    duty: KeepTally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally_module, "IDLE", 0.0)
    summary_of_one = Summary(finished=1)
    for minutes in (10, 20):
        moment = clock.now() - timedelta(minutes=minutes)
        write({Key(1, "default"): summary_of_one}, moment, "default")
    assert [duty.run() for _ in range(3)] == [tally_module.STEP, tally_module.STEP, FINEST]
    assert set(Tally.objects.values_list("seconds", "finished")) == {(60, 1)}


def test_an_operator_writes_before_it_leaves(start_operator: Start) -> None:
    for _ in range(3):
        Sweep.dispatch()
    Note.dispatch(text="one")
    operator = start_operator("--once")
    assert operator.wait() == 0, operator.log
    assert counted().finished == 4
    by_queue = Tally.objects.values_list("queue", flat=True)
    assert set(by_queue) == {"default", "notes"}
    assert counted().delays.count == 4


def test_an_operator_writes_while_it_runs(start_operator: Start) -> None:
    Sweep.dispatch()
    operator = start_operator()
    poll(lambda: Operation.objects.finished().exists())
    poll(lambda: Tally.objects.exists(), timeout=FINEST + 20)
    operator.terminate()
    assert operator.wait() == 0, operator.log
    assert counted().finished == 1
