"""Bulk verbs among claims and records: thousands of rows, everybody at once, and no deadlock."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import Error, connection

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperationQuerySet, OperatorProcess, verbs
from operator_app.outcomes import Finished, Released, Stopped
from tests.kinds.models import Note, Sweep
from tests.models.tools import Make, Thread, claim_all

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor == "sqlite", reason="one writer at a time cannot deadlock"
    ),
]

ROUNDS = 3
COUNT = 2_000


class Crowd:
    """Several people and operators, each with a thread and a connection, and what went wrong."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.done: Counter[str] = Counter()
        self.is_over = threading.Event()

    def _noting(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        # Beneath the engine, which tries a transaction again that has lost a deadlock.
        try:
            return execute(*arguments)
        except Error as error:
            self.errors.append(repr(error))
            raise

    def thread(self, name: str, work: Callable[[], int], rounds: int | None = None) -> Thread:
        """Do it again and again, so many times or until all is over."""

        def repeat() -> None:
            with ExitStack() as stack:
                stack.enter_context(connection.execute_wrapper(self._noting))
                count = 0
                while not self.is_over.is_set() and (rounds is None or count < rounds):
                    self.done[name] += work()
                    count += 1

        return Thread(repeat)


def work_as(operator: OperatorProcess) -> int:
    """Claim some, and record how they ended, in some order."""
    jobs = [OperationJob.of(row) for row in claim_all(operator, limit=50)]
    for job in jobs:
        job.end_as(random.choice([Finished(), Stopped("later", delay=0.01), Released("no")]))
    random.shuffle(jobs)
    return len(Operation.all_objects.record(jobs))


def test_nobody_deadlocks(make_operator: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators claim and record while people cancel, abort, retry and reschedule the same rows in
    large numbers. On PostgreSQL no statement fails, also none that would have been tried again. On
    MariaDB a claim reads through an index that a verb has to change, and its SKIP LOCKED may wait
    there for a row; whoever loses is tried again, and nobody hears of it.
    """
    monkeypatch.setattr(verbs, "CHUNK", 500)
    for kind in (Note, Sweep):
        kind.schedule_many([kind(should_run_at=clock.now()) for _ in range(COUNT // 2)])
    ids = list(Operation.all_objects.values_list("pk", flat=True))

    def some() -> OperationQuerySet[Any]:
        return Operation.all_objects.filter(pk__in=random.sample(ids, COUNT // 2)).order_by("?")

    crowd = Crowd()
    operators = [
        crowd.thread("recorded", partial(work_as, operator))
        for operator in [make_operator() for _ in range(3)]
    ]
    people = [
        crowd.thread("aborted", lambda: some().abort("no"), ROUNDS),
        crowd.thread("cancelled", lambda: some().cancel("no", abort=True), ROUNDS),
        crowd.thread("hidden", lambda: some().cancel("no"), ROUNDS),
        crowd.thread("retried", lambda: some().retry(), 3 * ROUNDS),
        crowd.thread("moved", lambda: some().reschedule(timedelta(0)), 2 * ROUNDS),
        crowd.thread("hastened", lambda: some().run_now(), ROUNDS),
    ]
    for person in people:
        person.result(120)
    crowd.is_over.set()
    for each in operators:
        each.result(60)
    assert crowd.errors == [] or connection.vendor == "mysql", crowd.errors
    busy = ("recorded", "cancelled", "hidden", "retried", "moved")
    assert all(crowd.done[name] for name in busy), crowd.done
    assert Operation.all_objects.count() == COUNT
