"""Operations that are run where they are made, by no operator."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from operator_app.exceptions import OperationInterrupt, OperatorError
from operator_app.models import scheduling
from operator_app.models.job import OperationJob
from operator_app.moments import later

if TYPE_CHECKING:
    from operator_app.models.operation import Operation

OperationT = TypeVar("OperationT", bound="Operation")


def run_here(model: type[OperationT], fields: dict[str, Any]) -> OperationT:
    """Insert an operation as started by hand and run it: see `Operation.dispatch_now()`."""
    operation = scheduling.build(
        model, timedelta(0), queue=None, priority=None, unique_key=None, fields=fields
    )
    operation.created_at = operation.started_run_at = operation.begun_run_at = (
        operation.should_run_at
    )
    operation.attempts = 1
    limit = model.resolved_policy().timeout
    if isinstance(limit, (int, float)):
        operation.times_out_at = later(operation.should_run_at, limit)
    operation.save()
    job = OperationJob.of(operation)
    try:
        job.perform(final=True)
    finally:
        # It may have deleted itself, or what it hangs on.
        with suppress(model.DoesNotExist):
            operation.refresh_from_db()
    if job.error is not None and job.ending is not None and job.ending.report is not None:
        raise _raisable(job.error)
    return operation


def _raisable(error: BaseException) -> BaseException:
    if not isinstance(error, OperationInterrupt):
        return error
    refusal = OperatorError(f"dispatch_now() does not try again: {error.reason or error!r}")
    refusal.__cause__ = error
    return refusal
