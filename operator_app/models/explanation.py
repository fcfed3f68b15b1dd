"""Why an operation is not running, or how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from operator_app import clock
from operator_app.models import kinds, states
from operator_app.models.loads import busy_with
from operator_app.models.pause import Pause
from operator_app.models.process import OperatorProcess
from operator_app.moments import in_words

if TYPE_CHECKING:
    from operator_app.models.operation import Operation


@dataclass(frozen=True)
class Reason:
    """One reason why an operation is not running now, or what it does.

    Args:
        code: what it is, for programs; "Why is it not running?" in the how-to on failures has them
            all.
        sentence: what it is, for people.
    """

    code: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def explain(operation: Operation) -> list[Reason]:
    """Return why an operation is not running, the first reason first: see `Operation.explain()`."""
    alias = operation._alias
    rows = kinds.operations(alias).select_related("operator")
    row = rows.filter(pk=operation.pk).first()
    if row is None:
        return [Reason("deleted", "It was deleted, or never saved.")]
    now = clock.now(alias)
    state = states.state_of(row, alias)
    teller = _TELLERS[state]
    return [*teller(row, now), *(_past(row) if state in ("scheduled", "due") else ())]


def _scheduled(row: Operation, now: datetime) -> Iterator[Reason]:
    yield Reason("scheduled", f"It starts {_until(row.should_run_at, now)}.")
    yield from _obstacles(row, now, _living(row, now))


def _due(row: Operation, now: datetime) -> Iterator[Reason]:
    living = _living(row, now)
    obstacles = list(_obstacles(row, now, living))
    yield from obstacles
    since = _since(row.should_run_at, now)
    if row.crashes:
        yield Reason(
            "suspect",
            "Its operator died while it held it, so it waits for its turn in quarantine, where "
            "such operations run one at a time.",
        )
    if not obstacles:
        busy = _busy(row, now, living)
        yield busy or Reason("due", f"It has been due for {since} and can be claimed any moment.")


def _living(row: Operation, now: datetime) -> list[OperatorProcess]:
    """Return the operators that live and claim. One query."""
    return list(OperatorProcess.objects.using(row._alias).alive(now).filter(draining=False))


def _obstacles(row: Operation, now: datetime, living: list[OperatorProcess]) -> Iterator[Reason]:
    """Yield what keeps it from being claimed when it is due. One query."""
    alias = row._alias
    pauses = Pause.objects.using(alias).active(now).select_related("circuit").order_by("pk")
    for pause in pauses:
        if pause.covers(row.queue, row.kind_id):
            circuit = pause.open_circuit
            if circuit is None:
                yield Reason("paused", f"{pause.sentence}.")
            else:
                yield Reason("circuit_open", f"{pause.sentence}; {circuit.outlook(now)}.")
    if kinds.model_of(row.kind_id, alias) is None:
        label = kinds.label_of(row.kind_id, alias)
        yield Reason("kind_gone", f"Its class, {label}, is not known to this process.")
    if not living:
        yield Reason("no_operator", "No operator lives: start one with manage.py operator.")
        return
    serving = [each for each in living if each.serves(row.queue)]
    if not serving:
        yield Reason(
            "queue_not_served",
            f"No live operator serves the queue {row.queue!r}: {_served(living)}.",
        )
        return
    if not any(each.knows(row.kind_id) for each in serving):
        label = kinds.label_of(row.kind_id, alias)
        yield Reason(
            "kind_unknown",
            f"The class {label} is unknown to all live operators that serve its queue: were they "
            "restarted since it was deployed?",
        )


def _busy(row: Operation, now: datetime, living: list[OperatorProcess]) -> Reason | None:
    """Return that those who could run it have as much as they can; None if one has room. One
    query.
    """
    able = [each for each in living if each.serves(row.queue) and each.knows(row.kind_id)]
    found = busy_with(row._alias, [row.kind_id], able)
    if any(held < room for held, room in found.values()):
        return None
    loads = ", ".join(f"{each} {held} of {room}" for (each, _), (held, room) in found.items())
    return Reason(
        "operators_busy",
        f"It has been due for {_since(row.should_run_at, now)}, and all operators that could run "
        f"it are busy: {loads}.",
    )


def _running(row: Operation, now: datetime) -> Iterator[Reason]:
    where = states.operator_name(row)
    place = f"by {where}" if where else "by hand"
    assert row.started_run_at is not None
    if row.begun_run_at is None:
        claimed = _since(row.started_run_at, now)
        yield Reason(
            "claimed",
            f"It was claimed {place} {claimed} ago, and is not known to have begun: it waits for "
            "its turn there, or began less than a second ago.",
        )
    else:
        on = f"on {where}" if where else "by hand"
        yield Reason("running", f"It has been running {on} for {_since(row.begun_run_at, now)}.")
    yield from _asked(row, now)


def _stuck(row: Operation, now: datetime) -> Iterator[Reason]:
    yield Reason("stuck", f"It is stuck: {states.stuck_reason(row)}.")
    model = kinds.model_of(row.kind_id, row._alias)
    if model is not None and model.resolved_policy().on_stuck == "leave":
        yield Reason("left", "Its policy leaves it to you: release() it, or let it fail.")
    yield from _asked(row, now)


def _asked(row: Operation, now: datetime) -> Iterator[Reason]:
    if row.abort_requested_at is not None:
        why = f" ({row.reason})" if row.reason else ""
        ago = _since(row.abort_requested_at, now)
        yield Reason("abort_requested", f"It was asked to abort {ago} ago{why}.")


def _finished(row: Operation, now: datetime) -> Iterator[Reason]:
    assert row.finished_run_at is not None
    yield Reason("finished", f"It finished {_since(row.finished_run_at, now)} ago.")


def _failed(row: Operation, now: datetime) -> Iterator[Reason]:
    assert row.failed_run_at is not None
    counts = _counted(row)
    yield Reason(
        "failed",
        f"It failed for good {_since(row.failed_run_at, now)} ago{counts}: {row.reason}. "
        "retry() begins anew.",
    )


def _cancelled(row: Operation, now: datetime) -> Iterator[Reason]:
    assert row.cancelled_at is not None
    why = f": {row.reason}" if row.reason else ""
    yield Reason("cancelled", f"It was cancelled {_since(row.cancelled_at, now)} ago{why}.")


_TELLERS = {
    "scheduled": _scheduled,
    "due": _due,
    "running": _running,
    "stuck": _stuck,
    "finished": _finished,
    "failed": _failed,
    "cancelled": _cancelled,
}


def _past(row: Operation) -> Iterator[Reason]:
    """Yield what it has behind it, which is why it waits. One query if there is anything."""
    if not (row.failures or row.stops or row.crashes):
        return
    from operator_app.models.job import OperationJob

    jobs = OperationJob.objects.using(row._alias).filter(operation=row.pk, outcome__isnull=False)
    last = jobs.order_by("-number").only("outcome", "message").first()
    if last is None:
        yield Reason("retried", f"It was tried before{_counted(row)}.")
        return
    code = last.outcome or "retried"
    said = f": {last.message}" if last.message else ""
    yield Reason(code, f"Its last attempt {code}{_counted(row)}{said}.")


def _counted(row: Operation) -> str:
    numbers = {"failure": row.failures, "crash": row.crashes, "stop": row.stops}
    plural = {"failure": "failures", "crash": "crashes", "stop": "stops"}
    parts = [f"{n} {name if n == 1 else plural[name]}" for name, n in numbers.items() if n]
    return f" after {' and '.join(parts)}" if parts else ""


def _served(living: list[OperatorProcess]) -> str:
    return ", ".join(f"{each} serves {', '.join(each.queues)}" for each in living)


def _since(moment: datetime, now: datetime) -> str:
    return in_words(max(0.0, (now - moment).total_seconds()))


def _until(moment: datetime, now: datetime) -> str:
    return f"in {in_words(max(0.0, (moment - now).total_seconds()))}"
