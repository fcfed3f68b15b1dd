"""Compare what this operator holds with what the database says it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from operator_app import conf, log
from operator_app.duties.base import Duty
from operator_app.duties.heartbeat import Heartbeat
from operator_app.models import Operation, OperationJob
from operator_app.outcomes import RELEASED_AFTER, Released


class Recount(Duty):
    """Releases what is claimed for this operator and which it does not know of.

    A claim can be committed though its answer is lost with the connection. Nobody would run such an
    operation, and nobody would rescue it for as long as this operator lives.

    Args:
        database: the alias of the operations' database.
        heartbeat: whose process the operations are claimed for.
        held: returns every job that was claimed and has not been recorded.
    """

    def __init__(
        self, database: str, *, heartbeat: Heartbeat, held: Callable[[], Iterable[OperationJob]]
    ) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._held = held

    def run(self) -> float:
        """Count once; return the seconds to the next time. One query if all is well.

        An error of the database is what loses an answer, and after one the operator counts at once;
        from time to time without one, for a commit that has landed even later.

        Only on the thread that claims and records, so that nothing is claimed or recorded between
        the look at the database and that at what is held.
        """
        process = self._heartbeat.process
        operations = Operation.all_objects.using(self._database)
        rows = list(operations.started().filter(operator=process))
        held = {(job.operation_id, job.number) for job in self._held()}
        unknown = [row for row in rows if (row.pk, row.attempts) not in held]
        jobs = [OperationJob.of(row, operator=str(process)) for row in unknown]
        for job in jobs:
            delay = RELEASED_AFTER if job.operation.begun_run_at else 0.0
            job.end_as(Released("the answer to its claim was lost", delay=delay))
        if jobs:
            log.logger.warning(
                "%d operations were claimed and the answer was lost: they are released.",
                len(operations.record(jobs)),
                extra={"action": "recounted"},
            )
        return 2 * conf.get().HEARTBEAT.timeout
