"""The reads behind `operations tail`: what has happened since the last look, in bounded steps.

Every read is of a range of an index. Growing ids find what is new among operations and attempts;
those that have started, and those that wait at the front of their lanes, are remembered, and looked
up by their ids once they are there no more. Whatever did not simply finish leaves the row of an
attempt behind, so that nothing but a plain finish can slip through: that of an operation which was
neither new nor at the front of its lane when it was claimed and has finished between two looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connections
from django.db.models import Max, QuerySet

from operator_app.models import kinds, states
from operator_app.models.among import Among
from operator_app.models.choice import Choice
from operator_app.models.job import OperationJob
from operator_app.models.lanes import Lane, lanes
from operator_app.models.transitions import (
    AttemptRow,
    Ids,
    Memory,
    Row,
    Transition,
    of_attempt,
    of_change,
    of_row,
)

PAGE: Final = 5_000
"""How many rows are read with one query."""
FOLLOWED: Final = 5_000
"""How many operations are remembered that have not ended, and how many that have."""
FRONT: Final = 1_000
"""How many of those are remembered that wait at the fronts of all lanes together."""
LANES: Final = 100
"""In how many lanes, those of the highest priority."""
OVERLAP: Final = timedelta(seconds=5)
"""How long before the last look an ending may lie that was not committed then."""

_ROW: Final = (*Row._fields[:-2], "operator__hostname", "operator__pid")
_ATTEMPT: Final = tuple(
    f"operation__{name}" if name in ("kind_id", "queue") else name for name in AttemptRow._fields
)


class Follower:
    """Finds out what happens to operations, look by look.

    Args:
        alias: the database.
        now: its time; what happened earlier is found as far as `back` goes.
        back: from when on endings are found.
        newest: among how many of the newest operations and attempts the first look looks.
        interval: seconds between two looks, about.
    """

    def __init__(
        self, alias: str, now: datetime, *, back: datetime, newest: int, interval: float = 1.0
    ) -> None:
        self._alias = alias
        self._horizon = timedelta(seconds=2 * interval + 1)
        rows, attempts = self._rows().aggregate(last=Max("pk")), self._attempts()
        self._ids = Ids((rows["last"] or 0) - newest)
        self._attempt_ids = Ids((attempts.aggregate(last=Max("pk"))["last"] or 0) - newest)
        # On PostgreSQL and SQLite those that have finished are in no index.
        finished = ["finished_run_at"] if connections[alias].vendor == "mysql" else []
        self._back = dict.fromkeys(["cancelled_at", *finished], back)
        self._newest_first = True
        self._open: dict[int, Row] = {}
        self._over: dict[int, Row] = {}
        self._running: list[int] = []
        self._fronts: dict[tuple[str, int, int], set[int]] = {}
        self._memory = Memory()
        self.missed: list[str] = []
        """The queues of which the last look may have missed some that have finished."""
        self.is_behind = False
        """Whether there is more to read than the last look has read."""

    def look(self, now: datetime) -> list[Transition]:
        """Return what has happened since the last look, in the order of time. Nine queries at
        most, and one for each lane in which something is due, of 100 at most.

        Args:
            now: the database's time.
        """
        new = self._new_rows()
        seen = {row.pk: row for row in new}
        seen |= {row.pk: row for row in self._ended(now)}
        current = self._started() | self._waiting(now)
        gone = [pk for pk in self._open if pk not in current and pk not in seen]
        seen |= current | self._by_id(gone)
        found = [each for row in seen.values() for each in of_row(row)]
        found += self._changes(seen, gone, now)
        # After the rows of the operations, whose endings are committed along with them.
        found += [each for row in self._new_attempts() for each in of_attempt(row)]
        self._remember(seen, current, now)
        return self._memory.new(found)

    def _new_rows(self) -> list[Row]:
        rows = self._rows().filter(pk__gt=self._ids.last).order_by("pk")[:PAGE]
        found = [Row(*values) for values in rows.values_list(*_ROW)]
        self.is_behind = len(found) == PAGE
        found += self._by_id(self._ids.missing).values()
        self._ids.advance(row.pk for row in found)
        return found

    def _new_attempts(self) -> list[AttemptRow]:
        rows = self._attempts().filter(pk__gt=self._attempt_ids.last).order_by("pk")[:PAGE]
        found = [AttemptRow(*values) for values in rows.values_list(*_ATTEMPT)]
        self.is_behind |= len(found) == PAGE
        known = [*self._attempt_ids.missing, *self._running]
        if known:
            again = self._attempts().filter(Among(known)).values_list(*_ATTEMPT)
            found += [AttemptRow(*values) for values in again]
        self._attempt_ids.advance(row.pk for row in found)
        self._running = [row.pk for row in found if row.ended_at is None][-FOLLOWED:]
        return found

    def _started(self) -> dict[int, Row]:
        # In the order of their index, which PostgreSQL would not take otherwise.
        rows = self._rows().started().order_by("operator_id", "started_run_at")[:FOLLOWED]
        return _by_pk(rows.values_list(*_ROW))

    def _waiting(self, now: datetime) -> dict[int, Row]:
        """Return those that are about to be claimed: the first ones of each lane."""
        until = now + self._horizon
        due = [lane for lane in lanes(self._alias) if lane.next_at <= until]
        due = sorted(due, key=lambda lane: (-lane.priority, lane.next_at))[:LANES]
        many = max(1, FRONT // max(1, len(due)))
        found: dict[int, Row] = {}
        fronts: dict[tuple[str, int, int], set[int]] = {}
        for lane in due:
            rows = self._rows().pending().filter(should_run_at__lte=until, **_in(lane))
            front = _by_pk(rows.order_by("should_run_at", "pk")[:many].values_list(*_ROW))
            fronts[lane[:3]] = set(front)
            found |= front
        self._note_missed(fronts, many)
        return found

    def _note_missed(self, fronts: dict[tuple[str, int, int], set[int]], many: int) -> None:
        """Note the lanes whose whole front has gone since: others behind it may have gone, too."""
        self.missed = []
        if "finished_run_at" not in self._back:
            self.missed = sorted(
                {
                    lane[0]
                    for lane, front in self._fronts.items()
                    if len(front) >= many and not front & fronts.get(lane, set())
                }
            )
        self._fronts = fronts

    def _ended(self, now: datetime) -> list[Row]:
        """Return those that were cancelled, by whomever, and on MySQL and MariaDB those that have
        finished: there an index has them.
        """
        found: list[Row] = []
        for column, back in self._back.items():
            # The others are null, by which the one index of MySQL and MariaDB begins.
            null = {f"{each}__isnull": True for each in states.ENDINGS if each != column}
            rows = self._rows().filter(**null, **{f"{column}__gte": back})
            order = [f"-{column}", "-pk"] if self._newest_first else [column, "pk"]
            page = [Row(*values) for values in rows.order_by(*order)[:PAGE].values_list(*_ROW)]
            last = getattr(page[-1], column) if len(page) == PAGE else None
            if last is not None and not self._newest_first and last > back:
                self._back[column], self.is_behind = last, True
            else:
                self._back[column] = max(back, now - OVERLAP)
            found += page
        self._newest_first = False
        return found

    def _changes(self, seen: dict[int, Row], gone: list[int], now: datetime) -> list[Transition]:
        known = self._over | self._open
        found = [
            each
            for pk, after in seen.items()
            if (before := known.get(pk)) is not None
            for each in of_change(before, after, now)
        ]
        deleted = [self._open[pk] for pk in gone if pk not in seen]
        return found + [each for row in deleted for each in of_change(row, None, now)]

    def _remember(self, seen: dict[int, Row], current: dict[int, Row], now: datetime) -> None:
        until = now + self._horizon
        soon = {
            pk: row for pk, row in seen.items() if not row.has_ended and row.should_run_at <= until
        }
        room = max(0, FOLLOWED - len(current))
        self._open = current | dict(list(soon.items())[:room])
        over = {pk: row for pk, row in self._over.items() if pk not in seen}
        over |= {pk: row for pk, row in seen.items() if row.has_ended}
        self._over = dict(list(over.items())[-FOLLOWED:])

    def _by_id(self, ids: Iterable[int]) -> dict[int, Row]:
        wanted = list(ids)
        if not wanted:
            return {}
        return _by_pk(self._rows().filter(Among(wanted)).values_list(*_ROW))

    def _rows(self) -> Any:
        return kinds.operations(self._alias).order_by()

    def _attempts(self) -> QuerySet[OperationJob]:
        return OperationJob.objects.using(self._alias)


def chosen_of(found: list[Transition], choice: Choice, alias: str) -> list[Transition]:
    """Return those transitions that are of operations of a choice, and by one of its operators if
    it names some; its states do not count. No queries, but one and those of `Choice.rows()` for
    what the transitions do not tell.

    Raises:
        ValueError: for a kind that there is not.
    """
    models = [kinds.of_label(label) for label in choice.kinds]
    wanted = {
        "operation_id": choice.ids,
        "kind_id": [kinds.content_type(model, alias).pk for model in models],
        "queue": choice.queues,
        "operator": choice.operators,
    }
    for name, values in wanted.items():
        if values:
            found = [each for each in found if getattr(each, name) in values]
    rest = replace(choice, ids=(), states=(), kinds=(), queues=(), operators=())
    if not found or not rest.is_narrow:
        return found
    rows = rest.rows(alias).filter(Among({each.operation_id for each in found}))
    ids = set(rows.values_list("pk", flat=True))
    return [each for each in found if each.operation_id in ids]


def _by_pk(values: Any) -> dict[int, Row]:
    return {row[0]: Row(*row) for row in values}


def _in(lane: Lane) -> dict[str, Any]:
    return {"queue": lane.queue, "priority": lane.priority, "kind_id": lane.kind_id}
