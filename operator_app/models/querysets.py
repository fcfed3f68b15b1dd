"""Adjectives filter, verbs change.

Longer than a file should be, because Django wants one class; what the verbs do is in `verbs.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from asgiref.sync import sync_to_async
from django.db import models
from django.db.models.query import ModelIterable

from operator_app import clock
from operator_app.models import kinds, states
from operator_app.models.by_key import by_key

if TYPE_CHECKING:
    from typing_extensions import Self

    from operator_app.models.begun import Request
    from operator_app.models.changed import Changed
    from operator_app.models.job import OperationJob
    from operator_app.models.lanes import Lane
    from operator_app.models.operation import Operation
    from operator_app.models.process import OperatorProcess

OperationT = TypeVar("OperationT", bound="Operation", covariant=True)

SPECIFIC_CHUNK = 500
"""How many rows are made specific at once while iterating."""


class SpecificIterable(ModelIterable):  # type: ignore[type-arg]
    """Yields instances of the users' own classes; one query more per kind and chunk."""

    def __iter__(self) -> Iterator[Any]:
        from operator_app.models.specific import load_all

        chunk: list[Operation] = []
        for row in super().__iter__():
            chunk.append(row)
            if len(chunk) == SPECIFIC_CHUNK:
                yield from load_all(chunk)
                chunk = []
        yield from load_all(chunk)


