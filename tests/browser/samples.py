"""Operations in every state, with the attempts that led there, as the engine leaves them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple

from operator_app.models import Operation, OperationJob, OperationTag, OperatorProcess, kinds
from operator_app.reports import ErrorReport
from tests.browser import errors
from tests.browser.kinds import KINDS, Kind

PAST: Final = {"finished": 62, "failed": 12, "cancelled": 8, "scheduled": 12, "due": 6}
"""How many in a hundred of the long table are in which state. What operators hold is not in it:
they hold few, however long it is."""
RECENT: Final = PAST | {"finished": 44, "running": 12, "stuck": 6}
"""The same for the last few hundred."""
GONE: Final = 987_654
"""The number of an operator whose row is not there any more."""


class Numbers:
    """The primary keys of a table, one after the other."""

    last = 0

    def next(self) -> int:
        """Return the next one."""
        self.last += 1
        return self.last


class Sample(NamedTuple):
    """An operation with everything that belongs to it, unsaved but with primary keys."""

    operation: Operation
    own: Operation | None
    """Its row in the kind's own table."""
    jobs: list[OperationJob]
    tags: list[OperationTag]


class Samples:
    """Makes them, always the same ones; the moments are relative to `now`."""

    def __init__(self, now: datetime, operators: Sequence[OperatorProcess]) -> None:
        self.now = now
        self.random = Random(7)
        self.errors = errors.reports()
        self.alive = [each for each in operators if each.is_alive(now) and not each.draining]
        self.lost = [each for each in operators if not each.is_alive(now)]
        self.operations, self.jobs, self.tags = Numbers(), Numbers(), Numbers()

    def make(self, state: str, *, within: float) -> Sample:
        """Return an operation of any kind in this state, whose last event was in the last `within`
        seconds, rather lately than long ago.
        """
        kind = self.random.choice(KINDS)
        policy = kind.model.resolved_policy()
        operation = Operation(
            id=self.operations.next(),
            kind=kinds.content_type(kind.model, "default"),
            queue=policy.queue,
            priority=policy.priority,
        )
        moment = self.now - timedelta(seconds=self._age(within))
        jobs: list[OperationJob] = getattr(self, f"_{state}")(operation, kind, moment)
        operation.created_at = operation.should_run_at - timedelta(seconds=self._age(3600))
        if state in ("scheduled", "due"):
            operation.created_at = min(operation.created_at, moment)
        own = None
        if kind.own is not None:
            own = kind.model(operation_ptr_id=operation.pk, **kind.own(self.random))
        return Sample(operation, own, jobs, self._tags(operation, own))

    def _age(self, longest: float) -> float:
        """Return seconds: as likely some minutes as some days, as in a log of what happened."""
        return math.exp(self.random.uniform(math.log(2), math.log(longest)))

    def _tags(self, operation: Operation, own: Any) -> list[OperationTag]:
        customer = getattr(own, "customer_id", None)
        names = [] if customer is None else [f"customer:{customer}"]
        make = partial(OperationTag, operation_id=operation.pk)
        return [make(id=self.tags.next(), name=name) for name in names]

    # States: each sets the columns, and returns the attempts that left a row

    def _scheduled(self, operation: Operation, kind: Kind, moment: datetime) -> list[OperationJob]:
        # Not so soon that it would be due while somebody still looks.
        operation.should_run_at = self.now + (self.now - moment) + timedelta(minutes=15)
        return self._stopped(operation, kind) if self.random.random() < 0.2 else []

    def _due(self, operation: Operation, kind: Kind, moment: datetime) -> list[OperationJob]:
        operation.should_run_at = moment
        return []

    def _finished(self, operation: Operation, kind: Kind, moment: datetime) -> list[OperationJob]:
        self._claimed(operation, kind, moment)
        operation.finished_run_at = moment
        if self.random.random() > 0.15:
            return []
        job = self._job(operation, "finished", moment, self._log(kind, done=True))
        job.progress_done = job.progress_total = float(self.random.randrange(50, 400))
        return [job]

    def _failed(self, operation: Operation, kind: Kind, moment: datetime) -> list[OperationJob]:
        allowed = kind.model.resolved_policy().max_attempts
        operation.attempts = min(allowed, 4) - 1
        self._claimed(operation, kind, moment)
        operation.failures, operation.failed_run_at = operation.attempts, moment
        report = self._error(kind)
        operation.reason = str(report)[:255]
        ends = [moment - timedelta(minutes=5 * n) for n in range(operation.attempts)][::-1]
        return [
            self._job(
                operation,
                "failed" if number == len(ends) else "retried",
                end,
                self._log(kind),
                number=number,
                report=report,
            )
            for number, end in enumerate(ends, start=1)
        ]

    def _cancelled(self, operation: Operation, kind: Kind, moment: datetime) -> list[OperationJob]:
        operation.cancelled_at = moment
        if self.random.random() < 0.5:
            operation.should_run_at = moment + timedelta(hours=1)
            operation.reason = "cancelled by ada in the admin"
            return []
        self._claimed(operation, kind, moment)
        if self.random.random() < 0.5:
            operation.reason = "the basket is already paid"
            return [self._job(operation, "cancelled", moment, "")]
        operation.abort_requested_at = moment - timedelta(seconds=1)
        operation.reason = "abort requested by ada in the admin"
        return [self._job(operation, "aborted", moment, self._log(kind))]

    def _running(self, operation: Operation, kind: Kind, moment: datetime) -> list[OperationJob]:
        self._claimed(operation, kind, self.now)
        ran = timedelta(seconds=self.random.uniform(2, 40))
        operation.started_run_at = operation.begun_run_at = self.now - ran
        operation.should_run_at = self.now - ran - timedelta(seconds=0.2)
        holder = self.random.choice(self.alive)
        operation.operator_id = holder.pk
        timeout = kind.model.resolved_policy().timeout
        if timeout is not None:
            operation.times_out_at = self.now + timedelta(days=1)
        if self.random.random() < 0.4:
            return []
        job = self._job(operation, None, None, self._log(kind), operator=str(holder))
        job.progress_done, job.progress_total = float(self.random.randrange(300)), 300.0
        job.progress_message = f"shelf {job.progress_done:.0f}"
        return [job]

    def _stuck(self, operation: Operation, kind: Kind, moment: datetime) -> list[OperationJob]:
        self._claimed(operation, kind, self.now - timedelta(minutes=self.random.randrange(2, 90)))
        chance = self.random.random()
        if chance < 0.5:
            operation.operator_id = self.random.choice(self.lost).pk
            return []
        if chance < 0.7:
            operation.operator_id = GONE
            return []
        holder = self.random.choice(self.alive)
        operation.operator_id = holder.pk
        operation.times_out_at = self.now - timedelta(seconds=self.random.randrange(5, 60))
        job = self._job(operation, None, None, self._log(kind), operator=str(holder))
        job.stack = self._error(kind).traceback
        return [job]

    def _stopped(self, operation: Operation, kind: Kind) -> list[OperationJob]:
        operation.stops = operation.attempts = 1
        end = self.now - timedelta(minutes=2)
        operation.started_run_at = end - timedelta(seconds=1)
        job = self._job(operation, "stopped", end, "")
        job.message, operation.started_run_at = "the bank answered 503", None
        return [job]

    # Parts

    def _claimed(self, operation: Operation, kind: Kind, end: datetime) -> None:
        took = timedelta(seconds=kind.took * self.random.lognormvariate(0, 0.4))
        late = timedelta(seconds=self.random.lognormvariate(-2, 1.5))
        operation.attempts = max(operation.attempts, 1)
        operation.started_run_at = operation.begun_run_at = end - took
        operation.should_run_at = end - took - late
        operation.operator_id = self.random.choice([*self.alive, *self.lost]).pk

    def _error(self, kind: Kind) -> ErrorReport:
        own = self.errors.get(kind.model.__name__, [])
        return self.random.choice([*own, *own, *self.errors[""]])

    def _log(self, kind: Kind, *, done: bool = False) -> str:
        name = kind.model._meta.model_name
        lines = [f"INFO shop.{name}: begun", f"DEBUG shop.{name}: 1 of 3 partners has answered"]
        lines += [f"INFO shop.{name}: done"] if done else []
        return "\n".join(f"2026-11-02 09:30:0{n},117 {line}" for n, line in enumerate(lines))

    def _job(
        self,
        operation: Operation,
        outcome: str | None,
        end: datetime | None,
        log: str,
        *,
        number: int | None = None,
        report: ErrorReport | None = None,
        operator: str = "shop-1:4021",
    ) -> OperationJob:
        assert operation.started_run_at is not None
        last = number in (None, operation.attempts)
        start = operation.started_run_at if last else end - timedelta(seconds=1)
        return OperationJob(
            id=self.jobs.next(),
            operation_id=operation.pk,
            number=number or operation.attempts,
            operator=operator,
            started_at=start,
            begun_at=start,
            ended_at=end,
            outcome=outcome,
            log=log,
            **({} if report is None else asdict(report)),
        )
