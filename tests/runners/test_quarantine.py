"""Suspects, one at a time, in a child process: only the guilty one is charged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError

from operator_app.models import Operation, OperationJob
from operator_app.models.querysets import OperationQuerySet
from operator_app.outcomes import Finished, Released, Retried
from operator_app.runners import Quarantine
from tests.models.tools import stored
from tests.processes import poll
from tests.runners.conftest import Collected, closed
from tests.runners.test_processes import begun, pids
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
    for job in others[1:]:
        quarantine.submit(job)
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
    quarantine: Quarantine, collected: Collected, suspect: Suspect
) -> None:
    """Were the operator to die now, too, the next one would know whom it ran."""
    job = suspect(Deed.dispatch(ending="wait"))
    quarantine.submit(job)
    assert stored(job.operation).begun_run_at is not None
    assert Entry.objects.count() == 0, "the child cannot be there yet"


def test_what_waits_for_the_child_is_taken_back(
    quarantine: Quarantine, collected: Collected, suspect: Suspect
) -> None:
    """The suspect that the child has stays with it, begun or not; those behind it are returned."""
    jobs = [suspect(Deed.dispatch(ending="wait")) for _ in range(3)]
    for job in jobs:
        quarantine.submit(job)
    assert quarantine.take_back() == jobs[1:]
    assert not quarantine.is_idle
    assert quarantine.abandon() == jobs[:1]
    assert quarantine.is_idle
    assert collected == []


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
    assert collected == [job]
    assert isinstance(job.ending, Released)
    assert job.ending.delay > 0
    assert quarantine.is_idle


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
