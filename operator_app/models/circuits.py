"""Circuits at work: failures are counted, circuits opened, operations let through and judged.

Each step is a transaction of its own that locks the row of the circuit, so that all operators count
together. Nothing is asked for a kind without a circuit breaker, nor for what has succeeded, but for
a trial.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from operator_app import clock, log, signals
from operator_app.breaker import CircuitBreaker
from operator_app.exceptions import OperationCancelled
from operator_app.models import announcements, hooks
from operator_app.models.circuit import Circuit
from operator_app.models.job import OperationJob
from operator_app.models.pause import Pause
from operator_app.models.transactions import in_statement, in_transaction
from operator_app.moments import later
from operator_app.outcomes import Finished
from operator_app.reports import REASON_LIMIT, shortened

BREAKER: Final = "its circuit breaker"
"""Who has paused a kind whose circuit is open."""
REFUSED_FOR: Final = 1.0
"""Seconds until an operator asks again that was not let through."""


def judge(jobs: Sequence[OperationJob], alias: str) -> None:
    """Count the failures among jobs whose outcomes were recorded, and end the trials.

    For each kind that has failed, and for each trial: a transaction with a SELECT that locks, and
    at most an INSERT or UPDATE of the circuit and one of its pause. Otherwise no queries.
    """
    failed: dict[int, list[OperationJob]] = {}
    for job in jobs:
        if job.trial_of is not None:
            in_transaction(alias, lambda job=job: _end_trial(job, alias))  # type: ignore[misc]
        elif _has_failed(job):
            failed.setdefault(job.kind_id, []).append(job)
    for group in failed.values():
        in_transaction(alias, lambda group=group: _count(group, alias))  # type: ignore[misc]


def begin_trial(circuit: Circuit, now: datetime) -> bool:
    """Whether the caller, and nobody else, may let one operation through. One UPDATE.

    What it then claims it is to name with `name_trial()`. Should it die before, another one may do
    so after the cool-down.
    """
    alias = circuit._state.db or "default"
    mine = Circuit.objects.using(alias).filter(pk=circuit.pk, pause=circuit.pause_id).to_try(now)
    ends = later(now, circuit.cooldown)
    changes: dict[str, Any] = {"retry_at": ends, "trial": None, "trial_number": None}
    taken = bool(in_statement(alias, lambda: mine.update(**changes)))
    circuit.retry_at = ends if taken else later(now, REFUSED_FOR)
    return taken


def name_trial(circuit: Circuit, job: OperationJob | None, now: datetime) -> None:
    """Write down which operation is being tried; if none was to be had, let others try. One UPDATE.

    Before the job is handed to a runner.
    """
    alias = circuit._state.db or "default"
    facts: dict[str, Any] = {"retry_at": now}
    if job is not None:
        job.trial_of = circuit.pk
        facts = {"trial": job.operation_id, "trial_number": job.number}
    rows = Circuit.objects.using(alias).filter(pk=circuit.pk, pause=circuit.pause_id)
    in_statement(alias, lambda: rows.update(**facts))


def _has_failed(job: OperationJob) -> bool:
    """Whether a job ended with an error that its kind's circuit breaker counts."""
    if job.error is None or job.ending is None or job.ending.report is None:
        return False
    if getattr(job.ending, "crashed", False):
        return False  # Its process died, which is no matter of whom it has called.
    breaker = job.policy.circuit_breaker
    return isinstance(breaker, CircuitBreaker) and breaker.counts(job.error)


def _has_passed(job: OperationJob) -> bool:
    """Whether a job ended as it should: `run()` returned, or has cancelled its operation. One that
    had expired was not run.
    """
    return isinstance(job.ending, Finished) or isinstance(job.error, OperationCancelled)


def _count(jobs: Sequence[OperationJob], alias: str) -> None:
    """Add failures of one kind, and open its circuit if they are too many."""
    last = jobs[-1]
    breaker = last.policy.circuit_breaker
    assert isinstance(breaker, CircuitBreaker)
    kind_id = last.kind_id
    circuits = Circuit.objects.using(alias)
    circuit, _ = circuits.select_for_update().get_or_create(kind_id=kind_id)
    if circuit.pause_id is not None:
        return  # What was running when it opened.
    moments = [job.ended_at.timestamp() for job in jobs if job.ended_at is not None]
    circuit.failed_at = breaker.recent([*circuit.failed_at, *moments])
    if breaker.is_tripped(circuit.failed_at):
        _open(circuit, breaker, last, alias)
    circuit.save(using=alias)


def _open(circuit: Circuit, breaker: CircuitBreaker, last: OperationJob, alias: str) -> None:
    count = len(circuit.failed_at)
    times = "1 failure" if count == 1 else f"{count} failures within {breaker.within:g} s"
    error = "" if last.ending is None else last.ending.report
    reason = shortened(f"{times}, the last: {error}", REASON_LIMIT)
    pause = Pause(kind_id=circuit.kind_id, from_breaker=True, reason=reason, paused_by=BREAKER)
    pause.save(using=alias)
    circuit.pause, circuit.failed_at = pause, []
    circuit.cooldown, circuit.trial, circuit.trial_number = breaker.cooldown, None, None
    circuit.retry_at = later(clock.now(alias), breaker.cooldown)
    said = "%s is paused: %s. One of its operations is tried in %g s."
    facts = {"action": "circuit_opened", "kind": last.display_name}
    values = (last.display_name, reason, breaker.cooldown)
    log.once_committed(alias, logging.ERROR, said, *values, **facts)
    hooks.circuit_changed(signals.circuit_opened, pause, alias)


def _end_trial(job: OperationJob, alias: str) -> None:
    """Close the circuit, open it for longer, or let the next one be tried."""
    circuits = Circuit.objects.using(alias).open().select_for_update()
    trial: dict[str, Any] = {
        "pk": job.trial_of,
        "trial": job.operation_id,
        "trial_number": job.number,
    }
    circuit = circuits.filter(**trial).first()
    if circuit is None:
        return  # Somebody has ended the pause meanwhile, or has taken it for dead.
    breaker = job.policy.circuit_breaker
    if not isinstance(breaker, CircuitBreaker) or _has_passed(job):
        Pause.objects.using(alias).filter(circuit=circuit).delete()
        return
    circuit.trial, circuit.trial_number = None, None
    circuit.retry_at = clock.now(alias)
    if _has_failed(job):
        circuit.cooldown = breaker.next_cooldown(circuit.cooldown)
        circuit.retry_at = later(circuit.retry_at, circuit.cooldown)
        said = "%s stays paused: %s was tried and has failed, too. The next is tried in %g s."
        facts = {"action": "circuit_stays_open", "kind": job.display_name}
        values = (job.display_name, job, circuit.cooldown)
        log.once_committed(alias, logging.WARNING, said, *values, **facts)
    circuit.save(using=alias, update_fields=["trial", "trial_number", "retry_at", "cooldown"])
    announcements.announce(alias, clock.now(alias))
