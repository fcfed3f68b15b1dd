"""Looks at the operations of the demo from outside, as an admin page would."""

from collections.abc import Sequence
from dataclasses import dataclass

from operator_app.models import Operation, OperationJob, OperatorProcess

from .scenario import Step

ENDED = {"finished", "failed", "cancelled"}


@dataclass(frozen=True)
class Glimpse:
    """What one operation is doing at the moment."""

    name: str
    state: str
    claims: int
    attempt: str
    done: float
    total: float
    message: str


def look(steps: Sequence[Step]) -> dict[int, Operation]:
    """Return the operations of these steps as they are now, by id. One query."""
    return Operation.all_objects.in_bulk([step.operation.pk for step in steps])


def glimpses(steps: Sequence[Step]) -> list[Glimpse]:
    """Return what the operations of these steps are doing. Two queries."""
    found = look(steps)
    jobs = {
        job.operation_id: job
        for job in OperationJob.objects.filter(operation__in=found).order_by("number")
    }
    return [glimpse(step, found[step.operation.pk], jobs.get(step.operation.pk)) for step in steps]


def glimpse(step: Step, now: Operation, job: OperationJob | None) -> Glimpse:
    """Return what one operation is doing, of which `job` is the last attempt with a row."""
    return Glimpse(
        name=step.name,
        state=now.state,
        claims=now.attempts,
        attempt=attempt(step, now),
        done=job.progress_done or 0 if job else 0,
        total=job.progress_total or 0 if job else 0,
        message=message(now, job),
    )


def attempt(step: Step, now: Operation) -> str:
    """Return "2 of 3" for an operation that has been tried; a stop uses no attempt up."""
    if not now.attempts:
        return ""
    number = now.failures + (not now.failed_run_at)
    return f"{number} of {type(step.operation).resolved_policy().max_attempts}"


def message(now: Operation, job: OperationJob | None) -> str:
    """Return the last thing that is to be said of an operation."""
    if now.reason or job is None:
        return now.reason
    if job.number < now.attempts:
        return ""  # Old news: a new attempt has begun.
    if job.exception_class:
        return f"{job.exception_class.rpartition('.')[2]}: {job.message}"
    return job.progress_message or job.message


def operator_of(step: Step) -> OperatorProcess | None:
    """Return the operator that holds the operation of a step now; None if none does."""
    held = Operation.objects.started().filter(pk=step.operation.pk).select_related("operator")
    return next((operation.operator for operation in held), None)


def rescue_of(step: Step) -> OperationJob | None:
    """Return the attempt that its operator did not survive, once that has been recorded."""
    error = "operator_app.exceptions.OperatorLost"
    return OperationJob.objects.filter(operation=step.operation.pk, exception_class=error).first()


def all_ended(steps: Sequence[Step]) -> bool:
    """Tell whether every operation that is to end in the demo has. One query."""
    found = look(steps)
    return all(found[step.operation.pk].state in ENDED for step in steps if step.becomes in ENDED)
