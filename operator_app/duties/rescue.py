"""Find operations whose operator is dead, and turn each into an ordinary outcome."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import OperationalError

from operator_app import clock, conf, log
from operator_app.duties.base import Duty
from operator_app.duties.heartbeat import Heartbeat
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.models.process import successor
from operator_app.models.rescues import declared_lost, rescued, survey, take_over_rows, unlocked_ids
from operator_app.models.transactions import is_locked

BATCH: Final = 500
"""How many operations are rescued in one transaction at most."""


def rescue_deserted(
    database: str, now: datetime, recorded: Callable[[OperationJob], None]
) -> frozenset[int]:
    """Rescue every operation whose operator was declared lost or is gone, batch by batch; return
    the ids of those that somebody has locked, and that are left for a later look: a process that is
    stopped, and not dead, may hold a lock for as long as it likes.

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
    left: set[int] = set()
    for start in range(0, len(ids), BATCH):
        group = ids[start : start + BATCH]
        free = unlocked_ids(group, database)
        left.update(set(group) - free)
        deserted = operations.deserted(now).filter(pk__in=free)
        batch = deserted.select_related("operator").order_by("pk")
        jobs = [job for operation in batch if (job := rescued(operation)) is not None]
        for held in _recorded(jobs, database, left):
            recorded(held)
    return frozenset(left)


def _recorded(jobs: list[OperationJob], database: str, left: set[int]) -> list[OperationJob]:
    """Write how these jobs ended, one by one if somebody has locked what one of them needs; return
    those whose claim still held, and add the operations that have to wait to `left`.
    """
    operations = Operation.all_objects.using(database)
    take_over_rows(jobs, database)
    try:
        return operations.record(jobs)
    except OperationalError as error:
        if not is_locked(error):
            raise
    if len(jobs) == 1:
        # Its attempt is being inserted, say, which nobody sees before the commit.
        left.add(jobs[0].operation_id)
        return []
    return [held for job in jobs for held in _recorded([job], database, left)]


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
        self._locked: frozenset[int] = frozenset()
        self._told: frozenset[int] = frozenset()

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
            if declared_lost(process, now):
                log.logger.error(
                    "Operator %s has given no heartbeat since %s; what it held is rescued.",
                    process,
                    process.heartbeat_at.isoformat(" ", "seconds"),
                    extra={"action": "operator_lost", "operator": str(process.uuid)},
                )
        locked: frozenset[int] = frozenset()
        if expired or is_any_deserted:
            locked = rescue_deserted(self._database, now, self._recorded)
        self._report(locked)
        if any(process.was_lost_long_ago(now) for process in operators):
            OperatorProcess.objects.using(self._database).forget_lost(now)
        # Whoever lives beats and is dead at that later; who has come meanwhile, too.
        ends = [(process.alive_until - now).total_seconds() + 0.01 for process in living]
        return min([beat.timeout, *(max(0.05, end) for end in ends)])

    def _report(self, locked: frozenset[int]) -> None:
        """Say of each operation once that it waits for whoever has locked it; not the first time
        that it is met, when that may be another rescuer.
        """
        self._told &= locked
        fresh = (locked & self._locked) - self._told
        for pk in sorted(fresh):
            log.logger.warning(
                "The operation #%d was held by an operator that is lost, and cannot be rescued "
                "yet: a transaction has locked its row. That may be its own run, in a process that "
                "is stopped and not dead; end that, or the session of the database.",
                pk,
                extra={"action": "rescue_waits", "operation_id": pk},
            )
        self._locked, self._told = locked, self._told | fresh
