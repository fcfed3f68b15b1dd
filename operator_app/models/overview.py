"""How operations are getting on, in numbers that cost the same in a table of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from operator_app.models import counts, kinds
from operator_app.models.depths import depths, fair_cap
from operator_app.models.loads import IDLE, Load, loads
from operator_app.models.number import Number
from operator_app.models.pause import Pause
from operator_app.models.process import OperatorProcess
from operator_app.models.rates import Rate, rates

if TYPE_CHECKING:
    from operator_app.models.lanes import Lane
    from operator_app.models.operation import Operation
    from operator_app.models.querysets import OperationQuerySet


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
    """How many operations he has claimed that have not ended."""
    on_threads: int
    """How many of these run on threads, or wait for one."""
    capacity: int
    """How many threads he has."""
    draining: bool
    beat: float
    """Seconds since his last heartbeat."""

    @property
    def load(self) -> Load:
        """What he holds, by where it runs."""
        return Load(self.on_threads, self.holds - self.on_threads)


@dataclass(frozen=True)
class Overview:
    """How operations are getting on."""

    at: datetime
    states: dict[str, Number]
    queues: list[QueueView]
    operators: list[OperatorView]
    pauses: list[str]
    rates: dict[str, Rate]
    """What was done in the last minute, hour and day."""

    def facts(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return asdict(self)


def look(alias: str, now: datetime) -> Overview:
    """Return how operations are getting on. Thirteen queries, and one for each 200 lanes; each
    reads ranges of an index, of 10,000 entries at most.
    """
    rows = kinds.operations(alias)
    pauses = list(Pause.objects.using(alias).active(now).order_by("pk"))
    queues = queue_views(rows.lanes(), pauses, now, alias)
    states = {
        "scheduled": Number.sum(queue.scheduled for queue in queues),
        "due": Number.sum(queue.due for queue in queues),
        "running": Number.of(rows.running(now)),
        "stuck": Number.of(rows.stuck(now)),
        **counts.among_newest(rows, now, counts.newest_id(alias), ["finished"]),
        "failed": Number.of(rows.failed()),
        "cancelled": Number.of(rows.cancelled()),
    }
    sentences = [pause.sentence for pause in pauses]
    operators = _operators(rows, now, alias)
    return Overview(now, states, queues, operators, sentences, rates(alias, now))


def queue_views(
    lanes: Sequence[Lane], pauses: Sequence[Pause], now: datetime, alias: str
) -> list[QueueView]:
    """Return what waits in the queues of these lanes, by name. One query for each 200 lanes.

    Args:
        lanes: as `lanes.lanes()` finds them; all of a queue, or none.
        pauses: those that are active.
        now: the time.
        alias: the database.
    """
    by_queue: dict[str, list[Lane]] = {}
    for lane in lanes:
        by_queue.setdefault(lane.queue, []).append(lane)
    cap = fair_cap(len(lanes))
    found = {
        lane: (Number.up_to(depth.due, cap), Number.up_to(depth.scheduled, cap))
        for lane, depth in depths(lanes, now, alias, cap).items()
    }
    return [_queue(name, by_queue[name], found, pauses, now) for name in sorted(by_queue)]


def _queue(
    name: str,
    lanes: list[Lane],
    found: Mapping[Lane, tuple[Number, Number]],
    pauses: Sequence[Pause],
    now: datetime,
) -> QueueView:
    due = [lane for lane in lanes if lane.next_at <= now]
    open_ = [lane for lane in due if not any(pause.covers_lane(lane) for pause in pauses)]
    return QueueView(
        name=name,
        due=Number.sum(found[lane][0] for lane in lanes),
        scheduled=Number.sum(found[lane][1] for lane in lanes),
        late=(now - min(lane.next_at for lane in due)).total_seconds() if due else None,
        paused=bool(due) and not open_,
    )


def _operators(rows: OperationQuerySet[Operation], now: datetime, alias: str) -> list[OperatorView]:
    living = OperatorProcess.objects.using(alias).alive(now).order_by("hostname", "pid")
    held = loads(alias)
    return [
        OperatorView(
            name=str(each),
            queues=list(each.queues),
            holds=held.get(each.pk, IDLE).all,
            on_threads=held.get(each.pk, IDLE).on_threads,
            capacity=each.capacity,
            draining=each.draining,
            beat=max(0.0, (now - each.heartbeat_at).total_seconds()),
        )
        for each in living
    ]
