"""The results of recurrences: how the operations of their last slots have ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import OuterRef, Q, Subquery

from operator_app.models import states
from operator_app.models.recurrence import Recurrence
from operator_app.models.slot import RecurrenceSlot

LATEST: Final = 30
"""How many results of a recurrence are looked at."""


@dataclass(frozen=True)
class Result:
    """What became of one slot."""

    slot: datetime
    state: str
    """That of its operation; "gone" if it was deleted, that of the slot if there was none."""
    operation_id: int | None = None
    took: float | None = None
    """Seconds that it has run for, if it has ended."""
    ended_at: datetime | None = None
    reason: str = ""


def latest(
    recurrences: Iterable[Recurrence], alias: str, count: int = LATEST
) -> dict[int, list[Result]]:
    """Return the last results of recurrences, by their ids, oldest first. Two queries, however many
    they are: one finds where the last slots of each begin, one reads these.

    Args:
        recurrences: whose.
        alias: the database.
        count: of how many slots of each.
    """
    found: dict[int, list[Result]] = {recurrence.pk: [] for recurrence in recurrences}
    if (begin := _beginnings(list(found), alias, count)) is None:
        return found
    rows = RecurrenceSlot.objects.using(alias).filter(begin)
    # The row of an operation that was deleted is missing, as is that of an operator that has left.
    for row in rows.select_related("operation__operator").order_by("slot", "pk"):
        found[row.recurrence_id].append(_result(row, alias))
    return {pk: results[-count:] for pk, results in found.items()}


def ends_of_latest(
    ids: Collection[int], alias: str, count: int = LATEST
) -> list[tuple[int, datetime | None, datetime | None]]:
    """Return of each of these recurrences its id, the first and the last of its newest slots. The
    first is None where there are not so many, the last where there are none. One query; not by a
    window function, which would number all the slots that there ever were.

    Args:
        ids: of the recurrences.
        alias: the database.
        count: how many slots of each are the newest.
    """
    slots = RecurrenceSlot.objects.using(alias).filter(recurrence=OuterRef("pk")).order_by("-slot")
    last = Subquery(slots.values("slot")[:1])
    first = Subquery(slots.values("slot")[count - 1 : count])
    rows = Recurrence.objects.using(alias).filter(pk__in=ids).order_by()
    return list(rows.annotate(begin=first, end=last).values_list("pk", "begin", "end"))


def _beginnings(ids: Sequence[int], alias: str, count: int) -> Q | None:
    """Return the condition for the last slots of each; None if there are none."""
    condition = None
    for pk, begin, end in ends_of_latest(ids, alias, count):
        if end is None:
            continue
        mine = Q(recurrence_id=pk) if begin is None else Q(recurrence_id=pk, slot__gte=begin)
        condition = mine if condition is None else condition | mine
    return condition


def _result(row: RecurrenceSlot, alias: str) -> Result:
    operation = row.operation
    if operation is None:
        is_gone = row.operation_id is not None
        return Result(
            row.slot, "gone" if is_gone else row.state, row.operation_id, reason=row.reason
        )
    endings = (getattr(operation, column) for column in states.ENDINGS)
    ended_at = next(filter(None, endings), None)
    began_at = operation.begun_run_at or operation.started_run_at
    took = None
    if ended_at is not None and began_at is not None:
        took = max(0.0, (ended_at - began_at).total_seconds())
    state = states.state_of(operation, alias)
    return Result(row.slot, state, operation.pk, took, ended_at, operation.reason)
