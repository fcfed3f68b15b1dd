"""How operations are getting on, in numbers that cost the same in a table of any size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Count, Max

from operator_app.models import kinds
from operator_app.models.pause import Pause
from operator_app.models.process import OperatorProcess

if TYPE_CHECKING:
    from operator_app.models.lanes import Lane
    from operator_app.models.operation import Operation
    from operator_app.models.querysets import OperationQuerySet

CAP: Final = 10_000
"""Up to how many operations are counted; more are said to be more."""
WINDOW: Final = 100_000
"""Among how many of the newest operations the finished ones are counted, which are in no index."""


@dataclass(frozen=True)
class Number:
    """How many there are, up to a cap."""

    count: int
    is_more: bool = False

    def __str__(self) -> str:
        return f"{self.count:,}{'+' if self.is_more else ''}"

    @classmethod
    def of(cls, rows: OperationQuerySet[Operation], cap: int = CAP) -> Number:
        """Count these, up to the cap. One query, which reads no more than that."""
        found = rows.order_by()[: cap + 1].count()
        return cls(min(found, cap), found > cap)

    @classmethod
    def sum(cls, numbers: Iterable[Number]) -> Number:
        """Return how many these are together."""
        numbers = list(numbers)
        total = sum(each.count for each in numbers)
        return cls(min(total, CAP), total > CAP or any(each.is_more for each in numbers))


@dataclass(frozen=True)
class QueueView:
    """What waits in a queue."""

    name: str
    due: Number
    scheduled: Number
    late: float | None
    """Seconds for which the first of them has been due; None if none is."""
    paused: bool
    """Whether all that is due in it is paused."""


@dataclass(frozen=True)
class OperatorView:
    """Who lives, and what he does."""

    name: str
    queues: list[str]
    holds: int
    capacity: int
    draining: bool
    beat: float
    """Seconds since his last heartbeat."""


@dataclass(frozen=True)
class Overview:
    """How operations are getting on."""

    at: datetime
    states: dict[str, Number]
    queues: list[QueueView]
    operators: list[OperatorView]
    pauses: list[str]

    def facts(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return asdict(self)


def look(alias: str, now: datetime) -> Overview:
    """Return how operations are getting on. Ten queries, and two for each lane; each reads a range
    of an index, of 10,000 entries at most.
    """
    rows = kinds.operations(alias)
    pauses = list(Pause.objects.using(alias).active(now).order_by("pk"))
    queues = _queues(rows, pauses, now)
    last = rows.aggregate(last=Max("pk"))["last"] or 0
    newest = rows.filter(pk__gt=last - WINDOW).finished()
    finished = newest.order_by().count()
    states = {
        "scheduled": Number.sum(queue.scheduled for queue in queues),
        "due": Number.sum(queue.due for queue in queues),
        "running": Number.of(rows.running(now)),
        "stuck": Number.of(rows.stuck(now)),
        "finished": Number(finished, last > WINDOW),
        "failed": Number.of(rows.failed()),
        "cancelled": Number.of(rows.cancelled()),
    }
    sentences = [pause.sentence for pause in pauses]
    return Overview(now, states, queues, _operators(rows, now, alias), sentences)


def _queues(
    rows: OperationQuerySet[Operation], pauses: list[Pause], now: datetime
) -> list[QueueView]:
    by_queue: dict[str, list[Lane]] = {}
    for lane in rows.lanes():
        by_queue.setdefault(lane.queue, []).append(lane)
    return [_queue(name, by_queue[name], rows, pauses, now) for name in sorted(by_queue)]


def _queue(
    name: str,
    lanes: list[Lane],
    rows: OperationQuerySet[Operation],
    pauses: list[Pause],
    now: datetime,
) -> QueueView:
    mine = [
        rows.filter(queue=lane.queue, priority=lane.priority, kind_id=lane.kind_id)
        for lane in lanes
    ]
    due = [lane for lane in lanes if lane.next_at <= now]
    open_ = [lane for lane in due if not any(pause.covers_lane(lane) for pause in pauses)]
    return QueueView(
        name=name,
        due=Number.sum(Number.of(each.due(now)) for each in mine),
        scheduled=Number.sum(Number.of(each.scheduled(now)) for each in mine),
        late=(now - min(lane.next_at for lane in due)).total_seconds() if due else None,
        paused=bool(due) and not open_,
    )


def _operators(rows: OperationQuerySet[Operation], now: datetime, alias: str) -> list[OperatorView]:
    living = OperatorProcess.objects.using(alias).alive(now).order_by("hostname", "pid")
    held = rows.started().order_by().values_list("operator").annotate(Count("pk"))
    holds = dict(held)
    return [
        OperatorView(
            name=str(each),
            queues=list(each.queues),
            holds=holds.get(each.pk, 0),
            capacity=each.capacity,
            draining=each.draining,
            beat=max(0.0, (now - each.heartbeat_at).total_seconds()),
        )
        for each in living
    ]
