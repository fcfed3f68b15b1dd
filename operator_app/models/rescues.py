"""What becomes of an operation whose operator is lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Subquery

from operator_app.decision import decide_crash
from operator_app.exceptions import OperatorLost
from operator_app.models import attempts, kinds, states
from operator_app.models.job import OperationJob
from operator_app.models.operation import Operation
from operator_app.models.process import OperatorProcess
from operator_app.models.transactions import in_transaction, unlocked
from operator_app.outcomes import Aborted, Failed, Outcome, Released
from operator_app.reports import ErrorReport

_BEGUN: Final = (
    "log",
    "begun_at",
    "meta",
    "progress_done",
    "progress_total",
    "progress_message",
    "stack",
)


def survey(alias: str, now: datetime) -> tuple[list[OperatorProcess], bool]:
    """Return all operators, the lost ones too, and whether an operation is deserted. One query."""
    # The first in the order of the index of what has started: PostgreSQL takes these few rows for a
    # quarter of the table, and reads all of it if it is asked whether there is one in any order.
    deserted = Operation.all_objects.using(alias).deserted(now)
    first = deserted.order_by("operator_id", "started_run_at").values("pk")[:1]
    found = OperatorProcess.objects.using(alias).annotate(first_deserted=Subquery(first))
    operators = list(found)
    # Without a row there is no answer either.
    is_any = not operators or getattr(operators[0], "first_deserted", None) is not None
    return operators, is_any


def unlocked_ids(ids: Sequence[int], alias: str) -> set[int]:
    """Return those of these operations that nobody has locked at this moment, nor any of their
    attempts that are there; on SQLite, which has no locks of rows, all of them. A transaction with
    three queries.
    """

    def look() -> set[int]:
        free = set(unlocked(rows))
        found = dict(attempts_.values_list("pk", "operation_id"))
        held = found.keys() - set(unlocked(attempts_.values_list("pk", flat=True)))
        return free - {found[pk] for pk in held}

    rows = kinds.operations(alias).filter(pk__in=ids).order_by("pk").values_list("pk", flat=True)
    attempts_ = OperationJob.objects.using(alias).filter(operation__in=ids).order_by("pk")
    return in_transaction(alias, look)


def locked_ids(ids: Sequence[int], alias: str) -> set[int]:
    """Return those of these operations that are there, and that somebody has locked at this moment.
    A transaction with two queries.
    """

    def look() -> set[int]:
        return set(rows) - set(unlocked(rows.all()))

    rows = kinds.operations(alias).filter(pk__in=ids).order_by("pk").values_list("pk", flat=True)
    return in_transaction(alias, look)


def declared_lost(process: OperatorProcess, now: datetime) -> bool:
    """Declare an operator lost that gives no sign of life; return whether it was this that did it.
    Not if somebody has locked its row, who may be writing one. A transaction with two queries.
    """
    alias = process._state.db or DEFAULT_DB_ALIAS
    rows = OperatorProcess.objects.using(alias).filter(pk=process.pk)
    return in_transaction(alias, lambda: bool(unlocked(rows)) and process.declare_lost(now))


def take_over_rows(jobs: Sequence[OperationJob], alias: str) -> list[OperationJob]:
    """Let jobs complete the rows that their attempts have begun, with progress say; return those
    that have one. What a job knows itself is newer, and stands. One query.
    """
    taken = []
    claims = {(job.operation_id, job.number): job for job in jobs}
    ids = [job.operation_id for job in jobs]
    for row in OperationJob.objects.using(alias).filter(operation__in=ids) if ids else ():
        job = claims.get((row.operation_id, row.number))
        if job is not None:
            job.has_row, job.pk = True, row.pk
            for name in _BEGUN:
                if getattr(job, name) in (None, "", {}):
                    setattr(job, name, getattr(row, name))
            taken.append(job)
    return taken


def rescued(operation: Operation) -> OperationJob | None:
    """Return the job of a deserted operation, with what becomes of it; None if it is left as it is:
    its policy says so, or this process does not know its kind. No queries.
    """
    alias = operation._alias
    model = kinds.model_of(operation.kind_id, alias)
    if model is None:
        return None
    error = OperatorLost(states.stuck_reason(operation))
    outcome: Outcome | None
    if operation.abort_requested_at is not None:
        outcome = Aborted(operation.reason or "asked to abort")
    elif operation.operator_id is None:
        outcome = Failed(str(error), error=ErrorReport.of(error), crashed=True)
    elif operation.crashes and operation.begun_run_at is None:
        # A suspect waiting for its turn: what began is written down before it does.
        outcome = Released("its operator died before it had begun")
    else:
        policy = model.resolved_policy()
        outcome = decide_crash(error, operation, attempts.past(operation), policy)
    if outcome is None:
        return None
    job = OperationJob.of(operation, operator=states.operator_name(operation))
    job.error = error
    job.end_as(outcome)
    return job
