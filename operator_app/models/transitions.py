"""What happens to operations, told from their rows: pure, rows in and transitions out.

There is no table of events: timestamps are the only truth. A row tells when it was scheduled,
claimed and ended; the row of an attempt tells how that ended. Both may tell the same, and the same
again at the next look, so each transition has a key, and a memory of those that were told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

ENDED: Final = "ended"
"""The key of however an attempt ended: its own row knows it better than the operation's."""

NAMES: Final = (
    *("scheduled", "rescheduled", "claimed", "finished", "stopped", "retried", "rescued"),
    *("released", "failed", "cancelled", "aborted", "asked to abort", "retried by hand", "deleted"),
)
"""The names of all transitions."""

_LOST: Final = "OperatorLost"


class Row(NamedTuple):
    """What is read of an operation."""

    pk: int
    kind_id: int
    queue: str
    attempts: int
    created_at: datetime
    should_run_at: datetime
    started_run_at: datetime | None
    abort_requested_at: datetime | None
    finished_run_at: datetime | None
    failed_run_at: datetime | None
    cancelled_at: datetime | None
    reason: str
    hostname: str | None
    pid: int | None

    @property
    def operator(self) -> str:
        """Who has claimed it, as "host:pid"; empty if nobody has, or he is gone."""
        return "" if self.hostname is None else f"{self.hostname}:{self.pid}"

    @property
    def has_ended(self) -> bool:
        """Whether it will not be run again."""
        return any((self.finished_run_at, self.failed_run_at, self.cancelled_at))

    @property
    def is_pending(self) -> bool:
        """Whether it waits."""
        return self.started_run_at is None and not self.has_ended


class AttemptRow(NamedTuple):
    """What is read of an attempt, and of its operation."""

    pk: int
    operation_id: int
    kind_id: int
    queue: str
    number: int
    operator: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    exception_class: str
    message: str


@dataclass(frozen=True)
class Transition:
    """Something that happened to an operation.

    Args:
        at: when, by the database's time.
        name: what, one of `NAMES`.
        operation_id: to which one.
        kind_id: of which kind that is.
        queue: in which queue.
        number: at which of its claims; 0 before the first.
        operator: who did it, as "host:pid"; empty if that was no operator, or he is gone.
        exception: the dotted path of the class of the error behind it.
        message: the error's words, or the reason that was given.
        due: since when, or from when on, it is to be run; of those that were just scheduled.
        key: what tells it from all others.
    """

    at: datetime
    name: str
    operation_id: int
    kind_id: int
    queue: str
    number: int
    operator: str = ""
    exception: str = ""
    message: str = ""
    due: datetime | None = None
    key: tuple[object, ...] = ()

    @property
    def order(self) -> tuple[datetime, int, int]:
        """What they are sorted by: the time, and what can only come after what."""
        return self.at, self.operation_id, NAMES.index(self.name)


def of_row(row: Row) -> Iterator[Transition]:
    """Yield what the row of an operation tells."""
    due = None if row.attempts else row.should_run_at  # Later it may have been moved.
    yield replace(_of(row, "scheduled", row.created_at, key=("scheduled",)), due=due)
    if row.abort_requested_at is not None:
        name = "asked to abort"
        yield _of(row, name, row.abort_requested_at, row.reason, key=(name, row.attempts))
    if row.started_run_at is not None:
        yield _of(row, "claimed", row.started_run_at, key=("claimed", row.attempts))
    for name, at in (
        ("finished", row.finished_run_at),
        ("failed", row.failed_run_at),
        ("cancelled", row.cancelled_at),
    ):
        if at is not None and row.started_run_at is not None:
            yield _of(row, name, at, row.reason, key=(ENDED, row.attempts))
        elif at is not None:  # By hand, while it waited: there may be several, at any claim.
            yield _of(row, name, at, row.reason, key=(name, at))


def of_attempt(row: AttemptRow) -> Iterator[Transition]:
    """Yield what the row of an attempt tells."""
    values = (row.operation_id, row.kind_id, row.queue, row.number, row.operator)
    key = (row.operation_id, "claimed", row.number)
    yield Transition(row.started_at, "claimed", *values, key=key)
    if row.ended_at is not None and row.outcome is not None:
        lost = row.exception_class.endswith(_LOST)
        name = "rescued" if lost and row.outcome in ("retried", "released") else row.outcome
        yield Transition(
            row.ended_at,
            name,
            *values,
            exception=row.exception_class,
            message=row.message,
            key=(row.operation_id, ENDED, row.number),
        )


def of_change(before: Row, after: Row | None, now: datetime) -> Iterator[Transition]:
    """Yield what only the difference of two looks at an operation tells; None if it is gone."""
    if after is None:
        if not before.has_ended:
            yield _of(before, "deleted", now, key=("deleted",))
    elif before.has_ended and not after.has_ended:
        at = after.should_run_at if before.should_run_at < after.should_run_at < now else now
        yield _of(after, "retried by hand", at, key=("anew", before.attempts, at))
    elif (
        before.is_pending
        and after.is_pending
        and before.attempts == after.attempts
        and before.should_run_at != after.should_run_at
    ):
        key = ("rescheduled", after.should_run_at, now)
        yield replace(_of(after, "rescheduled", now, key=key), due=after.should_run_at)


class Memory:
    """What has been told already.

    Args:
        size: how many transitions are remembered.
    """

    def __init__(self, size: int = 100_000) -> None:
        self._size = size
        self._known: dict[tuple[object, ...], None] = {}

    def new(self, found: Iterable[Transition]) -> list[Transition]:
        """Return those that were not told yet, in the order of time, and remember them. Of two
        that tell the same, the later one in `found` stands.
        """
        fresh = {each.key: each for each in found if each.key not in self._known}
        self._known |= dict.fromkeys(fresh)
        for key in list(self._known)[: max(0, len(self._known) - self._size)]:
            del self._known[key]
        return sorted(fresh.values(), key=lambda each: each.order)


class Ids:
    """How far a table was read by its growing ids, and which ones were left out on the way.

    A transaction that got a smaller id may be committed later: the ids that are missing are asked
    for again, for a while.

    Args:
        last: the id up to which nothing is to be read.
        patience: for how many looks a missing id is asked for.
        most: how many are.
    """

    def __init__(self, last: int, *, patience: int = 60, most: int = 5_000) -> None:
        self.last = last
        self._patience = patience
        self._most = most
        self._missing: dict[int, int] = {}

    @property
    def missing(self) -> list[int]:
        """The ids to ask for again."""
        return list(self._missing)

    def advance(self, found: Iterable[int]) -> None:
        """Note the ids that a look has found, and that those between them were not there."""
        self._missing = {pk: left - 1 for pk, left in self._missing.items() if left > 1}
        for pk in sorted(found):
            self._missing.pop(pk, None)
            if pk > self.last:
                between = range(max(self.last + 1, pk - self._most), pk)
                self._missing |= dict.fromkeys(between, self._patience)
                self.last = pk
        for pk in sorted(self._missing)[: max(0, len(self._missing) - self._most)]:
            del self._missing[pk]


def _of(
    row: Row, name: str, at: datetime, message: str = "", *, key: tuple[object, ...]
) -> Transition:
    number = 0 if name == "scheduled" else row.attempts
    operator = row.operator if name in ("claimed", "finished", "failed", "cancelled") else ""
    values = (at, name, row.pk, row.kind_id, row.queue, number, operator)
    return Transition(*values, message=message, key=(row.pk, *key))
