"""How an attempt ended: values in the past tense, each of which knows what it writes.

No database here: `models.records` turns `changes()` and `counter` into one guarded UPDATE.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final

from operator_app.moments import later
from operator_app.reports import REASON_LIMIT, ErrorReport, shortened

SHORTEST_STOP: Final = 1.0
"""Seconds that a stopped operation waits at least, so that it never spins."""

RELEASED_AFTER: Final = 5.0
"""Seconds that a released operation waits if it had begun, or could not be loaded."""


@dataclass(frozen=True)
class Outcome:
    """How one attempt at running an operation ended."""

    name: ClassVar[str]
    """As stored in `OperationJob.outcome`."""
    ended: ClassVar[bool]
    """Whether the operation will not be run again."""

    reason: str = ""

    def changes(self, now: datetime) -> dict[str, object]:
        """Return what the outcome writes, by column; `now` is when the attempt ended. Pure."""
        raise NotImplementedError

    @property
    def report(self) -> ErrorReport | None:
        """The error behind the outcome, if there was one."""
        return None

    @property
    def counter(self) -> str | None:
        """The column of the operation that grows by one, if one does."""
        return None

    def if_aborted(self, why: str) -> Outcome | None:
        """Return what takes its place if a person had asked for an abort; None if it stands.

        The operation is not run again then, whatever its policy says.
        """
        return None

    def _stored_reason(self) -> str:
        return shortened(self.reason, REASON_LIMIT)


@dataclass(frozen=True)
class _Error(Outcome):
    """There is an error behind it, which is counted."""

    error: ErrorReport | None = None
    crashed: bool = False
    """Whether it was not `run()` that failed, but the operator that died in it."""

    @property
    def counter(self) -> str:
        """The column of the operation that grows by one."""
        return "crashes" if self.crashed else "failures"

    @property
    def report(self) -> ErrorReport | None:
        """The error of the last attempt."""
        return self.error


class _Ended(Outcome):
    """The operation keeps its claim and operator, to show who ran it, and gives its key back."""

    ended: ClassVar[bool] = True
    column: ClassVar[str]

    def changes(self, now: datetime) -> dict[str, object]:
        """Set the timestamp of the ending, and why; free the unique key."""
        return {self.column: now, "reason": self._stored_reason(), "active_key": None}


class _Pending(Outcome):
    """The operation gives its claim back and waits."""

    ended: ClassVar[bool] = False

    def changes(self, now: datetime) -> dict[str, object]:
        """Null what the claim set."""
        return {
            "started_run_at": None,
            "begun_run_at": None,
            "operator": None,
            "abort_requested_at": None,
            "stack_requested_at": None,
            "times_out_at": None,
        }

    def if_aborted(self, why: str) -> Outcome | None:
        """It would be run again: it is aborted instead."""
        return Aborted(why)


@dataclass(frozen=True)
class Finished(_Ended):
    """`run()` returned."""

    name: ClassVar[str] = "finished"
    column: ClassVar[str] = "finished_run_at"


@dataclass(frozen=True)
class Cancelled(_Ended):
    """`run()` called `cancel()`: never again."""

    name: ClassVar[str] = "cancelled"
    column: ClassVar[str] = "cancelled_at"


@dataclass(frozen=True)
class Aborted(_Ended):
    """`run()` gave up because it was asked to."""

    name: ClassVar[str] = "aborted"
    column: ClassVar[str] = "cancelled_at"


@dataclass(frozen=True)
class Failed(_Error, _Ended):
    """The operation has failed for good."""

    name: ClassVar[str] = "failed"
    column: ClassVar[str] = "failed_run_at"

    def if_aborted(self, why: str) -> Outcome | None:
        """A failure stands; that its operator died once too often does not."""
        return Aborted(why) if self.crashed else None


@dataclass(frozen=True)
class Stopped(_Pending):
    """`run()` called `stop()`: later, no failure counted. `until` wins over `delay` (seconds)."""

    name: ClassVar[str] = "stopped"

    delay: float = 60.0
    until: datetime | None = None

    @property
    def counter(self) -> str:
        """The column of the operation that grows by one."""
        return "stops"

    def changes(self, now: datetime) -> dict[str, object]:
        """Null what the claim set; due again at the wanted time, and not at once."""
        soonest = now + timedelta(seconds=SHORTEST_STOP)
        wanted = self.until or later(now, self.delay)
        return super().changes(now) | {"should_run_at": max(soonest, wanted)}


@dataclass(frozen=True)
class Retried(_Error, _Pending):
    """`run()` failed, and is tried again after `delay` seconds."""

    name: ClassVar[str] = "retried"

    delay: float = 0.0

    def if_aborted(self, why: str) -> Outcome | None:
        """A failure is for good; after a crash it is aborted."""
        return Aborted(why) if self.crashed else Failed(self.reason, error=self.error)

    def changes(self, now: datetime) -> dict[str, object]:
        """Null what the claim set; due again after the delay."""
        return super().changes(now) | {"should_run_at": later(now, self.delay)}


@dataclass(frozen=True)
class Released(_Pending):
    """The claim was given back before the operation had ended; nothing is charged.

    It is due again after `delay` seconds; with 0, for one that had not begun, at its old time.
    """

    name: ClassVar[str] = "released"

    delay: float = 0.0

    def changes(self, now: datetime) -> dict[str, object]:
        """Null what the claim set; due again after the delay, if there is one."""
        again = {"should_run_at": later(now, self.delay)} if self.delay else {}
        return super().changes(now) | again
