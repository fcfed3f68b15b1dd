"""For tests of projects: run what is due, here and now."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from operator_app import clock
from operator_app.duties import Dispatch, Heartbeat, Record
from operator_app.models import OperationJob
from operator_app.policy import RUNNERS
from operator_app.runners import InlineRunner, Runner


def run_due(
    *,
    now: datetime | None = None,
    limit: int | None = None,
    queues: Collection[str] = (),
    database: str = "default",
) -> list[OperationJob]:
    """Run operations that are due, in this thread and transaction; return their jobs, in order.

    They take the same way as in an operator (claim, run, record, hooks), so `TestCase` is enough.
    What becomes due by running is run too: a retry without delay, an operation that another one
    dispatches. A job's `outcome` tells how it ended, its `error` what `run()` raised.

    Args:
        now: the time that it is to be for the engine, so that operations of the future are due.
        limit: how many to run at most.
        queues: the queues to serve; empty for all.
        database: the alias of the operations' database.

    Raises:
        KeyboardInterrupt: if Ctrl-C was hit; the operation that was running is released.
    """
    done: list[OperationJob] = []
    record = Record(database, OperationJob.call_hooks)

    def take(job: OperationJob) -> None:
        done.append(job)
        record.add(job)

    runner = InlineRunner(take)
    runners: dict[str, Runner] = dict.fromkeys(RUNNERS, runner)
    heartbeat = Heartbeat(database, queues=list(queues), capacity=1)
    dispatch = Dispatch(database, heartbeat=heartbeat, runners=runners, queues=queues)
    with clock.at(now):
        heartbeat.register()
        try:
            while limit is None or len(done) < limit:
                before = len(done)
                dispatch.run()
                record.run()
                if len(done) == before:
                    break
        finally:
            record.run()
            heartbeat.stop()
    return done
