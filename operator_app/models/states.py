"""The states of an operation, as conditions on its timestamps: the only place that spells them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.db.models import Q, QuerySet

from operator_app import clock
from operator_app.models.process import OperatorProcess
from operator_app.moments import in_words

if TYPE_CHECKING:
    from operator_app.models.operation import Operation

BY_HAND_FOR: Final = timedelta(hours=1)
"""How long an operation started by `dispatch_now` may run if it has no timeout of its own."""

ENDINGS: Final = ("finished_run_at", "failed_run_at", "cancelled_at")
PENDING_COLUMNS: Final = (*ENDINGS, "started_run_at")
"""The columns that are null while an operation is pending."""
PENDING_SQL: Final = " AND ".join(f"{column} IS NULL" for column in PENDING_COLUMNS)
"""`PENDING`, for the queries written in SQL."""

NOT_ENDED: Final = Q(**{f"{column}__isnull": True for column in ENDINGS})
PENDING: Final = Q(started_run_at__isnull=True) & NOT_ENDED
STARTED: Final = Q(started_run_at__isnull=False) & NOT_ENDED

ONE_ENDING: Final = (
    Q(finished_run_at__isnull=True, failed_run_at__isnull=True)
    | Q(finished_run_at__isnull=True, cancelled_at__isnull=True)
    | Q(failed_run_at__isnull=True, cancelled_at__isnull=True)
)
OPERATOR_STARTED: Final = Q(operator__isnull=True) | Q(started_run_at__isnull=False)


def stuck(now: datetime) -> Q:
    """Started, not ended, and its operator is gone or lost, or its time has run out."""
    deserted = Q(operator__isnull=False) & ~Q(operator__in=_alive(now))
    overran = Q(times_out_at__lt=now)
    abandoned = Q(
        operator__isnull=True, times_out_at__isnull=True, started_run_at__lt=now - BY_HAND_FOR
    )
    return STARTED & (deserted | overran | abandoned)


def deserted(now: datetime) -> Q:
    """Started, not ended, and free to be rescued: its operator was declared lost or is gone; or it
    was started by hand and is long overdue. Death is a recorded fact here, not a judgement.
    """
    held = OperatorProcess.objects.filter(lost_at__isnull=True).values("pk")
    left = Q(operator__isnull=False) & ~Q(operator__in=held)
    overdue = Q(operator__isnull=True) & (
        Q(times_out_at__lt=now) | Q(times_out_at__isnull=True, started_run_at__lt=now - BY_HAND_FOR)
    )
    return STARTED & (left | overdue)


def running(now: datetime) -> Q:
    """Started, not ended, its operator alive, within its time."""
    in_time = Q(times_out_at__isnull=True) | Q(times_out_at__gte=now)
    by_hand = Q(operator__isnull=True) & (
        Q(times_out_at__gte=now)
        | Q(times_out_at__isnull=True, started_run_at__gte=now - BY_HAND_FOR)
    )
    return STARTED & (by_hand | (Q(operator__isnull=False) & Q(operator__in=_alive(now)) & in_time))


def _alive(now: datetime) -> QuerySet[OperatorProcess, int]:
    """Return the ids of the operators that live: a list that is made once for a query. Asking for
    each operation whether its own one is there looks so expensive to PostgreSQL that it compiles
    the query.
    """
    return OperatorProcess.objects.alive(now).values_list("pk", flat=True)


def state_of(operation: Operation, alias: str) -> str:
    """Return the name of the state that `operation` is in now; the same rules as the conditions."""
    if operation.finished_run_at is not None:
        return "finished"
    if operation.failed_run_at is not None:
        return "failed"
    if operation.cancelled_at is not None:
        return "cancelled"
    now = clock.now(alias)
    if operation.started_run_at is None:
        return "scheduled" if operation.should_run_at > now else "due"
    return "stuck" if _is_stuck(operation, now) else "running"


def _is_stuck(operation: Operation, now: datetime) -> bool:
    assert operation.started_run_at is not None
    if operation.times_out_at is not None and operation.times_out_at < now:
        return True
    if operation.operator_id is None:
        return operation.times_out_at is None and operation.started_run_at < now - BY_HAND_FOR
    operator = operator_of(operation)
    return operator is None or not operator.is_alive(now)


def stuck_reason(operation: Operation) -> str:
    """Return why a started operation does not get on, as a sentence for people. At most one query,
    for its operator.
    """
    if operation.operator_id is None:
        return "it was started by hand and has not ended in time"
    operator = operator_of(operation)
    if operator is None:
        return "its operator process is gone"
    now = clock.now(operation._alias)
    if operator.is_alive(now) and operation.times_out_at is not None:
        return overran(operation, now)
    since = _time_of(operator.heartbeat_at, now)
    return f"operator {operator} gave no heartbeat since {since}"


def _time_of(moment: datetime, now: datetime) -> str:
    """Return a moment as a clock on the wall shows it, where the project's time zone is; with its
    date if that is long ago.
    """
    local = clock.local(moment)
    is_recent = abs(now - moment) < timedelta(hours=12)
    return f"{local:%H:%M:%S}" if is_recent else f"{local:%Y-%m-%d %H:%M:%S}"


def overran(operation: Operation, now: datetime) -> str:
    """Return how long a begun operation with a timeout has been running, and what it may."""
    begun, until = operation.begun_run_at or operation.started_run_at, operation.times_out_at
    assert begun is not None and until is not None
    ran, allowed = (now - begun).total_seconds(), (until - begun).total_seconds()
    return f"ran {in_words(ran)}, timeout {in_words(allowed)}"


def operator_name(operation: Operation) -> str:
    """Return "host:pid" of the operator that holds an operation; empty if it is gone."""
    operator = operator_of(operation)
    return "" if operator is None else str(operator)


def operator_of(operation: Operation) -> OperatorProcess | None:
    """Return the operator that holds an operation; None if its row is gone. At most one query."""
    try:
        return operation.operator
    except OperatorProcess.DoesNotExist:
        return None
