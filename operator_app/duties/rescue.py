"""Find operations whose operator is dead, and turn each into an ordinary outcome."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from operator_app import clock, conf, log
from operator_app.duties.base import Duty
from operator_app.duties.heartbeat import Heartbeat
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.models.process import successor
from operator_app.models.rescues import rescued, survey, take_over_rows

BATCH: Final = 500
"""How many operations are rescued in one transaction at most."""


def rescue_deserted(database: str, now: datetime, recorded: Callable[[OperationJob], None]) -> None:
    """Rescue every operation whose operator was declared lost or is gone, batch by batch.

    One query if there is none, of an index that holds started operations only.

    Args:
        database: the alias of the operations' database.
        now: the database's time.
        recorded: called with each job whose rescue was written.
    """
    operations = Operation.all_objects.using(database)
    # Not in the order of ids: SQLite would walk the whole table for that, not the index of what
    # has started.
    ids = sorted(operations.deserted(now).order_by().values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        deserted = operations.deserted(now).filter(pk__in=ids[start : start + BATCH])
        batch = deserted.select_related("operator").order_by("pk")
        jobs = [job for operation in batch if (job := rescued(operation)) is not None]
        take_over_rows(jobs, database)
        for job in operations.record(jobs):
            recorded(job)


def rescue_operator(database: str, identity: UUID) -> None:
    """Declare an operator lost that is known to be dead, and rescue what it held.

    Args:
        database: the alias of the operations' database.
        identity: its first one; it has others if it was taken for dead before.

    Raises:
        DatabaseError: if the database is away.
    """
    now = clock.now(database)
    processes = OperatorProcess.objects.using(database)
    while (process := processes.filter(uuid=identity).first()) is not None:
        if processes.filter(pk=process.pk, lost_at__isnull=True).update(lost_at=now):
            rescue_deserted(database, now, OperationJob.call_hooks)
        identity = successor(identity)


class Rescue(Duty):
    """Declares operators lost that give no sign of life, and rescues what they held.

    Every operator does it; there is no leader. Each step is guarded, so two rescuers never act
    twice. One judges others only while its own heartbeat has been steady for a whole timeout: an
    outage, in which nobody can beat, must not make everybody declare everybody dead.

    Args:
        database: the alias of the operations' database.
        heartbeat: this operator's own.
        recorded: called with each job whose rescue was written, to call its hooks.
    """

    def __init__(
        self, database: str, *, heartbeat: Heartbeat, recorded: Callable[[OperationJob], None]
    ) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._recorded = recorded

    def run(self) -> float:
        """Declare, rescue, tidy up; return when the next operator could be dead.

        One query if all is well, about twice in a `HEARTBEAT["timeout"]`.
        """
        beat = conf.get().HEARTBEAT
        if not self._heartbeat.is_steady:
            return beat.interval
        now = clock.now(self._database)
        operators, is_any_deserted = survey(self._database, now)
        living = [process for process in operators if process.lost_at is None]
        expired = [process for process in living if not process.is_alive(now)]
        for process in expired:
            if process.declare_lost(now):
                log.logger.error(
                    "Operator %s has given no heartbeat since %s; what it held is rescued.",
                    process,
                    process.heartbeat_at.isoformat(" ", "seconds"),
                    extra={"action": "operator_lost", "operator": str(process.uuid)},
                )
        if expired or is_any_deserted:
            rescue_deserted(self._database, now, self._recorded)
        if any(process.was_lost_long_ago(now) for process in operators):
            OperatorProcess.objects.using(self._database).forget_lost(now)
        # Whoever lives beats and is dead at that later; who has come meanwhile, too.
        ends = [(process.alive_until - now).total_seconds() + 0.01 for process in living]
        return min([beat.timeout, *(max(0.05, end) for end in ends)])
