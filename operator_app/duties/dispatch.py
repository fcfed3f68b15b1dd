"""Find what is due, claim it, hand it over."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Final

from operator_app import clock, conf, log
from operator_app.duties.aside import Aside
from operator_app.duties.base import CONTENDED, Duty
from operator_app.duties.heartbeat import Heartbeat
from operator_app.duties.hints import Hints
from operator_app.duties.pauses import Pauses
from operator_app.models import Operation, OperationJob, circuits, hooks, kinds
from operator_app.models.announcements import SOMETHING
from operator_app.models.lanes import Lane
from operator_app.runners import Runner

ENGAGED: Final = 0.25
"""Seconds until the next look at whether what waits has waited too long, while all are busy."""


class Dispatch(Duty):
    """Claims due operations for the free slots of the runners.

    Args:
        database: the alias of the operations' database.
        heartbeat: whose process the operations are claimed for.
        runners: by the names that policies use.
        quarantine: where operations run whose operator has died before; by default where others do.
        queues: the queues to serve; empty for all.
        give_back: releases jobs that have waited too long for their turn.
        left: returns how many more operations may be claimed; by default there is no limit.
        interval: returns how long to wait if nothing is known to become due; by default
            `OPERATOR["POLL_INTERVAL"]`.
        is_told: returns whether word of what changes comes at once.
    """

    def __init__(
        self,
        database: str,
        *,
        heartbeat: Heartbeat,
        runners: Mapping[str, Runner],
        quarantine: Runner | None = None,
        queues: Collection[str] = (),
        give_back: Callable[[list[OperationJob]], object] = bool,
        left: Callable[[], float] = lambda: math.inf,
        interval: Callable[[], float] = lambda: conf.get().POLL_INTERVAL,
        is_told: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._runners = runners
        self._quarantine = quarantine
        self._queues = frozenset(queues)
        self._give_back = give_back
        self._left = left
        self._interval = interval
        self._known: dict[int, str] = {}
        self._aside = Aside()
        self._reported: set[int] = set()
        self._hints = Hints()
        self._pauses = Pauses(database, is_told)
        self.found_nothing = False
        """Whether the last run found nothing that is due and may be started."""

    def run(self) -> float:
        """Claim once for each runner that has room; return when the next one is due.

        One query for the lanes, unless it was told in which one something is due; for each runner
        that has something to do a claim, and a query for each kind that it takes. None if no runner
        has room.
        """
        hinted = self._hints.take(clock.now(self._database))
        self._take_back()
        if not self._known:
            self._learn_kinds()
        if not self.has_room:
            self.found_nothing = False
            return ENGAGED
        found = hinted or Operation.all_objects.using(self._database).lanes()
        now = clock.now(self._database)
        wanted = self._wanted(found)
        lanes = self._open(wanted, now)
        due = [lane for lane in lanes if lane.next_at <= now]
        self.found_nothing = not due
        claimed = tried = 0
        for name, runner in self._runners.items():
            mine = [lane for lane in due if self._known[lane.kind_id] == name]
            for chosen, room in self._rooms(runner, mine):
                if limit := int(min(room, self._left())):
                    tried += 1
                    claimed += len(self._submit(runner, self._claim(runner, chosen, limit, now)))
        claimed += self._try_circuits(wanted, now)
        if hinted:
            return 0.0  # Now look at all of them.
        if tried:
            # Free slots may be left, or others may hold what is due: look again, but do not spin.
            # What waits for the quarantine is looked for again when that is free.
            waits = self._quarantine is not None and not self._quarantine.free
            pause = conf.get().POLL_INTERVAL if waits else CONTENDED
            pause *= random.uniform(0.5, 1.5)
            return 0.0 if claimed else min(pause, self._until_next(lanes, now))
        delay = self._until_next(lanes, now)
        if not due:
            self._hints.wait(delay)
        return delay

    def hear(self, word: str) -> None:
        """Take a hint where something is due; see `Hints`. From any thread."""
        self._hints.hear(word)
        if word == SOMETHING:
            self._pauses.hear()

    @property
    def has_room(self) -> bool:
        """Whether a runner would take an operation now, of some kind that it knows. From any
        thread.
        """
        known = self._known
        for name, runner in self._runners.items():
            mine = [kind_id for kind_id, wanted in known.items() if wanted == name]
            if mine and runner.room([kind_id for kind_id in mine if runner.is_quick(kind_id)]):
                return True
        return not known

    def set_aside(self, kind_id: int) -> None:
        """Leave a kind alone for a while: its operations cannot be loaded here now."""
        seconds = self._aside.put(kind_id)
        log.logger.error(
            "Operations of %s could not be loaded; this operator leaves them alone for %.0f s. Has "
            "the database been migrated, and has the operator been restarted since?",
            kinds.label_of(kind_id, self._database),
            seconds,
            extra={"action": "set_aside"},
        )

    def _take_back(self) -> None:
        """Give back what has waited for too long; and all that waits, if more is paused than
        before: what is not comes again.
        """
        if any(runner.has_waiting for runner in self._runners.values()):
            self._pauses.look(clock.now(self._database))
        is_more = self._pauses.is_more()
        for runner in self._runners.values():
            self._give_back(runner.take_back() if is_more else runner.take_back_late())

    def _wanted(self, found: list[Lane]) -> list[Lane]:
        """Return the lanes that this operator serves, whether they are paused or not."""
        mine = [lane for lane in found if not self._queues or lane.queue in self._queues]
        strange = {lane.kind_id for lane in mine} - self._known.keys() - self._reported
        if strange:
            # Its content type may have been made since, by `migrate` or by the first operation.
            self._learn_kinds()
            self._report_unknown(strange - self._known.keys())
        return [
            lane for lane in mine if lane.kind_id in self._known and lane.kind_id not in self._aside
        ]

    def _open(self, wanted: list[Lane], now: datetime) -> list[Lane]:
        """Return the lanes whose operations may be started: the one place that decides."""
        if any(lane.next_at <= now for lane in wanted):
            self._pauses.look(now)
        return [lane for lane in wanted if not self._pauses.covers(lane, now)]

    def _learn_kinds(self) -> None:
        """Note which kinds this process knows and which runner each of them wants. One query."""
        known = kinds.stored_kinds(self._database)
        self._known = {kind_id: kinds.runner_of(model) for kind_id, model in known.items()}

    def _rooms(self, runner: Runner, lanes: list[Lane]) -> Iterator[tuple[list[Lane], int]]:
        """Yield lanes, and how many operations of them are to be claimed for a runner: first of
        those that come before all whose operations take long, also ahead of their turn; then, for
        the places that are left, of all.
        """
        slow = [lane.priority for lane in lanes if not runner.is_quick(lane.kind_id)]
        quick = [lane for lane in lanes if not slow or lane.priority > max(slow)]
        if quick and (room := runner.room({lane.kind_id for lane in quick})):
            yield quick, room
        if len(quick) < len(lanes) and (free := runner.free):
            yield lanes, free

    def _try_circuits(self, wanted: list[Lane], now: datetime) -> int:
        """Claim one operation of each kind whose open circuit has cooled down; return how many. Two
        UPDATEs for each, besides the claim; no queries while there is none.
        """
        claimed = 0
        for circuit, lanes in self._pauses.to_try(wanted, now):
            runner = self._runners[self._known[circuit.kind_id]]
            if runner.free < 1 or self._left() < 1 or not circuits.begin_trial(circuit, now):
                continue
            jobs = self._claim(runner, lanes, 1, now)
            circuits.name_trial(circuit, jobs[0] if jobs else None, now)
            claimed += len(self._submit(runner, jobs))
        return claimed

    def _claim(
        self, runner: Runner, lanes: list[Lane], limit: int, now: datetime
    ) -> list[OperationJob]:
        process = self._heartbeat.process
        assert process is not None, "the heartbeat is started first"
        operations = Operation.all_objects.using(self._database)
        suspects = bool((self._quarantine or runner).free)
        read_at, name = time.monotonic(), str(process)
        claimed = operations.claim(process, lanes, limit=limit, now=now, suspects=suspects)
        return [OperationJob.of(each, operator=name, read_at=read_at) for each in claimed]

    def _submit(self, runner: Runner, jobs: list[OperationJob]) -> list[OperationJob]:
        """Hand claimed jobs over; return them."""
        quarantine = self._quarantine or runner
        heard = hooks.hear_of_claims({job.kind for job in jobs})
        for job in jobs:
            log.transition("claimed", job)
            if job.kind in heard:
                hooks.claimed(job)
            (quarantine if job.operation.crashes else runner).submit(job)
        return jobs

    def _until_next(self, lanes: list[Lane], now: datetime) -> float:
        # What is due and has found no free slot is no matter of calls.
        waiting = any(lane.next_at <= now for lane in lanes)
        interval = conf.get().POLL_INTERVAL if waiting else self._interval()
        # Jitter, so that operators started together do not ask together ever after.
        delays = [random.uniform(0.9, 1.0) * interval]
        delays += [(lane.next_at - now).total_seconds() for lane in lanes if lane.next_at > now]
        if (end := self._pauses.next_change(now)) is not None:
            delays.append(end)
        return min(delays)

    def _report_unknown(self, kind_ids: Collection[int]) -> None:
        self._reported.update(kind_ids)
        for kind_id in kind_ids:
            log.logger.warning(
                "There are pending operations of %s, a class that this operator does not know. It "
                "leaves them for an operator that does.",
                kinds.label_of(kind_id, self._database),
                extra={"action": "unknown_kind"},
            )
