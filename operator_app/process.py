"""The operator: starts the runners, ticks the duties, sleeps, and leaves in order when told to."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from types import FrameType
from typing import Final
from uuid import UUID

from django.db import Error

from operator_app import conf, log
from operator_app.duties import (
    Dispatch,
    Heartbeat,
    KeepTally,
    NowAndThen,
    Prune,
    Record,
    Recount,
    Recur,
    Rescue,
    Watch,
)
from operator_app.exceptions import OperatorLost
from operator_app.handling import handling
from operator_app.models import OperationJob, OperatorProcess
from operator_app.models.connections import freshen, lost, reset, tidy
from operator_app.models.process import DRAIN, STOP
from operator_app.models.transactions import impatient, is_away
from operator_app.models.watchdog import break_off, watching
from operator_app.outage import Outage
from operator_app.outcomes import RELEASED_AFTER, Released
from operator_app.recycling import LEFT_FOR_GOOD, Limits, stacks
from operator_app.refusals import Refusals
from operator_app.runners import (
    AsyncRunner,
    InlineRunner,
    ProcessRunner,
    Quarantine,
    Runners,
    ThreadRunner,
)
from operator_app.runners.base import Done
from operator_app.wakeups import Calls, Wakeup

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
LEAVING: Final = 0.25
"""Seconds between two looks, while leaving, at whether the grace is over."""


class Operator:
    """The process that runs operations. One per process: it takes the process's signals.

    The first SIGTERM or SIGINT ends claiming: what has not begun is released, what runs may go on
    for `grace` seconds and is then released too. A second one ends the grace at once. A person may
    ask for as much through its row, or let it drain: that has no grace, and can be called off.

    Args:
        database: the alias of the database that the operations are in.
        queues: the queues to serve; empty for all.
        threads: how many operations run at once; by default `OPERATOR["THREADS"]`.
        grace: seconds that running operations get after the first signal; by default
            `OPERATOR["GRACE"]`.
        once: leave when nothing is due any more, in place of waiting for more.
        limits: after how much it leaves by itself; by default never.
        identity: of its `OperatorProcess` row, if a parent is to know it.
        ends_process: whether the process ends with it, so that signals are handled to the end.
        leave: called with the exit code if threads that run user code are left behind, which
            would keep the interpreter from ending.

    Raises:
        ImproperlyConfigured: if the settings are wrong.
    """

    def __init__(
        self,
        *,
        database: str = "default",
        queues: Sequence[str] = (),
        threads: int | None = None,
        grace: float | None = None,
        once: bool = False,
        limits: Limits | None = None,
        identity: UUID | None = None,
        ends_process: bool = False,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        settings = conf.get()
        self._database = database
        self.once = once
        self._grace = settings.GRACE if grace is None else grace
        self._ends_process = ends_process
        self._leave = leave
        self._limits = limits or Limits()
        self._supervised = identity is not None
        self.gave_up = False
        """Whether it left with outcomes that it could not record."""
        self._signals = 0
        self._wish = ""
        self._ran = 0
        self._counting = threading.Lock()
        self._outage = Outage()
        self._refusals = Refusals()
        self._wakeup = Wakeup()
        count = settings.THREADS if threads is None else threads
        self._runners = _all_runners(count, self._done)
        self._record = Record(database, self._recorded, lambda: self._runners.has_waiting)
        self._calls = Calls(database, due=self._called, asked=self._asked)
        self._heartbeat = Heartbeat(
            database,
            queues=queues,
            capacity=count,
            watch=Watch(database, self._runners),
            lost=self._disown,
            asked=self._hear,
            identity=identity,
            echo=self._calls.echo,
        )
        self._dispatch = Dispatch(
            database,
            heartbeat=self._heartbeat,
            runners=self._runners,
            quarantine=self._runners["quarantine"],
            queues=queues,
            give_back=partial(self._release, delay=0),
            left=self._left,
            interval=self._calls.interval,
            is_told=self._calls.is_told,
        )
        self._look = NowAndThen(self._dispatch)
        rescue = Rescue(database, heartbeat=self._heartbeat, recorded=self._recorded)
        self._rescue = NowAndThen(rescue)
        recount = Recount(database, heartbeat=self._heartbeat, held=self._held_jobs)
        self._recount = NowAndThen(recount)
        self._recur = NowAndThen(Recur(database, interval=self._calls.interval))
        self._prune = NowAndThen(Prune(database))
        self._tally = KeepTally(database)
        self._add_up = NowAndThen(self._tally)

    def run(self) -> int:
        """Run operations until told to leave, or with `once` until nothing is due.

        Returns:
            The number of operations whose `run()` has ended.

        Raises:
            DatabaseError: with `once`, if the database is away.
        """
        listen = dict.fromkeys(SIGNALS, self._on_signal) | {signal.SIGQUIT: self._on_quit}
        with handling(listen, for_good=self._ends_process):
            left_behind = True
            try:
                self._start()
                self._work()
                left_behind = self._drain()
            finally:
                self._end(left_behind)
        if left_behind:
            self._leave(self.exit_code)
        return self._ran

    def stop(self, times: int | None = None) -> None:
        """Leave in order, as after SIGTERM; from any thread or a signal handler.

        Args:
            times: how often it has been told in all; by default once more than before.
        """
        self._signals = self._signals + 1 if times is None else max(self._signals, times)
        self._wakeup.call()

    @property
    def exit_code(self) -> int:
        """With what its process is to end: 0, 1 if it gave up, or `LEFT_FOR_GOOD`."""
        if self.gave_up:
            return 1
        return LEFT_FOR_GOOD if self._supervised and self._wish == STOP else 0

    @property
    def _leaves(self) -> bool:
        return bool(self._signals) or self._wish == STOP

    @property
    def _idle(self) -> bool:
        return self._record.is_empty and self._runners.is_idle

    def _start(self) -> None:
        while not self._signals:
            try:
                with watching(self._database):
                    self._heartbeat.start()
                break
            except Error as error:
                self._wakeup.sleep(self._away(error))
        if not self._signals:
            self._calls.start()
            process = self._heartbeat.process
            log.logger.info("Operator %s is ready.", process, extra={"action": "ready"})

    def _work(self) -> None:
        # Recurrences before the look, which then finds what they have made.
        chores = (self._rescue, self._recount, self._recur, self._look, self._prune, self._add_up)
        duties = (self._record.run, *(chore.run for chore in chores))
        while_draining = (self._settle, *(duty for duty in duties if duty != self._look.run))
        called = True
        while not self._leaves:
            # Before looking for work, so that a call during the look is not lost.
            called = self._wakeup.clear() or called
            if self._wish == DRAIN:
                called = self._wakeup.sleep(self._tick(*while_draining)) or called
                continue
            if called or self.once:
                self._look.at_once()
                self._recur.at_once(pause=1.0)
            if self._look.is_due:
                # Only then: what is taken as seen here is found by that look, or by none.
                self._calls.clear()
            delay = self._tick(*duties)
            if self.once and self._dispatch.found_nothing and self._idle:
                break
            if (reached := self._limits.reached(self._ran)) is not None:
                log.logger.info("The operator leaves: %s.", reached, extra={"action": "recycled"})
                break
            called = self._wakeup.sleep(delay)

    def _settle(self) -> float:
        """Give back what has not begun; leave once nothing runs. One UPDATE then."""
        process = self._heartbeat.process
        self._release(self._runners.take_back(), delay=0)
        if self._idle and process is not None and process.settle():
            self._wish = STOP
            return 0.0
        return LEAVING

    def _drain(self) -> bool:
        """Finish what runs, within the grace; release what has not begun, then what is left.

        Returns:
            Whether threads that run user code are left behind.
        """
        if self._heartbeat.process is None:
            return False
        self._heartbeat.draining = True
        self._outage.try_now()
        self._release(self._runners.take_back(), delay=0)
        self._tick(self._recount.run)
        deadline = time.monotonic() + self._grace
        while not self._idle and self._signals < 2 and time.monotonic() < deadline:
            self._wakeup.clear()
            delay = self._tick(self._record.run)
            if not self._idle:
                self._wakeup.sleep(min(delay, LEAVING))
        running = self._runners.abandon()
        for session in {job.session for job in running} - {None}:
            # What it has locked would keep its own release, or on SQLite any, from being written.
            break_off(session)
        self._release(running, delay=RELEASED_AFTER)
        while not self._is_over:
            delay = self._tick(self._record.run)
            if not self._record.is_empty:
                self._wakeup.sleep(delay)
        if self._record.is_empty:
            self._tick(lambda: float(self._tally.write()))
        else:
            self.gave_up = True
            log.logger.error(
                "The operator leaves though the database is away, or somebody has locked what has "
                "ended: what it could not record stays claimed, and will be found stuck.",
                extra={"action": "gave_up"},
            )
        return bool(running)

    @property
    def _is_over(self) -> bool:
        """Whether there is nothing left to record, or no hope to do so."""
        hopeless = self._signals > 1 and self._outage.is_on
        return self._record.is_empty or self._record.waits_for_locks or hopeless

    def _release(self, jobs: list[OperationJob], *, delay: float) -> None:
        leaves = self._leaves or self._wish == DRAIN
        reason = "the operator was told to leave" if leaves else "it waited too long for its turn"
        for job in map(copy, jobs):
            # A copy, since the thread that runs the job may still be changing it.
            job.end_as(Released(reason, delay=delay))
            self._record.add(job)

    def _end(self, left_behind: bool) -> None:
        self._runners.close()
        self._calls.stop()
        self._unregister()
        if left_behind:
            log.logger.warning(
                "Operator left: the grace is over, what still ran was released.",
                extra={"action": "left"},
            )
        else:
            log.logger.info("Operator left.", extra={"action": "left"})
        reset()

    def _unregister(self) -> None:
        """End the heartbeat and delete this operator's row; on a second connection, should the
        server have dropped the first one just now.
        """
        for left in (1, 0):
            try:
                with watching(self._database):
                    freshen()
                    self._heartbeat.stop()
                break
            except Error as error:
                reset()
                if not left:
                    log.logger.warning(
                        "This operator's row could not be deleted: %s",
                        str(error).strip(),
                        extra={"action": "still_registered"},
                    )

    def _tick(self, *duties: Callable[[], float]) -> float:
        """Do the duties once; return the shortest of their delays.

        While the database is away nothing is done before the next try is due, however often the
        operator is woken.
        """
        if (left := self._outage.left) > 0:
            return left
        try:
            with watching(self._database), impatient():
                freshen(ask=False)
                delay = min([self._do(duty) for duty in duties])
                tidy()
        except Error as error:
            return self._away(error)
        except KeyboardInterrupt:
            self.stop()
            return 0
        self._outage.over()
        return delay

    def _do(self, duty: Callable[[], float]) -> float:
        """Do a duty, unless it was refused a moment ago; return its delay.

        Raises:
            DatabaseError: if the database is away; or if what has ended cannot be recorded, without
                which nothing is to go on; or with `once`.
        """
        if (left := self._refusals.left(duty)) > 0:
            return left
        try:
            delay = duty()
        except Error as error:
            if self.once or is_away(error) or duty == self._record.run:
                raise
            # Its connection may be in whatever state.
            reset()
            return self._refusals.met(duty, error)
        self._refusals.over(duty)
        return delay

    def _away(self, error: Error) -> float:
        """Note that the database is away; return how long to wait before it is asked again.

        Raises:
            DatabaseError: that error, with `once`.
        """
        lost()
        self._recount.at_once()
        self._look.at_once()
        if self.once:
            raise error
        return self._outage.met(error)

    def _disown(self, dead: OperatorProcess) -> None:
        """Give up what was claimed under an identity that was declared dead."""
        reason = f"operator {dead} was taken for dead, and others may be running it"
        self._runners.disown(dead.pk, OperatorLost(reason))

    def _left(self) -> float:
        # In this order: what is handed over meanwhile is counted twice, and not never.
        held = len(self._runners.held)
        return self._limits.left(held + self._ran)

    def _held_jobs(self) -> list[OperationJob]:
        # Runners first: a job goes from them to the record, and must not be missed on its way.
        return self._runners.held + self._record.unwritten

    def _done(self, job: OperationJob) -> None:
        with self._counting:
            self._ran += 1
        # While others wait for their turn nobody is woken for each: a switch between threads takes
        # longer than to run a short operation.
        if self._record.add(job) or not self._runners.has_waiting:
            self._wakeup.call()

    def _called(self, lane: str) -> None:
        """Look for work, if there is room for any; who makes room looks, too. From any thread."""
        self._dispatch.hear(lane)
        if self._dispatch.has_room and not self._wish:
            self._wakeup.call()

    def _asked(self) -> None:
        self._heartbeat.look()

    def _hear(self, asked: str) -> None:
        """Do what a person wants of this operator: see `OperatorProcess.asked`. From the
        heartbeat's thread.
        """
        process = self._heartbeat.process
        by = f" by {process.asked_by}" if process is not None and process.asked_by else ""
        words = f"was asked to {asked}{by}" if asked else "goes on: nobody wants it to drain now"
        log.logger.info("Operator %s %s.", process, words, extra={"action": "asked"})
        self._wish = asked
        self._wakeup.call()

    def _recorded(self, job: OperationJob) -> None:
        self._tally.count(job)
        if job.could_not_be_loaded:
            self._dispatch.set_aside(job.kind_id)
        if job.has_ending_hook:
            self._runners["threads"].call(job.call_hooks)

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        """Show where every thread is, then leave at once."""
        log.logger.warning("%s", stacks(), extra={"action": "stacks"})
        self.stop()
        self.stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A terminal and a service manager signal parents and children alike, and the parent passes
        # on what it hears: to a child, all of that is one. The parent says if it was told twice.
        self.stop(1 if self._supervised else None)


def _all_runners(threads: int, done: Done) -> Runners:
    """Return one of each sort. What is not used costs nothing, but for the threads."""
    settings = conf.get()
    return Runners(
        {
            "threads": ThreadRunner(threads, done),
            "inline": InlineRunner(done),
            "asyncio": AsyncRunner(settings.TASKS, done),
            "processes": ProcessRunner(settings.CHILDREN, done),
            "quarantine": Quarantine(done),
        }
    )
