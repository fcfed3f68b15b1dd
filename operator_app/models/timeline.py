"""What has become of an operation, moment by moment, with the time in between by its name.

`tell()` makes it of facts that were loaded before. An attempt that simply finished leaves no row,
so the columns of the operation tell of the last one; what nobody wrote down is not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from django.utils.translation import gettext as _

from operator_app.models import events, states
from operator_app.models.events import Event

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation
    from operator_app.models.pause import Pause

LATEST: Final = 30
"""How many attempts are told of, the latest."""
LONG_TEXTS: Final = ("traceback", "log", "stack", "meta")
"""Columns of an attempt that a timeline has no use for."""
AT_ONCE: Final = timedelta(seconds=1)
"""What is closer together is one event."""
RESCUED: Final = "OperatorLost"
"""The exception of an attempt whose operator died."""


class _Run(NamedTuple):
    """One attempt, from its row or from the columns of the operation."""

    number: int
    operator: str
    claimed: datetime
    begun: datetime | None
    ended: datetime | None
    outcome: str | None
    words: str
    crashed: bool = False


class _Since(NamedTuple):
    """From when on it has been waiting, and after what."""

    at: datetime
    code: str


def tell(
    operation: Operation,
    jobs: Sequence[OperationJob],
    now: datetime,
    *,
    state: str,
    pauses: Sequence[Pause] = (),
) -> list[Event]:
    """Return the events of an operation in their order, those to come last. No queries.

    Args:
        operation: with its operator loaded, if it has one.
        jobs: the rows of its attempts, or of the latest of them, in any order; their long texts
            are not needed.
        now: the time.
        state: the state it is in.
        pauses: those that cover it now.
    """
    runs = _runs(operation, jobs)
    told = [Event(operation.created_at, "created", _("Created")), *_attempts(operation, runs)]
    since = _since(operation, runs)
    if state in ("scheduled", "due"):
        told += _waiting(operation, since, now)
    elif state in ("running", "stuck"):
        told.append(_going(runs[-1], now, state))
    elif operation.started_run_at is None:
        told.append(_ended_unclaimed(operation, since))
    told += _asides(operation, now, pauses if state in ("scheduled", "due") else ())
    told.sort(key=lambda event: event.at)
    return [replace(event, is_ahead=event.at > now) for event in told]


def jobs_of(operation: Operation) -> list[OperationJob]:
    """Return the latest attempts of an operation, without their long texts. One query."""
    from operator_app.models.job import OperationJob

    rows = OperationJob.objects.using(operation._alias).filter(operation_id=operation.pk)
    return list(rows.defer(*LONG_TEXTS).order_by("-number")[:LATEST])


def pauses_of(operation: Operation, now: datetime) -> list[Pause]:
    """Return the pauses that cover an operation now. One query."""
    from operator_app.models.pause import Pause

    active = Pause.objects.using(operation._alias).active(now).order_by("pk")
    return [pause for pause in active if pause.covers(operation.queue, operation.kind_id)]


def _runs(operation: Operation, jobs: Sequence[OperationJob]) -> list[_Run]:
    """Return the attempts that are known, the first one first."""
    runs = [_of_row(operation, job) for job in sorted(jobs, key=lambda job: job.number)]
    is_told = bool(runs) and runs[-1].number == operation.attempts
    if operation.started_run_at is None or is_told:
        return runs
    ended, outcome = _ending(operation)
    runs.append(
        _Run(
            operation.attempts,
            _operator(operation),
            operation.started_run_at,
            operation.begun_run_at,
            ended,
            outcome,
            operation.reason if ended else "",
        )
    )
    return runs


def _operator(operation: Operation) -> str:
    if operation.operator_id is None:
        return ""
    return states.operator_name(operation) or _("an operator that has left")


def _of_row(operation: Operation, job: OperationJob) -> _Run:
    is_current = job.number == operation.attempts and operation.started_run_at is not None
    begun = job.begun_at or (operation.begun_run_at if is_current else None)
    ended, outcome = job.ended_at, job.outcome
    if ended is None and is_current:
        ended, outcome = _ending(operation)
    name = job.exception_class.rpartition(".")[2]
    crashed = name == RESCUED
    words = ": ".join(part for part in ("" if crashed else name, job.message) if part)
    return _Run(job.number, job.operator, job.started_at, begun, ended, outcome, words, crashed)


def _ending(operation: Operation) -> tuple[datetime | None, str | None]:
    for column, outcome in zip(states.ENDINGS, ("finished", "failed", "cancelled"), strict=True):
        if (moment := getattr(operation, column)) is not None:
            return moment, outcome
    return None, None


def _since(operation: Operation, runs: Sequence[_Run]) -> _Since:
    """Return from when on it waited for what comes after these attempts."""
    if not runs:
        return _Since(operation.created_at, "created")
    last = runs[-1]
    code = "rescued" if last.crashed and last.outcome == "retried" else last.outcome
    return _Since(last.ended or last.begun or last.claimed, code or "released")


def _attempts(operation: Operation, runs: Sequence[_Run]) -> Iterator[Event]:
    for place, run in enumerate(runs):
        since = _since(operation, runs[:place])
        unknown = run.number - (runs[place - 1].number if place else 0) - 1
        # The claim left it as it was; later attempts have moved it.
        is_last = run.number == operation.attempts and operation.started_run_at is not None
        if is_last and not unknown:
            yield from _due(since, operation.should_run_at)
            since = _after_due(since, operation.should_run_at)
        yield _claimed(run, since, unknown)
        if run.begun is not None and run.begun - run.claimed >= AT_ONCE:
            begun = Event(run.begun, "begun", _("Begun"), claim=run.number)
            yield begun.after(run.claimed, events.FOR_ITS_TURN)
        if run.ended is not None and run.outcome is not None:
            yield _end(run, run.ended, run.outcome)


def _due(since: _Since, due: datetime) -> Iterator[Event]:
    """Yield that it became due, unless that was at once."""
    if due - since.at < AT_ONCE:
        return
    if (gap := events.FOR_ITS_TIME.get(since.code)) is None:
        # It had ended, and somebody has had it tried again.
        yield Event(due, "renewed", _("Begins anew")).after(since.at, events.WAS_OVER)
    else:
        yield Event(due, "due", _("Due")).after(since.at, gap.over)


def _after_due(since: _Since, due: datetime) -> _Since:
    return _Since(max(since.at, due), "due")


def _claimed(run: _Run, since: _Since, unknown: int) -> Event:
    by = _("Claimed by %s") % run.operator if run.operator else _("Begun by hand")
    event = Event(run.claimed, "claimed", by, claim=run.number)
    if unknown:
        words = _("%(count)d claims that are not shown, %(time)s in all")
        return event.after(since.at, words % {"count": unknown, "time": "%s"})
    known = since.code == "due"
    return event.after(since.at, events.FOR_AN_OPERATOR.over if known else events.IN_ALL)


def _end(run: _Run, ended: datetime, outcome: str) -> Event:
    code = "rescued" if run.crashed and outcome == "retried" else outcome
    said = _(events.ENDINGS[code]) if code in events.ENDINGS else code
    event = Event(ended, code, f"{said}: {run.words}" if run.words else said, claim=run.number)
    # Without a word of when it began, a short run and a long wait look the same.
    held = run.crashed or (run.begun is None and outcome == "released")
    gap = events.HELD if held else events.RAN
    return event.after(run.begun or run.claimed, gap.over)


def _waiting(operation: Operation, since: _Since, now: datetime) -> Iterator[Event]:
    """Yield when a pending one is due, and how long it has been."""
    due = operation.should_run_at
    if due > now:
        gap = events.FOR_ITS_TIME.get(since.code, events.FOR_ITS_TIME["released"])
        yield Event(due, "due", _("Due")).after(since.at, gap.lasting)
        return
    yield from _due(since, due)
    waiting_since = _after_due(since, due).at
    yield Event(now, "now", _("Now")).after(waiting_since, events.FOR_AN_OPERATOR.lasting)


def _going(run: _Run, now: datetime, state: str) -> Event:
    """Return how long a started one has been at it."""
    gap = events.HELD if state == "stuck" or run.begun is None else events.RAN
    event = Event(now, "now", _("Now"), claim=run.number)
    return event.after(run.begun or run.claimed, gap.lasting)


def _ended_unclaimed(operation: Operation, since: _Since) -> Event:
    """Return the ending of one that was pending."""
    ended, outcome = _ending(operation)
    assert ended is not None and outcome is not None
    said = _(events.ENDINGS[outcome])
    sentence = f"{said}: {operation.reason}" if operation.reason else said
    return Event(ended, outcome, sentence).after(since.at, events.IN_ALL)


def _asides(operation: Operation, now: datetime, pauses: Sequence[Pause]) -> Iterator[Event]:
    """Yield what happened besides, with no time of its own."""
    ended, _outcome = _ending(operation)
    asked = operation.abort_requested_at
    if asked is not None:
        why = f": {operation.reason}" if operation.reason and ended is None else ""
        yield Event(asked, "abort_requested", _("Asked to abort") + why, claim=operation.attempts)
    limit = operation.times_out_at
    if limit is not None and (ended is None or limit < ended):
        words = _("Its time runs out") if limit > now else _("Its time ran out")
        yield Event(limit, "timed_out", words, claim=operation.attempts)
    operator = None if ended is not None else states.operator_of(operation)
    if operator is not None and operator.lost_at is not None:
        lost = _("Its operator was declared lost")
        yield Event(operator.lost_at, "operator_lost", lost, claim=operation.attempts)
    for pause in pauses:
        yield Event(max(pause.created_at, operation.created_at), "paused", pause.sentence)
        if pause.until is not None:
            yield Event(pause.until, "resumed", _("The pause ends"))
