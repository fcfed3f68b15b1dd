"""What is found about operations that are due: does somebody take them, and in time?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from operator_app.checks import pending
from operator_app.doctor.finding import Finding
from operator_app.models import Operation, OperatorProcess, Pause
from operator_app.models.lanes import Lane, lanes
from operator_app.models.loads import busy_with
from operator_app.moments import in_words, later

LATE: Final = 60.0
"""Seconds for which an operation may wait for its turn."""


def due_operations(alias: str, now: datetime) -> Iterator[Finding]:
    """Yield a problem if operations are due and no operator lives, or none that serves the queue of
    some that wait for long; a warning for each other queue in which some wait for long. What is
    paused may wait.

    One query if nothing is due, of one index entry per lane; two more for operators and pauses; for
    each finding one per lane, and two or three.
    """
    due = [lane for lane in lanes(alias) if lane.next_at <= now]
    if not due:
        return
    living = list(OperatorProcess.objects.using(alias).alive(now))
    if not living:
        yield _no_operator(_Waiting.of(due, now, now, alias))
        return
    late = later(now, -LATE)
    pauses = list(Pause.objects.using(alias).active(now))
    open_lanes = [lane for lane in due if not any(pause.covers_lane(lane) for pause in pauses)]
    late_lanes = [lane for lane in open_lanes if lane.next_at <= late]
    for queue in sorted({lane.queue for lane in late_lanes}):
        mine = [lane for lane in open_lanes if lane.queue == queue]
        waiting = _Waiting.of(mine, late, now, alias)
        serving = [
            process
            for process in living
            if not process.draining and (not process.queues or queue in process.queues)
        ]
        if serving:
            kind_ids = {lane.kind_id for lane in late_lanes if lane.queue == queue}
            yield _late(queue, waiting, serving, busy_with(alias, kind_ids, serving))
        else:
            yield _unserved(queue, waiting, living)


class _Waiting(NamedTuple):
    """Operations that wait, in words."""

    many: str
    """How many, counted up to a thousand."""
    oldest: str
    """Which of them waits for longest, and since when."""

    def __str__(self) -> str:
        return f"{self.many}; {self.oldest}"

    @classmethod
    def of(cls, lanes: Sequence[Lane], until: datetime, now: datetime, alias: str) -> _Waiting:
        """Look up those of these lanes that are due `until` then. A query per lane, and one."""
        rows = Operation.all_objects.using(alias).due(until)
        first = min(lanes, key=lambda lane: lane.next_at)
        of_lane = rows.filter(queue=first.queue, priority=first.priority, kind_id=first.kind_id)
        oldest = of_lane.order_by("should_run_at", "id").first()
        many = pending.in_words(pending.count_in(lanes, rows))
        since = in_words((now - first.next_at).total_seconds())
        if oldest is None:
            return cls(many, f"the oldest, due for {since}, has been claimed in this moment")
        return cls(many, f"the oldest, {oldest}, has been due for {since}")


def _no_operator(waiting: _Waiting) -> Finding:
    return Finding(
        "doctor.no_operator",
        "problem",
        f"No operator lives, and operations are due: {waiting}.",
        "Start `manage.py operator`, or look into its log and its service manager for why it has "
        "ended.",
    )


def _unserved(queue: str, waiting: _Waiting, living: Sequence[OperatorProcess]) -> Finding:
    served = sorted({name for process in living if not process.draining for name in process.queues})
    serves = f"serve {', '.join(map(repr, served))}" if served else "are about to leave"
    return Finding(
        "doctor.unserved_queue",
        "problem",
        f"No living operator serves the queue {queue!r}, in which operations have been due for "
        f"more than {in_words(LATE)}: {waiting}.",
        f"Living operators: {len(living)}, but they {serves}. Start "
        f"`manage.py operator --queue {queue}`, or one without --queue, which serves all.",
    )


def _late(
    queue: str,
    waiting: _Waiting,
    serving: Sequence[OperatorProcess],
    taken: Mapping[Any, tuple[int, int]],
) -> Finding:
    if all(held >= room for held, room in taken.values()):
        cure = (
            "They have their hands full: start more of them, give them more --threads, or move "
            "what may wait to a lower priority."
        )
    else:
        cure = (
            "They have room: look into their logs for why they do not claim these (a kind that "
            "they do not know, a database that is slow)."
        )
    return Finding(
        "doctor.late",
        "warning",
        f"Operations in the queue {queue!r} have been due for more than {in_words(LATE)}: "
        f"{waiting}. Living operators that serve it: {len(serving)}; operations that they have "
        f"claimed where these would run: {sum(held for held, _ in taken.values())}, that they run "
        f"there at once: {sum(room for _, room in taken.values())}.",
        cure,
    )
