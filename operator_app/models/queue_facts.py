"""How operations are getting on queue by queue, in a number of queries that no queue adds to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from operator_app.models import kinds, tallies
from operator_app.models.number import Number
from operator_app.models.overview import QueueView, queue_views
from operator_app.models.pause import Pause
from operator_app.models.process import OperatorProcess
from operator_app.models.tallies import Summary
from operator_app.moments import later

if TYPE_CHECKING:
    from operator_app.models.lanes import Lane

HOUR: Final = 3_600.0
MOST: Final = 100
"""How many queues are shown at most: there may be one for each customer."""


@dataclass(frozen=True)
class QueueFacts:
    """How the operations of one queue are getting on."""

    waits: QueueView
    hour: Summary
    """What has happened in it within the last hour."""
    operators: Sequence[OperatorProcess]
    """Who lives and serves it; those that are leaving are last."""
    pauses: Sequence[Pause]
    """What keeps its operations from being begun, of some kind at least."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.waits.name

    @property
    def is_unserved(self) -> bool:
        """Whether operations are due in it that nobody who lives would take."""
        return bool(self.waits.late is not None and all(each.draining for each in self.operators))

    @property
    def own_pause(self) -> Pause | None:
        """The pause of this queue, for all kinds."""
        own = (each for each in self.pauses if each.queue == self.name and each.kind_id is None)
        return next(own, None)

    @property
    def is_paused(self) -> bool:
        """Whether none of its operations is begun, of whatever kind."""
        return any(each.kind_id is None for each in self.pauses)


@dataclass(frozen=True)
class Queues:
    """The queues there are, as far as they are shown."""

    shown: Sequence[QueueFacts]
    left_out: int
    """How many more there are."""


def look(alias: str, now: datetime) -> Queues:
    """Return how operations are getting on, queue by queue: those first in which something is due
    that nobody serves, then by name. Of too many queues those are shown that have been due for
    longest.

    Five queries; each reads ranges of an index.

    Args:
        alias: the database.
        now: the time.
    """
    lanes = kinds.operations(alias).lanes()
    pauses = list(Pause.objects.using(alias).active(now).select_related("circuit").order_by("pk"))
    living = list(OperatorProcess.objects.using(alias).alive(now).order_by("draining", "pk"))
    hour = tallies.summary(alias, later(now, -HOUR), now, by="queue")
    names = _names(lanes, pauses, living, hour)
    shown = set(names[:MOST])
    mine = [lane for lane in lanes if lane.queue in shown]
    pairs = {(lane.queue, lane.kind_id) for lane in mine}
    waiting = {view.name: view for view in queue_views(mine, pauses, now, alias)}
    facts = [
        QueueFacts(
            waits=waiting.get(name) or _empty(name),
            hour=hour.get(name) or Summary(),
            operators=[each for each in living if each.serves(name)],
            pauses=[each for each in pauses if _holds_up(each, name, pairs)],
        )
        for name in shown
    ]
    facts.sort(key=lambda each: (not each.is_unserved, each.name))
    return Queues(facts, len(names) - len(facts))


def _holds_up(pause: Pause, name: str, pairs: set[tuple[str, int]]) -> bool:
    """Whether a pause keeps some operations of a queue from being begun; `pairs` are the queues and
    kinds of those that wait.
    """
    if pause.queue:
        return pause.queue == name
    return pause.kind_id is None or (name, pause.kind_id) in pairs


def _names(
    lanes: Iterable[Lane],
    pauses: Iterable[Pause],
    living: Iterable[OperatorProcess],
    hour: Mapping[str, Summary],
) -> list[str]:
    """Return the names of all queues that are known, those first in which something waits."""
    first: dict[str, datetime] = {}
    for lane in lanes:
        first[lane.queue] = min(lane.next_at, first.get(lane.queue, lane.next_at))
    others = {pause.queue for pause in pauses if pause.queue} | set(hour)
    others |= {str(name) for each in living for name in each.queues}
    others |= {str(model.resolved_policy().queue) for model in kinds.all_kinds()}
    return [*sorted(first, key=lambda name: first[name]), *sorted(others - set(first))]


def _empty(name: str) -> QueueView:
    return QueueView(name=name, due=Number(0), scheduled=Number(0), late=None, paused=False)
