"""Which operations somebody means: by what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

from django.db.models import Exists, OuterRef, Q

from operator_app.models import kinds, states
from operator_app.models.process import OperatorProcess
from operator_app.models.search import NUL, condition

if TYPE_CHECKING:
    from operator_app.models.operation import Operation
    from operator_app.models.querysets import OperationQuerySet

STATES: Final = ("scheduled", "due", "running", "stuck", "finished", "failed", "cancelled")
"""The states of an operation, which are also the adjectives of its queryset."""

TIMES: Final = {
    "created": ("created_at",),
    "due": ("should_run_at",),
    "ended": states.ENDINGS,
}
"""The columns of what `Choice` calls `..._after` and `..._before`."""


@dataclass(frozen=True)
class Choice:
    """Conditions on operations. Several values of one are an "or", different ones an "and".

    Args:
        ids: their primary keys.
        states: some of `STATES`.
        kinds: "app.Model", exactly of these classes.
        queues: the queues that they are in.
        operators: "host:pid" of who has claimed them.
        tag: a tag, a default tag, or a unique key.
        exception: the dotted path of a class with which an attempt has ended.
        fingerprint: that of the error with which the last attempt has ended.
        created_after, created_before: when they were scheduled; the first moment is one of those
            meant, the last is not.
        due_after, due_before: when they should run.
        ended_after, ended_before: when they finished, failed or were cancelled; whatever has not
            ended is not meant.
    """

    ids: Sequence[int] = ()
    states: Sequence[str] = ()
    kinds: Sequence[str] = ()
    queues: Sequence[str] = ()
    operators: Sequence[str] = ()
    tag: str = ""
    exception: str = ""
    fingerprint: str = ""
    created_after: datetime | None = None
    created_before: datetime | None = None
    due_after: datetime | None = None
    due_before: datetime | None = None
    ended_after: datetime | None = None
    ended_before: datetime | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether there is a condition."""
        return any(getattr(self, each.name) for each in fields(self))

    def rows(self, alias: str) -> OperationQuerySet[Operation]:
        """Return the operations, cancelled ones included. One query for each kind and operator, and
        those of `search.condition()` for a tag.

        Raises:
            ValueError: for a state, a kind or an operator that there is not, and for a text that no
                database has.
        """
        if any(NUL in text for text in self._texts()):
            raise ValueError("No text that was stored has the character NUL in it.")
        rows = kinds.operations(alias)
        if self.states:
            rows = reduce(or_, [_in_state(alias, state) for state in dict.fromkeys(self.states)])
        if self.ids:
            rows = rows.filter(pk__in=self.ids)
        if self.kinds:
            models = [kinds.of_label(label) for label in self.kinds]
            rows = rows.filter(kind_id__in=[kinds.content_type(each, alias).pk for each in models])
        if self.queues:
            rows = rows.filter(queue__in=self.queues)
        if self.operators:
            ids = [pk for name in self.operators for pk in _operators(name, alias)]
            rows = rows.filter(operator_id__in=ids)
        if self.tag:
            rows = rows.filter(condition(self.tag, alias))
        if self.exception:
            rows = rows.filter(had(self.exception))
        if self.fingerprint:
            rows = rows.filter(ended_with(self.fingerprint))
        for name, columns in TIMES.items():
            after, before = getattr(self, f"{name}_after"), getattr(self, f"{name}_before")
            if after is not None or before is not None:
                rows = rows.filter(_between(columns, after, before))
        return rows

    def _texts(self) -> list[str]:
        several = (self.states, self.kinds, self.queues, self.operators)
        one_each = (self.tag, self.exception, self.fingerprint)
        return [*one_each, *(text for texts in several for text in texts)]


def by_state(rows: OperationQuerySet[Operation]) -> dict[str, int]:
    """Return how many of these are in each state; without those in which none is. Seven queries."""
    counts = {state: getattr(rows, state)().count() for state in STATES}
    return {state: count for state, count in counts.items() if count}


def _in_state(alias: str, state: str) -> OperationQuerySet[Operation]:
    if state not in STATES:
        raise ValueError(f"There is no state {state!r} (known: {', '.join(STATES)}).")
    rows: OperationQuerySet[Operation] = getattr(kinds.operations(alias), state)()
    return rows


def _operators(name: str, alias: str) -> list[int]:
    hostname, _colon, pid = name.rpartition(":")
    if not hostname or not pid.isdecimal():
        raise ValueError(f"An operator is named as HOST:PID, not {name!r}.")
    rows = OperatorProcess.objects.using(alias).filter(hostname=hostname, pid=int(pid))
    if not (ids := list(rows.values_list("pk", flat=True))):
        raise ValueError(f"There is no operator {name}.")
    return ids


def _between(columns: Sequence[str], after: datetime | None, before: datetime | None) -> Q:
    """Return that one of these columns is in a span of time."""
    found = Q()
    for column in columns:
        span = Q(**{f"{column}__isnull": False})
        if after is not None:
            span &= Q(**{f"{column}__gte": after})
        if before is not None:
            span &= Q(**{f"{column}__lt": before})
        found |= span
    return found


def had(exception: str) -> Exists | Q:
    """Return the condition that an attempt has ended with an exception of this dotted path."""
    from operator_app.models.job import OperationJob

    if NUL in exception:
        return Q(pk__in=[])
    return Exists(OperationJob.objects.filter(operation=OuterRef("pk"), exception_class=exception))


def ended_with(fingerprint: str) -> Q:
    """Return the condition that the last attempt has ended with an error of this fingerprint. It
    goes from the index of the attempts to the operations, and not through all of these.
    """
    from operator_app.models.job import OperationJob

    if NUL in fingerprint:
        return Q(pk__in=[])
    jobs = OperationJob.objects.filter(fingerprint=fingerprint)
    last = jobs.filter(operation=OuterRef("pk"), number=OuterRef("attempts"))
    return Q(Exists(last), pk__in=jobs.values("operation_id"))
