"""What a runner in threads takes ahead of its turn, and what it gives back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from operator_app.runners import ThreadRunner
from operator_app.runners import threads as threads_module
from operator_app.runners.pace import AHEAD, MOST, Pace
from tests.processes import poll
from tests.runners.test_contract import PATIENCE, Done, Held, Job

pytestmark = pytest.mark.django_db

KIND = Job.kind_id
OTHER = 2


@pytest.fixture
def done() -> Done:
    return Done()


@pytest.fixture
def runner(done: Done) -> Iterator[ThreadRunner]:
    runner = ThreadRunner(1, done.append)
    yield runner
    runner.close()


@pytest.fixture
def held() -> Iterator[Held]:
    job = Held()
    yield job
    job.let_go.set()


def submit(runner: ThreadRunner, *jobs: Job) -> None:
    for job in jobs:
        runner.submit(job)  # type: ignore[arg-type]


def test_as_many_as_free_threads_at_first(runner: ThreadRunner, held: Held, done: Done) -> None:
    """Until a kind has run, nothing is known of it."""
    assert not runner.is_quick(KIND)
    assert (runner.room([KIND]), runner.room([])) == (1, 1)
    submit(runner, held)
    assert held.begun.wait(PATIENCE)
    assert runner.room([KIND]) == 0
    assert not runner.has_waiting


def test_more_once_it_is_known_to_be_quick(
    runner: ThreadRunner, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it learns from runs that took but a moment; only for that kind, and no more than the
    most, of which half must have begun before more are taken.
    """
    monkeypatch.setattr(threads_module, "SHORT", 60.0)  # However slow this machine is.
    submit(runner, Job())
    done.wait(1)
    poll(lambda: runner.is_idle, PATIENCE)
    assert KIND in runner._pace._expected
    runner._pace.learn(OTHER, 100.0)
    runner._pace = Pace()
    runner._pace.learn(KIND, 0.0)
    assert runner.is_quick(KIND) and not runner.is_quick(OTHER)
    assert runner.room([KIND]) == MOST
    assert runner.room([KIND, OTHER]) == 1

    blocking, waiting = Held(), [Job() for _ in range(MOST // 2 + 1)]
    submit(runner, blocking)
    assert blocking.begun.wait(PATIENCE)
    submit(runner, *waiting[:-1])
    assert runner.has_waiting
    assert runner.room([KIND]) == MOST - len(waiting) + 1
    submit(runner, waiting[-1])
    assert runner.room([KIND]) == 0
    blocking.let_go.set()
    done.wait(len(waiting) + 2)
    assert [job.runs for job in waiting] == [1] * len(waiting)


def test_nothing_ahead_behind_one_that_takes_long(
    runner: ThreadRunner, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is expected of its kind: how long it has been running is what counts."""
    runner._pace.learn(KIND, AHEAD / 10)
    submit(runner, held)
    assert held.begun.wait(PATIENCE)
    monkeypatch.setattr(threads_module, "SHORT", 60.0)
    assert runner.room([KIND]) == 10
    monkeypatch.setattr(threads_module, "SHORT", 0.0)
    assert runner.room([KIND]) == 0


def test_what_waits_too_long_is_given_back(
    runner: ThreadRunner, held: Held, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, once no thread has come free for so long; not before, and not what merely has not
    begun yet in a thread of its own.
    """
    waiting = [Job(), Job()]
    submit(runner, held)
    assert held.begun.wait(PATIENCE)
    monkeypatch.setattr(threads_module, "LATE", 0.0)
    assert runner.take_back_late() == []
    submit(runner, *waiting)
    monkeypatch.setattr(threads_module, "LATE", 60.0)
    assert runner.take_back_late() == []
    monkeypatch.setattr(threads_module, "LATE", 0.0)
    poll(lambda: runner.take_back_late() == waiting, PATIENCE, "the jobs to be given back")
    assert runner.held == [held] and not runner.has_waiting
    held.let_go.set()
    done.wait(1)
    assert done == [held] and [job.runs for job in waiting] == [0, 0]


def test_close_waits_for_what_is_no_users_business(
    runner: ThreadRunner, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that has handed its job over and is still tidying up has ended when it returns."""
    tidying, let_go = threading.Event(), threading.Event()

    def slow() -> bool:
        tidying.set()
        assert let_go.wait(PATIENCE)
        return False

    monkeypatch.setattr(threads_module, "are_untidy", slow)
    submit(runner, Job())
    done.wait(1)
    assert tidying.wait(PATIENCE)
    threading.Timer(0.1, let_go.set).start()
    runner.close()
    assert not any(thread.is_alive() for thread in runner._threads)
