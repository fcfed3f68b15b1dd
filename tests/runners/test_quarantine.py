"""Suspects, one at a time, in a child process: only the guilty one is charged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError

from operator_app.exceptions import OperationAborted
from operator_app.models import Operation, OperationJob
from operator_app.models.querysets import OperationQuerySet
from operator_app.outcomes import Aborted, Finished, Released, Retried
from operator_app.runners import Quarantine
from operator_app.runners.children import Child
from tests.models.tools import stored
from tests.processes import poll
from tests.runners.conftest import Collected, closed
from tests.runners.support import begun, pids
from tests.work.models import Deed, Entry

pytestmark = pytest.mark.django_db(transaction=True)

Suspect = Callable[[Operation], OperationJob]


@pytest.fixture
def quarantine(in_children: None, collected: Collected) -> Iterator[Quarantine]:
    quarantine = Quarantine(collected.append)
    yield quarantine
    closed(quarantine)


def test_suspects_run_one_by_one(
    quarantine: Quarantine, collected: Collected, suspect: Suspect
) -> None:
    """However many are submitted, one runs at a time, in one child, in the order they came."""
    first = suspect(Deed.dispatch(ending="wait"))
    others = [suspect(Deed.dispatch()) for _ in range(3)]
    for job in [first, *others]:
        quarantine.submit(job)
    begun(1)
    assert (quarantine.free, quarantine.is_idle, quarantine.running) == (0, False, [first])
    assert set(map(id, quarantine.held)) == set(map(id, [first, *others]))
    assert [stored(job.operation).begun_run_at is None for job in others] == [True] * 3
    assert quarantine.take_back() == others
    assert quarantine.abandon() == [first]
    assert collected == []


def test_the_next_one_follows_by_itself(
    quarantine: Quarantine, collected: Collected, suspect: Suspect
) -> None:
    """When one has ended the next begins; free again when all have."""
    jobs = [suspect(Deed.dispatch()) for _ in range(3)]
    for job in jobs:
        quarantine.submit(job)
    collected.wait(3)
    assert collected == jobs
    assert [type(job.ending) for job in jobs] == [Finished] * 3
    assert len(set(pids())) == 1
    poll(lambda: quarantine.is_idle and quarantine.free == 1, 10, "the quarantine to be idle")


def test_whoever_ran_is_guilty(
    quarantine: Quarantine, collected: Collected, suspect: Suspect
) -> None:
    """The one that kills the child is charged; those before and after it finish."""
    jobs = [suspect(Deed.dispatch(ending=ending)) for ending in ("", "exit 9", "")]
    for job in jobs:
        quarantine.submit(job)
    collected.wait(3)
    assert [type(job.ending) for job in jobs] == [Finished, Retried, Finished]
    Operation.all_objects.record(jobs)
    assert [stored(job.operation).crashes for job in jobs] == [1, 2, 1]


def test_that_a_suspect_begins_is_written_before(
    quarantine: Quarantine, collected: Collected, suspect: Suspect, monkeypatch: Any
) -> None:
    """Were the operator to die now, too, the next one would know whom it ran."""
    job, send = suspect(Deed.dispatch()), Child.run
    seen: list[tuple[bool, int]] = []

    def look(child: Child, claim: Any) -> Any:
        seen.append((stored(job.operation).begun_run_at is not None, Entry.objects.count()))
        return send(child, claim)

    monkeypatch.setattr(Child, "run", look)
    quarantine.submit(job)
    collected.wait(1)
    assert seen == [(True, 0)]


def test_what_waits_for_the_child_is_taken_back(
    quarantine: Quarantine, collected: Collected, suspect: Suspect
) -> None:
    """The suspect that the child has stays with it; those behind it are returned."""
    jobs = [suspect(Deed.dispatch(ending="wait")) for _ in range(3)]
    for job in jobs:
        quarantine.submit(job)
    poll(lambda: quarantine.running, 60, "the first one to be sent")
    assert quarantine.take_back() == jobs[1:]
    assert not quarantine.is_idle
    assert quarantine.abandon() == jobs[:1]
    assert quarantine.is_idle
    assert collected == []


def test_taken_back_in_the_last_moment(
    quarantine: Quarantine, collected: Collected, suspect: Suspect, monkeypatch: Any
) -> None:
    """A suspect that is taken back while it is written down that it begins does not begin."""
    jobs, begin = [suspect(Deed.dispatch()) for _ in range(2)], OperationJob.begin
    taken: list[OperationJob] = []

    def take_back(job: OperationJob) -> bool:
        if job is jobs[0]:
            taken.extend(quarantine.take_back())
        return begin(job)

    monkeypatch.setattr(OperationJob, "begin", take_back)
    quarantine.submit(jobs[0])
    poll(lambda: taken, 60, "the first to be taken back")
    quarantine.submit(jobs[1])
    assert collected.wait(1) is jobs[1]
    assert taken == jobs[:1]
    ran = Entry.objects.values_list("operation_number", flat=True)
    assert set(ran) == {jobs[1].operation_id}


def test_a_claim_lost_before_it_began(
    quarantine: Quarantine, collected: Collected, suspect: Suspect
) -> None:
    """Operations that are somebody else's by now are not run, however many; the next one is."""
    lost = [suspect(Deed.dispatch()) for _ in range(50)]
    Operation.all_objects.update(operator=None)
    last = suspect(Deed.dispatch())
    for job in [*lost, last]:
        quarantine.submit(job)
    collected.wait(51)
    assert {type(job.ending) for job in lost} == {Released}
    assert isinstance(last.ending, Finished)
    assert Operation.all_objects.record(lost) == []
    assert len(pids()) == 1


def test_an_outage_before_it_began(
    quarantine: Quarantine, collected: Collected, suspect: Suspect, monkeypatch: Any
) -> None:
    """If it cannot be written down that a suspect begins it does not; it is released for later."""
    job = suspect(Deed.dispatch())

    def away(*args: Any, **changes: Any) -> int:
        raise OperationalError("the server has gone away")

    monkeypatch.setattr(OperationQuerySet, "update", away)
    quarantine.submit(job)
    assert collected.wait(1) is job
    assert isinstance(job.ending, Released)
    assert job.ending.delay > 0
    poll(lambda: quarantine.is_idle, 10, "the quarantine to be idle")
    assert pids() == []


def test_the_books_are_right_while_a_job_is_handed_over(
    in_children: None, suspect: Suspect
) -> None:
    """While `done` is called the job is still in the quarantine's books: it is never in neither."""
    seen: list[tuple[bool, int]] = []
    quarantine = Quarantine(lambda job: seen.append((quarantine.is_idle, len(quarantine.held))))
    try:
        quarantine.submit(suspect(Deed.dispatch()))
        poll(lambda: seen, 60, "the job to end")
        assert seen == [(False, 1)]
    finally:
        closed(quarantine)


def test_a_suspect_can_be_interrupted(
    quarantine: Quarantine, collected: Collected, suspect: Suspect
) -> None:
    """An abort reaches it, as it does any job in a child; the next one runs."""
    job, following = suspect(Deed.dispatch(ending="wait")), suspect(Deed.dispatch())
    quarantine.submit(job)
    quarantine.submit(following)
    begun(1)
    quarantine.interrupt(job, OperationAborted("enough"))
    collected.wait(2)
    assert [type(each.ending) for each in (job, following)] == [Aborted, Finished]
