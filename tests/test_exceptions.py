"""The exceptions: sentences, and interrupts that user code cannot swallow."""

from __future__ import annotations

import pickle
from datetime import datetime, timezone

import pytest

from operator_app import exceptions
from operator_app.exceptions import (
    OperationAborted,
    OperationCancelled,
    OperationExists,
    OperationInterrupt,
    OperationLost,
    OperationRetried,
    OperationStarted,
    OperationStopped,
    OperationTimedOut,
    OperatorError,
    OperatorLost,
)
from tests.once import once

pytestmark = once

ERRORS = (
    OperatorError,
    OperationStarted,
    OperationExists,
    OperationLost,
    OperatorLost,
    OperationTimedOut,
)
INTERRUPTS = (OperationStopped, OperationCancelled, OperationAborted, OperationRetried)


def test_all_exceptions_are_tested_here() -> None:
    """One that is added is either an error or an interrupt, and is listed."""
    there = {value for value in vars(exceptions).values() if isinstance(value, type)}
    assert {kind for kind in there if issubclass(kind, BaseException)} == {
        *ERRORS,
        *INTERRUPTS,
        OperationInterrupt,
    }


@pytest.mark.parametrize("kind", ERRORS)
def test_the_docstring_is_the_message(kind: type[OperatorError]) -> None:
    """Raised without words, an error says what its class is about, in one sentence."""
    message = str(kind())
    assert message == (kind.__doc__ or "").partition("\n")[0]
    assert message.endswith(".")


@pytest.mark.parametrize("kind", ERRORS)
def test_own_words_win(kind: type[OperatorError]) -> None:
    """A message given is the message."""
    assert str(kind("Order 7 is paid.")) == "Order 7 is paid."
    assert issubclass(kind, Exception)


@pytest.mark.parametrize("kind", INTERRUPTS)
def test_an_interrupt_passes_except_exception(kind: type[OperationInterrupt]) -> None:
    """User code that catches every `Exception` around its work does not swallow it."""
    assert issubclass(kind, OperationInterrupt)
    assert not issubclass(kind, Exception)

    def careful() -> None:
        try:
            raise kind("now")
        except Exception:
            pytest.fail("swallowed")

    with pytest.raises(kind, match="now"):
        careful()


@pytest.mark.parametrize("kind", INTERRUPTS)
def test_an_interrupt_carries_its_reason(kind: type[OperationInterrupt]) -> None:
    """The reason is its message, and empty by default."""
    assert (kind("busy").reason, str(kind("busy"))) == ("busy", "busy")
    assert (kind().reason, str(kind())) == ("", "")


def test_stop_and_retry_carry_their_times() -> None:
    """What the engine needs to know travels in attributes."""
    until = datetime(2030, 1, 1, tzinfo=timezone.utc)
    stopped = OperationStopped("busy", until=until)
    assert (stopped.delay, stopped.until) == (None, until)
    assert OperationStopped(delay=5).delay == 5
    assert OperationRetried(delay=5).delay == 5
    assert OperationRetried().delay is None


@pytest.mark.parametrize(
    "error",
    [OperationStopped("busy", delay=5), OperationRetried("x", delay=1), OperationExists("y")],
)
def test_exceptions_survive_the_way_between_processes(error: BaseException) -> None:
    """Pickled and back, they say the same."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
