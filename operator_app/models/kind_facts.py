"""How operations are getting on kind by kind, in a number of queries that no kind adds to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from django.contrib.contenttypes.models import ContentType

from operator_app.models import kinds, states, tallies
from operator_app.models.circuit import Circuit
from operator_app.models.depths import depths, fair_cap
from operator_app.models.number import CAP, Number
from operator_app.models.pause import Pause
from operator_app.models.tallies import Summary
from operator_app.moments import later

if TYPE_CHECKING:
    from operator_app.models.lanes import Lane
    from operator_app.models.operation import Operation

HOUR: Final = 3_600.0
DAY: Final = 24 * HOUR
LANES: Final = 1_000
"""How many lanes are counted at most: those that are due first."""

STATES: Final = ("scheduled", "due", "running", "stuck", "failed", "cancelled")
"""The states that are counted. Finished ones are in no index; the tallies know how many of them
there have been lately.
"""

_ByKind = dict[int, Number]


@dataclass(frozen=True)
class KindFacts:
    """How the operations of one kind are getting on."""

    kind_id: int
    label: str
    model: type[Operation] | None
    """Its class; None if this process does not know it."""
    states: Mapping[str, Number]
    """How many there are in each of `STATES`."""
    hour: Summary
    """What has happened to them within the last hour."""
    day: Summary
    """The same of the last 24 hours."""
    pauses: Sequence[Pause] = ()
    """What keeps them from being begun, in some queue at least."""
    circuit: Circuit | None = None
    """What is known of their failures, if there is a circuit breaker that has counted any."""

    @property
    def is_known(self) -> bool:
        """Whether it is installed here, or there is anything of it."""
        numbers = [self.day.ended, *(number.count for number in self.states.values())]
        return self.model is not None or any(numbers)

    @property
    def own_pause(self) -> Pause | None:
        """The pause of this kind in all queues, that of its circuit breaker aside."""
        own = [each for each in self.pauses if each.kind_id == self.kind_id and not each.queue]
        return next((each for each in own if not each.from_breaker), None)

    @property
    def is_paused(self) -> bool:
        """Whether none of its operations is begun, in whatever queue."""
        return any(not each.queue for each in self.pauses)

    @property
    def is_open(self) -> bool:
        """Whether its circuit is open."""
        return any(each.from_breaker for each in self.pauses)


def look(alias: str, now: datetime, *, only: int | None = None) -> list[KindFacts]:
    """Return how operations are getting on: of each kind that is installed, has operations that
    have not finished, or has had some within a day; by label.

    Twelve queries, and one for each 200 lanes, of 1,000 at most; each reads ranges of an index.

    Args:
        alias: the database.
        now: the time.
        only: the id of the one kind that is wanted.
    """
    known = kinds.known_kinds(alias)
    lanes = [lane for lane in kinds.operations(alias).lanes() if only in (None, lane.kind_id)]
    counts = _by_state(lanes, alias, now)
    wanted = None if only is None else [only]
    hour, day = (
        tallies.summary(alias, later(now, -span), now, by="kind", kind_ids=wanted)
        for span in (HOUR, DAY)
    )
    ids = {*known, *day, *chain(*counts.values())} if only is None else {only}
    pauses = list(Pause.objects.using(alias).active(now).select_related("circuit").order_by("pk"))
    queues = _queues(known, lanes)
    circuits = {circuit.kind_id: circuit for circuit in Circuit.objects.using(alias)}
    facts = [
        KindFacts(
            kind_id=kind_id,
            label=label,
            model=known.get(kind_id),
            states={state: numbers[kind_id] for state, numbers in counts.items()},
            hour=hour.get(kind_id) or Summary(),
            day=day.get(kind_id) or Summary(),
            pauses=[pause for pause in pauses if _holds_up(pause, kind_id, queues[kind_id])],
            circuit=circuits.get(kind_id),
        )
        for kind_id, label in _labels(ids, known, alias).items()
    ]
    return sorted(facts, key=lambda each: each.label)


def _labels(ids: set[int], known: Mapping[int, Any], alias: str) -> dict[int, str]:
    """Return "app.Model" by the ids of kinds. One query, if there are some whose class is gone."""
    gone = ids - set(known)
    rows = ContentType.objects.using(alias).filter(pk__in=gone) if gone else ()
    labels = {kind_id: f"kind {kind_id}" for kind_id in gone}
    labels |= {row.pk: f"{row.app_label}.{row.model}" for row in rows}
    return labels | {kind_id: known[kind_id]._meta.label for kind_id in ids - gone}


def _queues(known: Mapping[int, Any], lanes: Sequence[Lane]) -> Mapping[int, set[str]]:
    """Return in which queues operations of each kind wait, or would wait."""
    queues: dict[int, set[str]] = defaultdict(set)
    for kind_id, model in known.items():
        queues[kind_id].add(str(model.resolved_policy().queue))
    for lane in lanes:
        queues[lane.kind_id].add(lane.queue)
    return queues


def _holds_up(pause: Pause, kind_id: int, queues: set[str]) -> bool:
    """Whether a pause keeps some operations of a kind from being begun."""
    if pause.kind_id is not None:
        return pause.kind_id == kind_id
    return not pause.queue or pause.queue in queues


def _by_state(lanes: Sequence[Lane], alias: str, now: datetime) -> dict[str, _ByKind]:
    """Return how many operations there are, state by state and kind by kind. Four queries, and one
    for each 200 lanes.
    """
    rows = kinds.operations(alias)
    started = {"running": rows.running(now), "stuck": rows.stuck(now)}
    ended = {"failed": "failed_run_at", "cancelled": "cancelled_at"}
    counts = _waiting(lanes, alias, now)
    counts |= {state: _among_first(found.order_by()) for state, found in started.items()}
    counts |= {state: _among_first(_newest(rows, column)) for state, column in ended.items()}
    return {state: counts[state] for state in STATES}


def _newest(rows: Any, column: str) -> Any:
    """Return operations that have ended in one way, the last first, as an index has them."""
    # That the endings before it are null is a matter of course. It lets MySQL use its one index.
    before = states.ENDINGS[: states.ENDINGS.index(column)]
    conditions = {f"{name}__isnull": True for name in before} | {f"{column}__isnull": False}
    return rows.filter(**conditions).order_by(f"-{column}")


def _among_first(rows: Any) -> _ByKind:
    """Count the first of these operations, kind by kind. One query."""
    found = list(rows.values_list("kind_id", flat=True)[: CAP + 1])
    is_more = len(found) > CAP
    return defaultdict(
        lambda: Number(0, is_more),
        {kind_id: Number(count, is_more) for kind_id, count in Counter(found).items()},
    )


def _waiting(lanes: Sequence[Lane], alias: str, now: datetime) -> dict[str, _ByKind]:
    """Return how many operations wait, kind by kind. One query for each 200 lanes."""
    by_time = sorted(lanes, key=lambda lane: lane.next_at)
    first, rest = by_time[:LANES], by_time[LANES:]
    cap = fair_cap(len(first))
    numbers: dict[str, dict[int, list[Number]]] = {
        state: defaultdict(list) for state in ("due", "scheduled")
    }
    for lane, depth in depths(first, now, alias, cap).items():
        numbers["due"][lane.kind_id].append(Number.up_to(depth.due, cap))
        numbers["scheduled"][lane.kind_id].append(Number.up_to(depth.scheduled, cap))
    for lane in rest:
        state = "due" if lane.next_at <= now else "scheduled"
        numbers[state][lane.kind_id].append(Number(0, is_more=True))
    return {
        state: defaultdict(
            lambda: Number(0),
            {kind_id: Number.sum(parts) for kind_id, parts in by_kind.items()},
        )
        for state, by_kind in numbers.items()
    }
