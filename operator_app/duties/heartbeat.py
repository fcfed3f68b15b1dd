"""Show that this operator lives."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from django.db import Error

import operator_app
from operator_app import clock, conf, log
from operator_app.duties.base import Duty
from operator_app.models import OperatorProcess, kinds
from operator_app.models.connections import freshen, reset, tidy
from operator_app.models.process import successor
from operator_app.models.watchdog import watching
from operator_app.moments import later
from operator_app.recycling import memory
from operator_app.wakeups import Echo, Wakeup

RETRY: Final = 1.0
"""Seconds until a heartbeat that could not be written is tried again."""


class Heartbeat(Duty):
    """Keeps this operator's `OperatorProcess` row alive, from a thread and a connection of its own,
    so that no long job, busy loop or long transaction can stop it.

    Args:
        database: the alias of the operations' database.
        queues: the queues that the operator serves; empty for all.
        capacity: how many operations it runs at once.
        watch: a duty to do in the heartbeat's thread, too, as often as it wants.
        lost: called with the old row when this operator was taken for dead, so that it drops what
            has not begun under that identity.
        asked: called from the heartbeat's thread with what a person wants of this operator now: see
            `OperatorProcess.asked`.
        identity: of the first row, if a parent is to know it.
        echo: what is called with each beat, to find out whether calls arrive.
    """

    def __init__(
        self,
        database: str,
        *,
        queues: Sequence[str],
        capacity: int,
        watch: Duty | None = None,
        lost: Callable[[OperatorProcess], object] = bool,
        asked: Callable[[str], object] = bool,
        identity: UUID | None = None,
        echo: Echo | None = None,
    ) -> None:
        self._echo = echo
        self._database = database
        self._queues = list(queues)
        self._capacity = capacity
        self._watch = watch
        self._lost = lost
        self._tell = asked
        self._told = ""
        self._identity = identity
        self._over = threading.Event()
        self._wakeup = Wakeup()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._silent_since: float | None = None
        self._steady_since: float | None = None
        self._last_beat = 0.0
        self._last_beat_at: datetime | None = None
        self.draining = False
        self.process: OperatorProcess | None = None

    def start(self) -> None:
        """Register this operator and begin to beat. One INSERT.

        Raises:
            DatabaseError: if the database is away.
        """
        self.register()
        self._thread.start()

    @property
    def is_steady(self) -> bool:
        """Whether it has beaten without a gap for one full timeout: see `Rescue`.

        A gap shows in the database's time, too, by which operators are judged: it jumps past
        everybody's last beat where the machine was asleep, a clock was set, or (USE_TZ=False)
        summer time begins.
        """
        since, process = self._steady_since, self.process
        if since is None or process is None:
            return False
        silent = clock.now(self._database) - process.heartbeat_at
        steady = time.monotonic() - since >= conf.get().HEARTBEAT.timeout
        return steady and silent.total_seconds() <= _gap()

    def register(self) -> OperatorProcess:
        """Insert a row for this process, with an identity of its own. Two SELECTs, one INSERT.

        Tried again after an outage, it takes over the row whose INSERT was committed unheard.
        """
        now = clock.now(self._database)
        timeout = conf.get().HEARTBEAT.timeout
        self._identity = self._identity or uuid4()
        old = self.process
        fields = {
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "version": operator_app.__version__,
            "queues": self._queues,
            "kinds": list(kinds.stored_kinds(self._database)),
            "capacity": self._capacity,
            "started_at": now,
            "heartbeat_at": now,
            "alive_until": later(now, timeout),
            "draining": self.draining or bool(self._told),
            "rss": memory(),
        }
        if old is not None:
            # What was asked of it as that one, it does as this one.
            fields |= {name: getattr(old, name) for name in ("asked", "asked_by", "asked_at")}
        rows = OperatorProcess.objects.using(self._database)
        self.process, _ = rows.update_or_create(uuid=self._identity, defaults=fields)
        self._identity = None
        return self.process

    def run(self) -> float:
        """Beat once, and say so if somebody wants something else of this operator than before;
        return the interval. One UPDATE, and one look at the database's clock; with an echo, that is
        told along with the UPDATE.
        """
        beat = conf.get().HEARTBEAT
        process = self.process
        assert process is not None, "start() comes before run()"
        call = None if self._echo is None else self._echo.next_call
        if call is None:
            clock.measure(self._database)
        now = clock.now(self._database)
        held = process.beat(
            now, timeout=beat.timeout, draining=self.draining, rss=memory(), call=call
        )
        if self._echo is not None and held:
            self._echo.called()
        if not held:
            self._identity = successor(process.uuid)
            new = self.register()
            self._lost(process)
            log.logger.warning(
                "This operator, %s, was taken for dead; it goes on under a new identity, %s. What "
                "it was running may be run again elsewhere, and what it reports is void then.",
                process.uuid,
                new.uuid,
                extra={"action": "declared_lost", "operator": str(process.uuid)},
            )
        elif process.asked != self._told:
            self._told = process.asked
            self._tell(self._told)
        return beat.interval

    def look(self) -> None:
        """Let the watch look now. From any thread."""
        self._wakeup.call()

    def stop(self) -> None:
        """End the thread and delete the row: this operator has left in order."""
        self._over.set()
        self._wakeup.call()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self.process is not None:
            self.process.delete()
            self.process = None

    def _beat(self) -> None:
        interval = conf.get().HEARTBEAT.interval
        next_beat = time.monotonic() + interval
        delay = interval if self._watch is None else 0.0
        while True:
            # What is called for during the look is looked at after it.
            self._wakeup.sleep(delay)
            self._wakeup.clear()
            if self._over.is_set():
                break
            try:
                with watching(self._database):
                    freshen(ask=False)
                    wanted = interval if self._watch is None else self._watch.run()
                    if time.monotonic() >= next_beat:
                        next_beat = time.monotonic() + self.run()
                        self._note_success()
                    tidy()
                delay = min(wanted, max(0.0, next_beat - time.monotonic()))
            except Exception as error:
                # Whatever it is: an operator that stops beating counts as dead.
                self._note_failure(error)
                reset()
                delay, next_beat = RETRY, time.monotonic()
        reset()

    def _note_failure(self, error: Exception) -> None:
        self._steady_since = None
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            log.logger.error(
                "The heartbeat could not be written (%s). It is tried again every second.",
                str(error).strip(),
                exc_info=None if isinstance(error, Error) else error,
                extra={"action": "heartbeat_failed"},
            )

    def _note_success(self) -> None:
        assert self.process is not None
        now, beat_at = time.monotonic(), self.process.heartbeat_at
        passed = beat_at - (self._last_beat_at or beat_at)
        if max(now - self._last_beat, passed.total_seconds()) > _gap():
            self._steady_since = None
        self._steady_since = self._steady_since or now
        self._last_beat, self._last_beat_at = now, beat_at
        if self._silent_since is not None:
            log.logger.warning(
                "The heartbeat is back after %.0f s.",
                time.monotonic() - self._silent_since,
                extra={"action": "heartbeat_back"},
            )
        self._silent_since = None


def _gap() -> float:
    """Return the seconds between two beats above which one of them is missing."""
    return 3 * conf.get().HEARTBEAT.interval
