"""The job: one attempt at running one operation."""

from __future__ import annotations

import math
import threading
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import DEFAULT_DB_ALIAS, models
from django.db.models.base import ModelState
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.fingerprint import LENGTH
from operator_app.models import (
    attempts,
    begun,
    capture,
    hooks,
    kinds,
    progress,
    rows,
    runs,
    specific,
    states,
)
from operator_app.models.current import running
from operator_app.models.indexes import PartialIndex
from operator_app.models.progress import MESSAGE_LENGTH
from operator_app.outcomes import Finished, Outcome
from operator_app.policy import BUILT_IN, Policy
from operator_app.reports import shortened

if TYPE_CHECKING:
    from operator_app.models.operation import Operation


class OperationJob(models.Model):
    """One attempt at running one operation.

    A value first, which runners pass around; a row at first need: progress, or an ending other than
    a plain finish, or a policy that keeps all of them.
    """

    id = models.BigAutoField(primary_key=True)
    operation = models.ForeignKey(
        "operator_app.Operation",
        models.CASCADE,
        verbose_name=_("operation"),
        related_name="jobs",
        db_index=False,  # The unique constraint below serves it.
    )
    number = models.PositiveIntegerField(_("claim"))
    operator = models.CharField(_("operator"), max_length=300, blank=True)
    """Where it ran, as "host:pid"; empty if by hand."""
    started_at = models.DateTimeField(_("started"))
    begun_at = models.DateTimeField(_("begun"), null=True)
    """When `run()` was about to be called; null if it never was."""
    ended_at = models.DateTimeField(_("ended"), null=True)
    outcome = models.CharField(_("outcome"), max_length=20, null=True)
    """The name of the outcome; null while running."""
    exception_class = models.CharField(_("exception"), max_length=255, blank=True)
    message = models.TextField(_("message"), blank=True)
    traceback = models.TextField(_("traceback"), blank=True)
    fingerprint = models.CharField(_("fingerprint"), max_length=LENGTH, null=True, editable=False)
    """What errors of one sort share; null if there was none, or it was not found out."""
    log = models.TextField(_("log"), blank=True)
    meta = models.JSONField(_("meta"), default=dict, blank=True)
    progress_done = models.FloatField(_("done"), null=True)
    progress_total = models.FloatField(_("total"), null=True)
    progress_message = models.CharField(_("progress"), max_length=MESSAGE_LENGTH, blank=True)
    stack = models.TextField(_("stack"), blank=True)

    ending: Outcome | None = None
    """How it ended, once `run()` has returned."""
    error: BaseException | None = None
    """What the operation's `run()` raised."""
    interruption: BaseException | None = None
    """What it was asked to end with, from outside; None if nobody has asked."""
    instance: Operation | None = None
    """The operation as an instance of the user's class, once loaded."""
    read_at: float | None = None
    """When an operator's claim read its operation, by the monotonic clock; None if by hand."""
    could_not_be_loaded: bool = False
    """Whether the operation was released because the database would not give it out."""
    thread: int | None = None
    """The thread that runs it, by its identifier."""
    session: Any = None
    """The connection (a `DatabaseWrapper`) to its database, of the thread that runs it."""
    committing: datetime | None = None
    """When it finished, if the answer to that COMMIT (`Policy.atomic`) has not been heard."""
    is_recorded: bool = False
    """Whether the outcome was committed together with what `run()` did (`Policy.atomic`)."""
    trial_of: int | None = None
    """The open circuit that it was let through to try; None for all others."""
    write_tried: int = 0
    """How often the outcome was written; more than once only after an outage."""
    waited_for_lock: bool = False
    """Whether its outcome could not be written once, as somebody had locked its operation."""
    has_row: bool = False
    """Whether it was written while it ran. `pk` does not tell: a rolled back INSERT leaves one."""
    ran_apart: bool = False
    """Whether another process has it, too, or had it when it was killed, and may have written or be
    writing the same row.
    """
    progress_written: float = -math.inf
    """When its progress was written last, by the monotonic clock."""
    _attempt: attempts.Attempt | None = None

    objects: ClassVar[models.Manager[OperationJob]] = models.Manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        constraints = [
            models.UniqueConstraint(fields=["operation", "number"], name="operator_app_job_number"),
        ]
        indexes = [
            # Most attempts have none, and cost the index nothing.
            PartialIndex(
                fields=["fingerprint", "operation"],
                name="operator_app_job_sort",
                where=models.Q(fingerprint__isnull=False),
                plain_fields=["fingerprint", "operation"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.display_name} #{self.operation_id} (claim {self.number})"

    @classmethod
    def of(
        cls, operation: Operation, operator: str = "", read_at: float | None = None
    ) -> OperationJob:
        """Return the job of a claimed operation, unsaved. No queries.

        Args:
            operation: as an instance of the user's class, if it was read as one.
            operator: the name of who claimed it.
            read_at: see there.
        """
        assert operation.started_run_at is not None, f"{operation} has not been claimed"
        # Not by `cls(...)`, which goes through all fields and sends two signals: for an operation
        # that takes but a moment, that would be a good part of what it costs.
        job = cls.__new__(cls)
        job.__dict__ |= _defaults() | {
            "_state": ModelState(),
            "meta": {},
            "operation_id": operation.pk,
            "number": operation.attempts,
            "operator": operator,
            "started_at": operation.started_run_at,
            "read_at": read_at,
            "holder_id": operation.operator_id,
            "due_at": operation.should_run_at,
            "queue": operation.queue,
            "kind_id": operation.kind_id,
        }
        job._state.fields_cache["operation"] = operation
        if read_at is not None and type(operation) is not kinds.base():
            job.__dict__["kind"] = type(operation)
        return job

    @cached_property
    def holder_id(self) -> int | None:
        """The operator that holds the claim, of which a `run()` may have changed its own copy; None
        by hand.
        """
        return self.operation.operator_id

    @cached_property
    def due_at(self) -> datetime:
        """When it should run, as it was when it was claimed."""
        return self.operation.should_run_at

    @cached_property
    def queue(self) -> str:
        """The queue of its operation, as it was when it was claimed."""
        return self.operation.queue

    @cached_property
    def kind_id(self) -> int:
        """The content type of its operation's kind."""
        return self.operation.kind_id

    @cached_property
    def captured(self) -> capture.Captured:
        """The log lines that `run()` has emitted so far."""
        return capture.Captured()

    @cached_property
    def display_name(self) -> str:
        """The kind of its operation, "app.Model"."""
        if self.kind is not None:
            return self.kind._meta.label
        return kinds.label_of(self.kind_id, self.alias)

    @property
    def tags(self) -> list[str]:
        """The tags of its operation. One query if the operation has not been loaded yet."""
        return self.load().tags()

    @property
    def overran(self) -> str:
        """How long it has been running, and what its timeout is, for people."""
        return states.overran(self.operation, clock.now(self.alias))

    @cached_property
    def alias(self) -> str:
        """The database that the operation is in."""
        return self.operation._state.db or DEFAULT_DB_ALIAS

    @cached_property
    def kind(self) -> type[Operation] | None:
        """The class of the operation; None if this process does not know it."""
        return kinds.model_of(self.kind_id, self.alias)

    @cached_property
    def policy(self) -> Policy:
        """The complete policy of its kind, as it was when somebody asked first."""
        return BUILT_IN if self.kind is None else self.kind.resolved_policy()

    def load(self) -> Operation:
        """Return the operation as an instance of the user's class. One query, none for a proxy.

        Raises:
            OperationLost: if its class or its own row is gone.
        """
        if self.instance is None:
            self.instance = specific.load(self.operation)
        return self.instance

    def run(self, *, interruptible: bool = False, final: bool = False) -> Outcome:
        """Load the operation, run it, decide what came of it. Writes nothing: see `perform()`.

        Args:
            interruptible: whether a KeyboardInterrupt is Ctrl-C, which releases the operation, and
                not an error of `run()`. The caller raises it again from `error`.
            final: whether an error is for good, whatever the policy says.
        """
        capture.install()
        with running(self):
            outcome = attempts.attempt(self, interruptible=interruptible, final=final)
        if not self.is_recorded:
            self.end_as(outcome)
        return outcome

    def prepare(self) -> bool:
        """Do what comes before an async `run()`: write down that it begins, load the operation. At
        most an UPDATE and a query.

        Returns:
            Whether `arun()` is to be called, and then `conclude()`. If not, the job has ended.
        """
        if not self.begin():
            return False
        capture.install()
        self._attempt = this = attempts.Attempt(self)
        with running(self):
            try:
                if this.open():
                    return True
                outcome = this.outcome
            except BaseException as error:
                outcome = this.judge(error)
        self.end_as(outcome)
        return False

    async def arun(self) -> BaseException | None:
        """Await the async `run()` of a prepared job; return what it raised. No queries."""
        with running(self):
            return await runs.arun(self)

    def conclude(self, error: BaseException | None) -> None:
        """Decide what came of an async `run()`. With an error not on a loop: a backoff callable may
        use the ORM.
        """
        assert self._attempt is not None, "prepare() comes before conclude()"
        outcome = self._attempt.outcome
        if error is not None:
            with running(self):
                outcome = self._attempt.judge(error)
        self.end_as(outcome)

    def begin(self) -> bool:
        """Write down that the job begins, if that has to be known: see `begun.begin()`. At most one
        UPDATE.
        """
        return begun.begin(self)

    def end_as(self, outcome: Outcome, at: datetime | None = None) -> None:
        """Note how the attempt ended, and when; by default now. Writes nothing."""
        self.ending, self.outcome = outcome, outcome.name
        self.ended_at = at or clock.now(self.alias)
        self.message = outcome.reason
        if "captured" in self.__dict__:
            self.log = self.captured.text or self.log
        if (report := outcome.report) is not None:
            self.exception_class = shortened(report.exception_class, MESSAGE_LENGTH)
            self.message, self.traceback = report.message, report.traceback
            self.fingerprint = report.fingerprint or None

    def perform(self, *, final: bool = False) -> Outcome:
        """Claim the operation by hand if it is unclaimed, run it, record the outcome, call hooks.

        For runs outside an operator. One UPDATE to claim and one to record, besides `run()`'s own.

        Args:
            final: as in `run()`.

        Raises:
            OperationStarted: if somebody else has claimed it, or it has ended.
            KeyboardInterrupt: after the operation was released.
        """
        attempts.claim_by_hand(self)
        hooks.claimed(self)
        self.run(interruptible=True, final=final)
        held = type(self.operation).all_objects.using(self.alias).record([self])
        if held:
            self.call_hooks()
        outcome = self.ending
        assert outcome is not None
        if isinstance(self.error, KeyboardInterrupt) and outcome.report is None:
            raise self.error
        return outcome

    @property
    def has_ending_hook(self) -> bool:
        """Whether `call_hooks()` has anything to do: most kinds have no hooks and no receivers."""
        return hooks.has_ending_hook(self)

    def call_hooks(self) -> None:
        """Call `succeeded()` or `errored()` and send `operation_ended`, once that was recorded.

        An error in one of them is logged and changes nothing.
        """
        hooks.ended(self)

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Show how far the run has come: see `Operation.progress()`.

        At most one INSERT or UPDATE a second, on a loop in a thread beside it; the last values are
        written with the outcome.

        Raises:
            ValueError: for a number that is negative, infinite or none.
        """
        progress.note(self, done, total, message)

    @property
    def is_worth_a_row(self) -> bool:
        """Whether the attempt is kept: anything but a plain finish, or what the policy asks for."""
        if self.has_row or not isinstance(self.ending, Finished):
            return True
        if self.progress_done is not None or self.meta or self.log or self.stack:
            return True
        return self.instance is not None and self.policy.keep_jobs == "all"

    def store(self) -> None:
        """Write the row as it stands: see `rows.store()`."""
        rows.store(self)

    def store_stack(self, text: str) -> bool:
        """Write where the run is, from another thread than its own: see `rows.store_stack()`."""
        return rows.store_stack(self, text)

    @property
    def storing(self) -> threading.RLock:
        """Held while the row is written: the run's own thread and the watch may both do so."""
        lock: threading.RLock = self.__dict__.setdefault("_storing", threading.RLock())
        return lock


@lru_cache
def _defaults() -> dict[str, Any]:
    """Return the columns of a new job; the values of some must be made anew for each."""
    return {field.attname: field.get_default() for field in OperationJob._meta.concrete_fields}
