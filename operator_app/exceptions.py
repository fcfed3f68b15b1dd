"""What goes wrong, in a sentence each: an exception's docstring is its message."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from operator_app.reports import storable, text_of

if TYPE_CHECKING:
    from operator_app.models import Operation


class OperatorError(Exception):
    """Something is wrong with how operations are used."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


class OperationStarted(OperatorError):
    """The operation has been claimed or has ended, so its schedule cannot be changed any more."""


class OperationExists(OperatorError):
    """An operation of this kind with this unique key has not ended yet.

    Args:
        message: what is wrong.
        operation: the one that has the key, if it is known.
    """

    def __init__(self, message: str = "", *, operation: Operation | None = None) -> None:
        super().__init__(message)
        self.operation = operation


class OperationLost(OperatorError):
    """The operation's class or its row in the kind's own table is gone."""


class OperatorLost(OperatorError):
    """The operator that ran the operation gave no sign of life any more, or its process ended."""


class OperationTimedOut(OperatorError):
    """The operation ran for longer than its timeout."""


class OperationInterrupt(BaseException):
    """Ends `run()` now. No `Exception`, so that `except Exception` in user code lets it pass."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = storable(text_of(reason))


class OperationStopped(OperationInterrupt):
    """The operation is to be tried again later; no failure is counted.

    Args:
        reason: why, for people.
        delay: seconds to wait from the end of the attempt; None for the policy's `stop_delay`.
        until: the moment to wait for, in place of `delay`.
    """

    def __init__(
        self, reason: str = "", delay: float | None = None, until: datetime | None = None
    ) -> None:
        super().__init__(reason)
        self.delay = delay
        self.until = until


class OperationCancelled(OperationInterrupt):
    """The operation is never to be run again; it is kept, cancelled, until it is pruned."""


class OperationAborted(OperationInterrupt):
    """The operation gives up because it was asked to."""


class OperationRetried(OperationInterrupt):
    """The attempt has failed and the operation is to be tried again after its own delay.

    Args:
        reason: why, for people; the message of the failure.
        delay: seconds to wait; None for the policy's backoff.
    """

    def __init__(self, reason: str = "", delay: float | None = None) -> None:
        super().__init__(reason)
        self.delay = delay
