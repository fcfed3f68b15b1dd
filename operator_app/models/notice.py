"""The notice that an operation has failed for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from operator_app import clock, conf, log
from operator_app.backoff import Backoff
from operator_app.models import kinds, scheduling
from operator_app.models.announcements import announcing
from operator_app.models.bulk import insert_rows
from operator_app.models.operation import Operation
from operator_app.outcomes import Failed
from operator_app.policy import Policy
from operator_app.reports import ErrorReport

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob


class FailureNotice(Operation):
    """Tells the handlers in `OPERATOR["ON_FAILURE"]` that an operation has failed for good.

    Inserted with the record of the failure, in the queue of what failed, which some operator
    serves. A handler that fails is called again with the next attempt; those that have succeeded
    are not, unless the operator was killed in between. A notice that fails raises no other one.
    """

    # Named, so that no project can clash with an accessor `operation.failurenotice`.
    operation_ptr = models.OneToOneField(
        Operation, models.CASCADE, parent_link=True, primary_key=True, related_name="+"
    )
    failed_operation = models.ForeignKey(
        Operation, models.CASCADE, verbose_name=_("failed operation"), related_name="+"
    )
    number = models.PositiveIntegerField(_("claim"))
    """Which of its attempts failed for good, as in `OperationJob.number`."""
    told = models.JSONField(_("told"), default=list)
    """The dotted paths of the handlers that have been told."""

    policy: ClassVar[Policy] = Policy(
        runner="threads",
        max_attempts=6,
        backoff=Backoff.exponential(30, factor=4),
        # What a project says of its own operations must neither lose a notice nor repeat it, nor
        # keep the failure from being recorded.
        retry_on=(BaseException,),
        give_up_on=(),
        on_stuck="retry",
        max_crashes=6,
        max_stops=None,
        timeout=None,
        atomic=False,
        expires_after=None,
        unique=None,
        circuit_breaker=None,
    )

    class Meta:
        verbose_name = _("failure notice")
        verbose_name_plural = _("failure notices")

    def run(self) -> None:
        """Tell each handler that has not been told. Two or three queries, and one UPDATE for each.

        Raises:
            Exception: what the last handler that failed has raised; the others' is logged.
        """
        job = self._failed_job()
        operation = job.operation.specific
        report = ErrorReport(job.exception_class, job.message, job.traceback, job.fingerprint or "")
        problem: BaseException | None = None
        for path in conf.get().ON_FAILURE:
            if path in self.told:
                continue
            try:
                import_string(path)(operation, job, report)
            except (Exception, SystemExit) as error:
                if problem is not None:
                    self._log(problem)
                problem = error
            else:
                self.told = [*self.told, path]
                self.save(update_fields=["told"])
        if problem is not None:
            raise problem

    def _failed_job(self) -> OperationJob:
        """Return the row of the attempt; one made from the operation, if it could not be stored."""
        from operator_app.models.job import OperationJob

        rows = OperationJob.objects.using(self._alias).select_related("operation")
        found = rows.filter(operation=self.failed_operation_id, number=self.number).first()
        if found is not None:
            return found
        operation = self.failed_operation
        made: Any = {"operation": operation, "number": self.number, "outcome": Failed.name}
        return OperationJob(
            **made,
            started_at=operation.started_run_at or operation.created_at,
            ended_at=operation.failed_run_at,
            message=operation.reason,
        )

    def _log(self, error: BaseException) -> None:
        log.logger.error(
            "%s: a handler of failures raised %s; it is called again.",
            self,
            ErrorReport.of(error),
            exc_info=error,
            extra=log.facts("handler_raised", self.job),
        )


def give_notice(jobs: Sequence[OperationJob], alias: str) -> None:
    """Insert a notice for each of these jobs that has failed for good, in the caller's transaction.

    Nothing is written if `OPERATOR["ON_FAILURE"]` is empty; otherwise two INSERTs for all of them.
    """
    if not conf.get().ON_FAILURE:
        return
    now = clock.now(alias)
    notices: list[Operation] = []
    for job in jobs:
        if not isinstance(job.ending, Failed) or _is_notice(job, alias):
            continue
        notice = FailureNotice(failed_operation_id=job.operation_id, number=job.number)
        notice.queue, notice.should_run_at = job.queue, now
        scheduling.prepare(notice, alias)
        notices.append(notice)
    if notices:
        with announcing(alias, now):
            insert_rows(FailureNotice, notices, alias)


def _is_notice(job: OperationJob, alias: str) -> bool:
    model = kinds.model_of(job.kind_id, alias)
    return model is not None and issubclass(model, FailureNotice)
