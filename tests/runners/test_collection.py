"""All runners of an operator, asked and told as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from operator_app.exceptions import OperatorLost
from operator_app.models import OperationJob
from operator_app.runners import InlineRunner, Runners, ThreadRunner
from tests.processes import poll
from tests.runners.test_contract import PATIENCE, Done, Held

pytestmark = pytest.mark.django_db


class Owned(Held):
    """A job of an operator."""

    interruption: BaseException | None = None
    kind_id = 1

    def __init__(self, operator_id: int) -> None:
        super().__init__()
        self.operation = self
        self.holder_id = operator_id


@pytest.fixture
def done() -> Done:
    return Done()


@pytest.fixture
def runners(done: Done) -> Iterator[Runners]:
    """One thread, and the main thread."""
    runners = Runners(
        {"threads": ThreadRunner(1, done.append), "inline": InlineRunner(done.append)}
    )
    yield runners
    runners.close()


@pytest.fixture
def owned() -> Iterator[Callable[[int], Owned]]:
    """Makes jobs, which are let go after the test at the latest."""
    made: list[Owned] = []

    def make(operator_id: int) -> Owned:
        made.append(Owned(operator_id))
        return made[-1]

    yield make
    for job in made:
        job.let_go.set()


def test_what_a_dead_identity_held_is_dropped_or_asked_to_end(
    runners: Runners, owned: Callable[[int], Owned], done: Done
) -> None:
    """Rule 5.2: what has not begun under it is dropped and never runs, what runs is asked to end;
    what was claimed under the new identity goes on.
    """
    running, waiting, new = owned(1), owned(1), owned(2)
    for job in (running, waiting, new):
        runners["threads"].submit(job)  # type: ignore[arg-type]
    assert running.begun.wait(PATIENCE)
    error = OperatorLost("taken for dead")
    runners.disown(1, error)
    assert (running.interruption, waiting.interruption, new.interruption) == (error, None, None)
    assert runners.held == [new, running]
    running.let_go.set()
    assert new.begun.wait(PATIENCE)
    new.let_go.set()
    done.wait(2)
    poll(lambda: runners.is_idle, PATIENCE, "the runners to be idle")
    assert done == [running, new]
    assert waiting.runs == 0


def test_what_a_dead_identity_claims_late(
    runners: Runners, owned: Callable[[int], Owned], done: Done
) -> None:
    """A claim was under way when the operator was taken for dead: what comes of it is dropped or
    asked to end when somebody looks, and is asked once."""
    error = OperatorLost("taken for dead")
    runners.disown(1, error)
    running, waiting = owned(1), owned(1)
    for job in (running, waiting):
        runners["threads"].submit(job)  # type: ignore[arg-type]
    assert running.begun.wait(PATIENCE)
    runners.drop_disowned()
    assert (running.interruption, waiting.interruption) == (error, None)
    assert runners.held == [running]
    wish = running.interruption = KeyError()
    runners.drop_disowned()
    assert running.interruption is wish


def test_nothing_is_out_of_sight_while_others_are_dropped(
    runners: Runners, owned: Callable[[int], Owned], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken back and submitted again is held all the time, or a recount would release
    it."""
    running, new, old = owned(2), owned(2), owned(1)
    for job in (running, new, old):
        runners["threads"].submit(job)  # type: ignore[arg-type]
    assert running.begun.wait(PATIENCE)
    seen: list[object] = []
    recount = threading.Thread(target=lambda: seen.extend(runners.held))
    submit = runners["threads"].submit

    def look_meanwhile(job: OperationJob) -> None:
        recount.start()
        recount.join(0.3)
        submit(job)

    monkeypatch.setattr(runners["threads"], "submit", look_meanwhile)
    runners.disown(1, OperatorLost("taken for dead"))
    recount.join(PATIENCE)
    assert seen == [new, running]


def test_what_runs_under_the_new_identity_is_let_alone(
    runners: Runners, owned: Callable[[int], Owned]
) -> None:
    """It is nobody's business that its operator had another name once."""
    job = owned(2)
    runners["threads"].submit(job)  # type: ignore[arg-type]
    assert job.begun.wait(PATIENCE)
    runners.disown(1, OperatorLost("taken for dead"))
    assert job.interruption is None


def test_interrupting(runners: Runners, owned: Callable[[int], Owned]) -> None:
    """The job is asked by whichever runner runs it; one that does not run is not."""
    job, other = owned(1), owned(1)
    runners["threads"].submit(job)  # type: ignore[arg-type]
    assert job.begun.wait(PATIENCE)
    for each in (job, other):
        runners.interrupt(each, KeyError())  # type: ignore[arg-type]
    assert isinstance(job.interruption, KeyError)
    assert other.interruption is None
