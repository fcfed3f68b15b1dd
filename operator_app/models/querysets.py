"""Adjectives filter, verbs change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.db import models
from django.db.models.query import ModelIterable

from operator_app import clock
from operator_app.models import kinds, states

if TYPE_CHECKING:
    from typing_extensions import Self

    from operator_app.models.claims import Lane
    from operator_app.models.job import OperationJob
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
        """Return the lanes of all pending operations: see `claims.lanes`. One query."""
        from operator_app.models import claims

        return claims.lanes(self.db)

    def claim(
        self, operator: OperatorProcess, lanes: Sequence[Lane], *, limit: int, now: datetime
    ) -> list[Operation]:
        """Claim due operations of these lanes for an operator: see `claims.claim`."""
        from operator_app.models import claims

        return claims.claim(operator, lanes, limit=limit, now=now, alias=self.db)

    def record(self, jobs: Iterable[OperationJob]) -> list[OperationJob]:
        """Write how these jobs ended; return those whose claim still held: see `records.record`."""
        from operator_app.models import records

        return records.record(list(jobs), alias=self.db)

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
