"""What the end of a `run()` means: a pure function from what was raised to an outcome."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from operator_app.backoff import Backoff, as_backoff
from operator_app.exceptions import (
    OperationAborted,
    OperationCancelled,
    OperationInterrupt,
    OperationLost,
    OperationRetried,
    OperationStopped,
)
from operator_app.outcomes import Aborted, Cancelled, Failed, Outcome, Retried, Stopped
from operator_app.policy import Policy
from operator_app.reports import ErrorReport
from operator_app.validation import is_number

_FINALITY: Final = (OperationCancelled, OperationAborted, OperationStopped, OperationRetried)


@dataclass(frozen=True)
class Past:
    """What has happened to an operation before this attempt."""

    failures: int = 0
    stops: int = 0
    crashes: int = 0


def decide(error: BaseException, operation: Any, past: Past, policy: Policy) -> Outcome:
    """Return the outcome of an attempt whose `run()` raised `error`.

    Pure, but for a jittered backoff and a backoff callable; no queries. `KeyboardInterrupt` is the
    caller's to judge: here it is an ordinary error, as are SystemExit and GeneratorExit.

    Args:
        error: what was raised.
        operation: handed to a backoff callable.
        past: the counters as they were when the operation was claimed.
        policy: the resolved policy of the operation's kind.
    """
    if isinstance(error, OperationCancelled):
        return Cancelled(error.reason)
    if isinstance(error, OperationAborted):
        return Aborted(error.reason)
    if isinstance(error, (OperationStopped, OperationRetried)) and (bad := _bad_time(error)):
        # Raised by hand: `stop()` and `retry()` refuse it. It must not reach the recorder.
        return _failed(ValueError(bad), operation, past, policy)
    if isinstance(error, OperationStopped):
        return _stopped(error, past, policy)
    if isinstance(error, OperationLost):
        return Failed(str(error), error=ErrorReport.of(error))
    return _failed(error, operation, past, policy)


def interrupt_in(error: BaseException) -> BaseException:
    """Return the interrupt that an exception group stands for, as `asyncio.TaskGroup` raises it
    when a task calls `stop()`, `cancel()` or the like; any other error as it is.

    A group that holds real errors, too, is a failure. Of several interrupts the most final counts:
    to cancel, then to abort, then to stop, then to retry. Cancelled tasks count only if there is
    nothing else: the first error of a group cancels the others.
    """
    leaves = list(_leaves(error))
    if len(leaves) == 1:
        return leaves[0] if isinstance(leaves[0], (OperationInterrupt, CancelledError)) else error
    telling = [leaf for leaf in leaves if not isinstance(leaf, CancelledError)] or leaves[:1]
    if not all(isinstance(leaf, (OperationInterrupt, CancelledError)) for leaf in telling):
        return error
    return min(telling, key=_finality)


def _finality(error: BaseException) -> int:
    """Return the place of an interrupt among several; one of the user's own is last."""
    places = (place for place, kind in enumerate(_FINALITY) if isinstance(error, kind))
    return next(places, len(_FINALITY))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    # By its shape: Python 3.10 has no groups of its own, only those of a library.
    parts = getattr(error, "exceptions", None)
    if not isinstance(parts, tuple) or not hasattr(error, "split"):
        yield error
        return
    for part in parts:
        yield from _leaves(part)


def _stopped(error: OperationStopped, past: Past, policy: Policy) -> Outcome:
    most = policy.max_stops
    if isinstance(most, int) and past.stops >= most:
        times = "once" if most == 1 else f"{most} times"
        reason = f"stopped more than {times} (max_stops={most}): {error.reason}".rstrip(": ")
        return Failed(reason, error=ErrorReport.of(error))
    delay = policy.stop_delay if error.delay is None else error.delay
    assert isinstance(delay, (int, float))
    return Stopped(error.reason, delay=delay, until=error.until)


def _bad_time(error: OperationStopped | OperationRetried) -> str | None:
    """Return what is wrong with the delay or the moment of an interrupt, None if nothing is."""
    delay, until = error.delay, getattr(error, "until", None)
    if delay is not None and not (is_number(delay) and delay >= 0):
        return f"A delay is a number of seconds >= 0, not {delay!r}."
    if until is not None and (until.tzinfo is None) == settings.USE_TZ:
        return f"{until!r} does not fit USE_TZ={settings.USE_TZ}; use self.stop(until=...)."
    return None


def _failed(error: BaseException, operation: Any, past: Past, policy: Policy) -> Outcome:
    report = ErrorReport.of(error)
    asked = isinstance(error, OperationRetried)
    try:
        wanted = asked or policy.retries(error)
        delay = policy.next_delay(error, operation, past.failures + 1) if wanted else None
    except BaseException as second:
        # A broken backoff must not hide the error that it was asked about.
        return Failed(f"{report}; its backoff raised {ErrorReport.of(second)}", error=report)
    if delay is None:
        return Failed(str(report), error=report)
    if isinstance(error, OperationRetried) and error.delay is not None:
        delay = error.delay
    return Retried(str(report), error=report, delay=delay)


def decide_crash(
    error: BaseException, operation: Any, past: Past, policy: Policy
) -> Outcome | None:
    """Return what becomes of an operation whose operator died while it held it; None for nothing.

    The first time it is tried again at once: its operator may have died of something else. From the
    second time on it waits as after a failure. Pure, as `decide()` is.

    Args:
        error: says which operator died and when.
        operation: handed to a backoff callable.
        past: the counters as they were when the operation was claimed.
        policy: the resolved policy of the operation's kind.
    """
    if policy.on_stuck == "leave":
        return None
    report = ErrorReport.of(error)
    if policy.on_stuck == "fail":
        return Failed(str(error), error=report, crashed=True)
    crashes = past.crashes + 1
    assert isinstance(policy.max_crashes, int)
    if crashes >= policy.max_crashes:
        times = "once" if crashes == 1 else f"{crashes} times"
        reason = f"its operator died {times} (max_crashes={policy.max_crashes}): {error}"
        return Failed(reason, error=report, crashed=True)
    delay = 0.0
    if crashes > 1:
        backoff = as_backoff(policy.backoff)
        delay = (backoff if isinstance(backoff, Backoff) else Backoff.exponential()).delay(
            crashes - 1
        )
    return Retried(str(error), error=report, delay=delay, crashed=True)
