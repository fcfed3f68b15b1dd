"""The operation: what to do, and when."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from operator_app import policy as policies
from operator_app.exceptions import (
    OperationAborted,
    OperationCancelled,
    OperationLost,
    OperationRetried,
    OperationStopped,
)
from operator_app.models import (
    arguments,
    guards,
    inserts,
    kinds,
    scheduling,
    states,
    uniqueness,
)
from operator_app.models.columns import CONSTRAINTS, INDEXES, EngineColumns
from operator_app.models.querysets import AllOperationsManager, OperationManager
from operator_app.models.uniqueness import IfExists
from operator_app.recurring import Recurring
from operator_app.reports import text_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from operator_app.models.explanation import Reason
    from operator_app.models.job import OperationJob


class Operation(EngineColumns):
    """Something to do later. Subclass it, give it columns and a `run()`, and schedule rows of it.

    The columns here belong to the engine: nothing but claims, outcomes and queryset verbs writes
    them, `save()` included; see `save()` for the three that a user may change.
    """

    objects: ClassVar[OperationManager[Self]] = OperationManager()
    all_objects: ClassVar[AllOperationsManager[Self]] = AllOperationsManager()

    policy: ClassVar[policies.Policy] = policies.Policy()
    """How operations of this class are run; what it leaves open comes from the base classes."""

    recurrences: ClassVar[Sequence[Recurring]] = ()
    """When operations of this class are made, again and again; a subclass declares its own."""

    class Meta:
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        constraints = CONSTRAINTS
        indexes = INDEXES

    def __str__(self) -> str:
        return f"{self.kind_label} #{self.pk}"

    # What a kind writes

    def run(self) -> Any:
        """Do the work; `async def` is welcome. What it returns is ignored: results are columns."""
        raise NotImplementedError(f"{type(self).__name__} needs a run() method.")

    def queued(self) -> None:
        """Hook: claimed, about to be handed to a runner. Runs in the operator's main thread."""

    def succeeded(self) -> None:
        """Hook: `run()` returned and that has been recorded. At most once."""

    def errored(self, error: BaseException, will_retry: bool) -> None:
        """Hook: `run()` raised an error and that has been recorded. At most once per attempt."""

    def tags(self) -> list[str]:
        """Return the operation's tags, for searching. Those of an override are stored once, when
        the operation is scheduled; the default ones follow from the row.
        """
        return ["operation", f"{self.kind_label}:{self.pk}"]

    # What a run() may call

    def stop(
        self, reason: str = "", delay: float | None = None, until: datetime | None = None
    ) -> NoReturn:
        """End this `run()`; the operation is tried again later and no failure is counted.

        Args:
            reason: why, for people.
            delay: seconds to wait, at least 1; by default the policy's `stop_delay`.
            until: the moment to wait for, aware, in place of `delay`.

        Raises:
            OperationStopped: always; the engine catches it.
            ValueError: for a negative delay, both times at once, or a naive `until`.
            OperatorError: if another operation's job is running here.
        """
        guards.check_current(self, "stop", "reschedule")
        guards.check_delay(delay)
        if delay is not None and until is not None:
            raise ValueError("stop() takes delay or until, not both.")
        moment = None if until is None else arguments.moment(until, self._alias)
        raise OperationStopped(reason, delay=delay, until=moment)

    def cancel(self, reason: str = "") -> NoReturn:
        """End this `run()`; the operation is never run again, and leaves `objects`.

        Raises:
            OperationCancelled: always; the engine catches it.
            OperatorError: if another operation's job is running here.
        """
        guards.check_current(self, "cancel", "cancel")
        raise OperationCancelled(reason)

    def retry(self, reason: str = "", delay: float | None = None) -> NoReturn:
        """End this `run()` as failed, to be tried again if the policy has attempts left.

        Args:
            reason: why, for people.
            delay: seconds to wait; by default the policy's backoff.

        Raises:
            OperationRetried: always; the engine catches it.
            ValueError: for a negative delay.
            OperatorError: if another operation's job is running here.
        """
        guards.check_current(self, "retry", "retry")
        guards.check_delay(delay)
        raise OperationRetried(reason, delay=delay)

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Show how far this `run()` has come. At most one write a second; the last is always kept.

        Args:
            done: how much is done, in any unit.
            total: how much there is, in the same unit, if that is known.
            message: what is being done, for people; cut at 255 characters.

        Raises:
            OperatorError: if the operation is not running here.
        """
        self.job.progress(done, total, message)

    def should_abort(self) -> bool:
        """Whether this `run()` was asked to end: a person wants it to, its time is up, its row was
        deleted, or its claim is somebody else's. No queries, so ask it as often as you like.

        Raises:
            OperatorError: if the operation is not running here.
        """
        return self.job.interruption is not None

    def raise_if_aborted(self) -> None:
        """End this `run()` if it was asked to end. No queries.

        Raises:
            OperationAborted: if `should_abort()`; the engine catches it.
            OperatorError: if the operation is not running here.
        """
        if (asked := self.job.interruption) is not None:
            raise OperationAborted(text_of(asked))

    @property
    def job(self) -> OperationJob:
        """The job that is running this operation here. No queries.

        Raises:
            OperatorError: if the operation is not running here.
        """
        return guards.job_of(self)

    # Scheduling

    @classmethod
    def schedule(
        cls,
        when: datetime | timedelta,
        *,
        queue: str | None = None,
        priority: int | None = None,
        unique_key: str | None = None,
        if_exists: IfExists = "raise",
        **fields: Any,
    ) -> Self:
        """Insert an operation that runs at `when`. Inside `atomic()` it is not seen before commit,
        after which operators are told of it, if it is due soon.

        One INSERT on PostgreSQL, and for a kind without columns anywhere; otherwise two. Inside
        `atomic()` a savepoint more with `unique_key`; one INSERT more if the kind overrides
        `tags()`.

        Args:
            when: an aware datetime (naive with USE_TZ=False), or a timedelta from now.
            queue: in place of the policy's.
            priority: in place of the policy's; higher runs first.
            unique_key: at most one operation of the kind with this key may be active; by default
                what the policy's `unique` returns.
            if_exists: what is done if there is one: "raise" OperationExists; "return" it;
                "reschedule" it to `when`, and return it; or "replace" it, which is cancelled then.
                A SELECT more, and the statements of the verb.
            fields: the kind's own columns.

        Raises:
            ValueError, TypeError: for a bad argument; nothing is written.
            OperationExists: if the key is taken, or the operation that has it is to be rescheduled
                or replaced and an operator has claimed it.
        """
        operation = scheduling.build(
            cls,
            when,
            queue=queue,
            priority=priority,
            unique_key=unique_key,
            if_exists=if_exists,
            fields=fields,
        )
        return uniqueness.save_unique(operation, if_exists)

    @classmethod
    def dispatch(cls, **fields: Any) -> Self:
        """Insert an operation that is due now; otherwise as `schedule()`."""
        return cls.schedule(timedelta(0), **fields)

    @classmethod
    def dispatch_now(cls, **fields: Any) -> Self:
        """Run an operation here and now, and return it as it was recorded.

        An error is final: it is recorded without a retry and raised again. `stop()` and `cancel()`
        return. The row is inserted as started by hand, so that no operator takes it.

        Raises:
            BaseException: what `run()` raised, after it was recorded.
        """
        from operator_app.models import by_hand

        return by_hand.run_here(cls, fields)

    @classmethod
    def schedule_many(
        cls, operations: Iterable[Self], *, if_exists: IfExists = "raise"
    ) -> list[Self]:
        """Insert many operations, each with its `should_run_at`, in one transaction; return them,
        but in place of one whose unique key is taken the one that has it, if `if_exists` says so.

        A constant number of statements per thousand operations of a kind (one or two INSERTs,
        more where the database limits the parameters of a statement). No signals are sent.

        Args:
            operations: new ones.
            if_exists: as in `schedule()`. Of several with one key in this call the first counts;
                with "reschedule" at the time of the last, with "replace" the last.

        Raises:
            ValueError, TypeError: for a bad operation, by its position; nothing is written.
        """
        return scheduling.schedule_many(cls, list(operations), if_exists)

    @classmethod
    def aschedule(cls, when: datetime | timedelta, **options: Any) -> Awaitable[Self]:
        """Async twin of `schedule()`."""
        return sync_to_async(cls.schedule)(when, **options)

    @classmethod
    def adispatch(cls, **fields: Any) -> Awaitable[Self]:
        """Async twin of `dispatch()`."""
        return sync_to_async(cls.dispatch)(**fields)

    @classmethod
    def adispatch_now(cls, **fields: Any) -> Awaitable[Self]:
        """Async twin of `dispatch_now()`."""
        return sync_to_async(cls.dispatch_now)(**fields)

    @classmethod
    def aschedule_many(
        cls, operations: Iterable[Self], *, if_exists: IfExists = "raise"
    ) -> Awaitable[list[Self]]:
        """Async twin of `schedule_many()`."""
        return sync_to_async(cls.schedule_many)(operations, if_exists=if_exists)

    # The row

    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Insert a new operation, or write the user's part of a loaded one.

        A loaded operation writes its own columns only. `should_run_at`, `priority` and `queue` are
        written if they were changed, and only while the operation is pending. The other columns of
        the engine are never written, so that a stale copy cannot undo a claim; a deleted row is not
        inserted again.

        Raises:
            OperationStarted: if the schedule was changed but the operation has been claimed.
            ValueError: if `update_fields` names a column of the engine.
            DatabaseError: if the row is gone (`NotUpdated` from Django 6.0 on).
        """
        if self._state.adding:
            scheduling.prepare(self, using)
            scheduling.insert(self, super().save, using=using)
        else:
            guards.save_loaded(self, super().save, using=using, update_fields=update_fields)

    def save_base(self, raw: bool = False, *args: Any, **options: Any) -> None:
        """Write the row, as Django does; a new one by one statement where that is possible."""
        alias = options.get("using")
        if self._state.adding and not raw and alias and inserts.is_possible(self, alias):
            inserts.insert(self, alias)
        else:
            super().save_base(raw, *args, **options)

    @classmethod
    def from_db(cls, db: str | None, field_names: Any, values: Any, **kwargs: Any) -> Self:
        """Build an instance from a row and remember its schedule, to know later what changed."""
        operation = super().from_db(db, field_names, values, **kwargs)
        guards.remember_schedule(operation)
        return operation

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: Any = None,
    ) -> None:
        """Reload the columns, or these fields, the schedule among them. One query."""
        names = None if fields is None else list(fields)
        super().refresh_from_db(using=using, fields=names, from_queryset=from_queryset)
        self.__dict__.pop("specific", None)
        guards.remember_schedule(self, names)

    @cached_property
    def specific(self) -> Operation:
        """The instance of the user's own class; this one if that class or its row is gone. One
        query, none for a proxy; cached.
        """
        from operator_app.models import specific

        try:
            return specific.load(self)
        except OperationLost:
            return self

    @cached_property
    def slot(self) -> datetime | None:
        """The slot of the recurrence that made this operation; None if it was made otherwise. One
        query; cached.
        """
        from operator_app.models import slots

        return slots.slot_of(self)

    @property
    def kind_label(self) -> str:
        """ "app.Model" of the operation's class."""
        kind_id: int | None = self.kind_id  # None until it is saved
        if kind_id is None:
            return type(self)._meta.label
        return kinds.label_of(kind_id, self._alias)

    @property
    def state(self) -> str:
        """One of scheduled, due, running, stuck, finished, failed, cancelled, as of now. One query
        for a started operation whose operator is not loaded.
        """
        return states.state_of(self, self._alias)

    @property
    def stuck_reason(self) -> str:
        """Why the operation is stuck, as a sentence for people; empty if it is not. At most one
        query.
        """
        return states.stuck_reason(self) if self.state == "stuck" else ""

    def explain(self) -> list[Reason]:
        """Return why the operation is not running now, or how it goes or ended, the first reason
        first, each with a `code` and a `sentence`. As it stands in the database; up to five
        queries.
        """
        from operator_app.models import explanation

        return explanation.explain(self)

    @classmethod
    def resolved_policy(cls) -> policies.Policy:
        """Return the complete policy of this kind: its own, its bases', the project's, built in."""
        return kinds.policy_of(cls)

    @property
    def _alias(self) -> str:
        return self._state.db or DEFAULT_DB_ALIAS