class OperationQuerySet(models.QuerySet[OperationT]):
    """Operations, filtered by state and kind; and the engine's two doors, `claim` and `record`.

    Adjectives that depend on the time take it as `now`, by default the database's (see `clock`).
    None of them makes a query of its own.
    """

    def pending(self) -> Self:
        """Not started, not ended: scheduled or due."""
        return self.filter(states.PENDING)

    def scheduled(self, now: datetime | None = None) -> Self:
        """Pending, and not due before some time in the future."""
        return self.pending().filter(should_run_at__gt=now or self._now())

    def due(self, now: datetime | None = None) -> Self:
        """Pending, and their time has come."""
        return self.pending().filter(should_run_at__lte=now or self._now())

    def started(self) -> Self:
        """Claimed and not ended: running or stuck."""
        return self.filter(states.STARTED)

    def running(self, now: datetime | None = None) -> Self:
        """Started, not ended, the operator alive, within their timeout."""
        return self.filter(states.running(now or self._now()))

    def stuck(self, now: datetime | None = None) -> Self:
        """Started, not ended, and the operator is lost or gone, or the timeout has passed."""
        return self.filter(states.stuck(now or self._now()))

    def deserted(self, now: datetime | None = None) -> Self:
        """Started, not ended, and the operator was declared lost or is gone; or, started by hand,
        long overdue.
        """
        return self.filter(states.deserted(now or self._now()))

    def finished(self) -> Self:
        """Those that ran to their end."""
        return self.filter(finished_run_at__isnull=False)

    def failed(self) -> Self:
        """Those that have failed for good."""
        return self.filter(failed_run_at__isnull=False)

    def cancelled(self) -> Self:
        """Those that were cancelled, kept until they are pruned."""
        return self.filter(cancelled_at__isnull=False)

    def of_kind(self, *models: type[Operation]) -> Self:
        """Those of exactly these classes; a subclass of one of them is another kind."""
        condition = Q_NONE
        for model in models:
            condition = condition | _is_kind(model)
        return self.filter(condition)

    def specific(self) -> Self:
        """Yield instances of the users' own classes instead of `Operation`.

        One query per kind with columns of its own, for each 500 rows; none for a proxy. A row whose
        class is gone stays an `Operation`.
        """
        clone: Self = self._chain()  # type: ignore[attr-defined]
        clone._iterable_class = SpecificIterable
        return clone

    def lanes(self) -> list[Lane]:
        """Return the lanes of all pending operations: see `lanes.lanes`. One query."""
        from operator_app.models import lanes

        return lanes.lanes(self.db)

    def update(self, **kwargs: Any) -> int:
        """Write columns of all of them, as Django has it; those that are named by their ids are
        found by these.
        """
        with by_key(self):
            return super().update(**kwargs)

    update.alters_data = True  # type: ignore[attr-defined]

    def claim(
        self,
        operator: OperatorProcess,
        lanes: Sequence[Lane],
        *,
        limit: int,
        now: datetime,
        suspects: bool = True,
    ) -> list[Operation]:
        """Claim due operations of these lanes for an operator: see `claims.claim`."""
        from operator_app.models import claims

        return claims.claim(operator, lanes, limit=limit, now=now, suspects=suspects, alias=self.db)

    def mark_begun(self, jobs: Iterable[OperationJob]) -> int:
        """Write down that these jobs' `run()` has begun, where the claim holds and nobody has
        locked the row; return how many. For each 200 one SELECT and one UPDATE, which wait for no
        lock of a row.
        """
        from operator_app.models import begun

        return begun.mark_begun(list(jobs), self.db)

    def requests(self, jobs: Iterable[OperationJob]) -> list[Request]:
        """Return what is wanted of these jobs: to end, as a person asks for it or because their row
        or their claim is gone; to tell where they are. One query.
        """
        from operator_app.models import begun

        return begun.requests(list(jobs), self.db)

    def record(self, jobs: Iterable[OperationJob]) -> list[OperationJob]:
        """Write how these jobs ended; return those whose claim still held: see `records.record`."""
        from operator_app.models import records

        return records.record(list(jobs), alias=self.db)

    # Verbs. Each is safe against operators: one SELECT of the ids, then per 1,000 of them, in a
    # transaction of its own, a SELECT that locks them in their order (none on SQLite) and one
    # guarded UPDATE (a SELECT more on MySQL and MariaDB; one on PostgreSQL that tells operators of
    # what is due soon). `left` counts what was selected and is not, or not any more, in a state
    # that the verb changes.

    def cancel(self, reason: str = "", *, abort: bool = False, delete: bool = False) -> Changed:
        """Cancel the pending ones: they never run, and leave `objects`; their unique keys are free.

        Args:
            reason: why, for people.
            abort: whether to ask those that have been claimed to end, as `abort()` does. That takes
                an UPDATE more.
            delete: whether to delete the pending ones for good instead, with all that hangs on
                them. That takes a SELECT and the statements of `QuerySet.delete()` in place of the
                UPDATE.

        Returns:
            Its parts are `cancelled` or `deleted`, `abort_requested`, and `left`.

        Raises:
            ProtectedError, RestrictedError: with `delete`, if something must not go with them.
        """
        from operator_app.models import verbs

        return verbs.cancel(self, reason, abort=abort, delete=delete)

    def cancel_by_id(
        self, pk: Any, reason: str = "", *, abort: bool = False, delete: bool = False
    ) -> Changed:
        """Cancel the one with this primary key, if it is among these: see `cancel()`."""
        return self.filter(pk=pk).cancel(reason, abort=abort, delete=delete)

    def abort(self, reason: str = "") -> Changed:
        """Ask the claimed ones to end; the request reaches their `run()` within a second.

        A `run()` that looks (`should_abort()`) ends as aborted, one that fails is not retried, one
        that stops or whose operator dies is not run again, and one that finishes has finished. A
        request that was made before stands as it is.

        Args:
            reason: why, for people.

        Returns:
            Its parts are `abort_requested` and `left`.
        """
        from operator_app.models import verbs

        return verbs.abort(self, reason)

    def request_stack(self) -> Changed:
        """Ask where the claimed ones are in their code: within two seconds their operators write
        the stack of the thread, task or child process into the `stack` of their current job.

        Returns:
            Its parts are `stack_requested` and `left`.
        """
        from operator_app.models import verbs

        return verbs.request_stack(self)

    def retry(self) -> Changed:
        """Let the failed and cancelled ones begin anew, due now, with nothing counted against them.

        Their history is kept. One whose unique key an active operation has taken is left as it is.
        One SELECT more per 1,000, and one UPDATE in a savepoint for each that has a unique key.

        Returns:
            Its parts are `retried`, `key_taken` and `left`.
        """
        from operator_app.models import verbs

        return verbs.retry(self)

    def run_now(self) -> Changed:
        """Let the scheduled ones be due now; those that are due keep their place.

        Returns:
            Its parts are `rescheduled` and `left`.
        """
        from operator_app.models import verbs

        return verbs.run_now(self)

    def reschedule(self, when: datetime | timedelta) -> Changed:
        """Let the pending ones be due at another time.

        Args:
            when: an aware datetime (naive with USE_TZ=False), or a timedelta from now.

        Returns:
            Its parts are `rescheduled` and `left`.

        Raises:
            ValueError, TypeError: for a bad time; nothing is written.
        """
        from operator_app.models import verbs

        return verbs.reschedule(self, when)

    def release(self) -> Changed:
        """Give back, unrun and uncharged, those whose operator was declared lost or is gone.

        One that had begun is due again in 5 seconds, another one at its old time; one that was
        asked to abort is cancelled. A SELECT, an UPDATE for each operation and the INSERTs of their
        jobs per 1,000.

        Returns:
            Its parts are `released`, `aborted` and `left`.
        """
        from operator_app.models import verbs

        return verbs.release(self)

    def fail(self, reason: str = "") -> Changed:
        """Let those end as failed whose operator was declared lost or is gone, as the policy
        `on_stuck="fail"` would: a crash is counted, handlers of failures are told. One that was
        asked to abort is cancelled. As many queries as `release()`, and those that `ON_FAILURE`
        makes.

        Args:
            reason: why, for people; by default why they are stuck.

        Returns:
            Its parts are `failed`, `aborted` and `left`.
        """
        from operator_app.models import verbs

        return verbs.fail(self, reason)

    async def acancel(
        self, reason: str = "", *, abort: bool = False, delete: bool = False
    ) -> Changed:
        """Async twin of `cancel()`."""
        return await sync_to_async(self.cancel)(reason, abort=abort, delete=delete)

    async def acancel_by_id(
        self, pk: Any, reason: str = "", *, abort: bool = False, delete: bool = False
    ) -> Changed:
        """Async twin of `cancel_by_id()`."""
        return await sync_to_async(self.cancel_by_id)(pk, reason, abort=abort, delete=delete)

    async def aabort(self, reason: str = "") -> Changed:
        """Async twin of `abort()`."""
        return await sync_to_async(self.abort)(reason)

    async def arequest_stack(self) -> Changed:
        """Async twin of `request_stack()`."""
        return await sync_to_async(self.request_stack)()

    async def aretry(self) -> Changed:
        """Async twin of `retry()`."""
        return await sync_to_async(self.retry)()

    async def arun_now(self) -> Changed:
        """Async twin of `run_now()`."""
        return await sync_to_async(self.run_now)()

    async def areschedule(self, when: datetime | timedelta) -> Changed:
        """Async twin of `reschedule()`."""
        return await sync_to_async(self.reschedule)(when)

    async def arelease(self) -> Changed:
        """Async twin of `release()`."""
        return await sync_to_async(self.release)()

    async def afail(self, reason: str = "") -> Changed:
        """Async twin of `fail()`."""
        return await sync_to_async(self.fail)(reason)

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Refused: Django cannot insert into two tables at once.

        Raises:
            TypeError: always; `schedule_many()` does what is wanted.
        """
        raise TypeError(
            f"bulk_create() cannot insert operations. Use {self.model.__name__}.schedule_many()."
        )

    def _now(self) -> datetime:
        return clock.now(self.db)


Q_NONE = models.Q(pk__in=())


def _is_kind(model: type[Operation]) -> models.Q:
    return models.Q(kind_id=kinds.content_type_id(model))


_BaseManager = models.Manager.from_queryset(OperationQuerySet)


class OperationManager(_BaseManager[OperationT]):
    """The manager of operations, which a kind may subclass to add methods of its own.

    A proxy's manager shows only its own kind: without that, it would show every operation, as
    proxies of Django do.
    """

    with_cancelled = False
    """Whether cancelled operations are shown."""

    def get_queryset(self) -> OperationQuerySet[OperationT]:
        """Return the operations of this class that have not been cancelled."""
        queryset = cast("OperationQuerySet[OperationT]", super().get_queryset())
        if self.model._meta.proxy:
            queryset = queryset.filter(_is_kind(self.model))
        if not self.with_cancelled:
            queryset = queryset.filter(cancelled_at__isnull=True)
        return queryset

    def cancelled(self) -> OperationQuerySet[OperationT]:
        """Return the cancelled ones, which this manager otherwise leaves out."""
        # A twin of this very manager, which may be that of `user.rankup_set`.
        twin = copy(self)
        twin.with_cancelled = True
        return twin.get_queryset().cancelled()


class AllOperationsManager(OperationManager[OperationT]):
    """The manager that shows cancelled operations, too.

    A class of its own, since Django makes the managers of relations from a manager's class.
    """

    with_cancelled = True
