"""From what `run()` raised to an outcome, without a database."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timezone
from typing import Any

import pytest

from operator_app import Policy
from operator_app.decision import Past, decide, decide_crash, interrupt_in
from operator_app.exceptions import (
    OperationAborted,
    OperationCancelled,
    OperationInterrupt,
    OperationLost,
    OperationRetried,
    OperationStopped,
    OperatorLost,
)
from operator_app.outcomes import Aborted, Cancelled, Failed, Outcome, Retried, Stopped
from operator_app.policy import resolve
from tests.once import once

pytestmark = once

if sys.version_info < (3, 11):
    # The backport, which comes with pytest; libraries on older Pythons raise its groups.
    from exceptiongroup import BaseExceptionGroup

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _with_time_zones(settings: Any) -> None:
    """Moments are aware here, whatever the tests are run with."""
    settings.USE_TZ = True


def decision(
    error: BaseException, *, failures: int = 0, stops: int = 0, operation: Any = None, **policy: Any
) -> Outcome:
    past = Past(failures=failures, stops=stops)
    return decide(error, operation, past, resolve(Policy(**{"backoff": [10, 30], **policy})))


def test_an_error_is_tried_again_after_the_backoff() -> None:
    """The n-th failure waits for the n-th delay, and its report goes along."""
    outcome = decision(ValueError("no"), failures=1)
    assert isinstance(outcome, Retried)
    assert (outcome.delay, outcome.reason) == (30, "ValueError: no")
    assert outcome.report is not None
    assert outcome.report.exception_class == "ValueError"


def test_the_last_attempt_fails_for_good() -> None:
    """After `max_attempts` failed runs there is no other."""
    outcome = decision(ValueError("no"), failures=2)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "ValueError: no"
    assert outcome.report is not None


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), KeyboardInterrupt(), BaseException(), MemoryError()]
)
def test_errors_beyond_exception_are_ordinary_errors(error: BaseException) -> None:
    """What user code raises never ends the process; it is retried and fails as anything else."""
    assert isinstance(decision(error), Retried)
    assert isinstance(decision(error, failures=2), Failed)


def test_giving_up_is_for_good_at_the_first_error() -> None:
    """An error of `give_up_on` is not retried, though `retry_on` includes it."""
    outcome = decision(
        FileNotFoundError("gone"), retry_on=[OSError], give_up_on=[FileNotFoundError]
    )
    assert isinstance(outcome, Failed)
    assert outcome.reason == "FileNotFoundError: gone"


def test_only_what_is_worth_it_is_tried_again() -> None:
    """An error outside `retry_on` fails at once."""
    assert isinstance(decision(ValueError(), retry_on=[OSError]), Failed)
    assert isinstance(decision(ConnectionError(), retry_on=[OSError]), Retried)


def test_stop_waits_without_a_failure() -> None:
    """Without a delay of its own a stop waits as long as the policy says."""
    assert decision(OperationStopped("busy"), stop_delay=45) == Stopped("busy", delay=45)
    assert decision(OperationStopped("busy", delay=5), stop_delay=45) == Stopped("busy", delay=5)
    assert decision(OperationStopped(delay=0)) == Stopped(delay=0)
    assert decision(OperationStopped(until=NOW), stop_delay=45) == Stopped(delay=45, until=NOW)


def test_stop_is_not_bound_to_attempts() -> None:
    """An operation that has no attempts left may still stop; by default as often as it likes."""
    assert isinstance(decision(OperationStopped(), failures=99, stops=10**6), Stopped)


@pytest.mark.parametrize(("max_stops", "times"), [(0, "0 times"), (1, "once"), (3, "3 times")])
def test_stopping_too_often_is_a_failure(max_stops: int, times: str) -> None:
    """With `max_stops`, that many are allowed and the next one fails, saying why."""
    if max_stops:
        allowed = decision(OperationStopped("busy"), stops=max_stops - 1, max_stops=max_stops)
        assert isinstance(allowed, Stopped)
    outcome = decision(OperationStopped("busy"), stops=max_stops, max_stops=max_stops)
    assert isinstance(outcome, Failed)
    assert outcome.reason == f"stopped more than {times} (max_stops={max_stops}): busy"
    assert outcome.report is not None


def test_a_failure_by_stopping_needs_no_reason() -> None:
    """Without a reason the sentence has no colon at its end."""
    assert decision(OperationStopped(), stops=2, max_stops=2).reason == (
        "stopped more than 2 times (max_stops=2)"
    )


def test_cancel_and_abort_keep_their_reasons() -> None:
    """Both are endings and no failures, whatever the policy says of errors."""
    everything: dict[str, Any] = {"retry_on": [BaseException]}
    assert decision(OperationCancelled("paid"), **everything) == Cancelled("paid")
    assert decision(OperationAborted("asked"), **everything) == Aborted("asked")


def test_interrupts_of_a_projects_own_count_as_what_they_derive_from() -> None:
    """A subclass of an interrupt is that interrupt; one of the base class is an error."""

    class Rejected(OperationCancelled):
        """No."""

    class Unknown(OperationInterrupt):
        """What?"""

    assert decision(Rejected("no")) == Cancelled("no")
    assert isinstance(decision(Unknown("what")), Retried)


def test_retry_counts_as_a_failure_with_its_own_delay() -> None:
    """`retry(delay=...)` overrides the backoff's delay, zero included."""
    for delay in (0, 5, 86_400):
        outcome = decision(OperationRetried("not yet", delay=delay))
        assert isinstance(outcome, Retried)
        assert (outcome.delay, outcome.reason) == (delay, "OperationRetried: not yet")
        assert outcome.report is not None


def test_retry_without_a_delay_takes_the_backoff() -> None:
    """`retry()` alone waits as long as an error would."""
    outcome = decision(OperationRetried(), failures=1)
    assert isinstance(outcome, Retried)
    assert outcome.delay == 30


def test_retry_is_bound_to_attempts_but_not_to_types() -> None:
    """Asked for, it is worth it; but the last attempt is the last."""
    outcome = decision(OperationRetried(), retry_on=[OSError], give_up_on=[BaseException])
    assert isinstance(outcome, Retried)
    assert isinstance(decision(OperationRetried(delay=5), failures=2), Failed)


def test_a_lost_operation_fails_with_its_reason() -> None:
    """Where the row of the kind's own table is gone, no attempt can help."""
    outcome = decision(OperationLost("Operation 7 has no row in shop_order."))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "Operation 7 has no row in shop_order."


def test_a_backoff_callable_decides_how_long() -> None:
    """It gets the error and the operation."""
    operation, error = object(), ValueError()
    outcome = decision(
        error,
        operation=operation,
        max_attempts=3,
        backoff=lambda *given: 7 if given == (error, operation) else 0,
    )
    assert isinstance(outcome, Retried)
    assert outcome.delay == 7


def test_a_backoff_callable_that_returns_none_gives_up() -> None:
    """None means that no delay would help."""
    outcome = decision(ValueError("no"), max_attempts=3, backoff=lambda error, operation: None)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "ValueError: no"


def test_a_backoff_callable_that_raises_does_not_hide_the_error() -> None:
    """The operation fails with both errors in its reason, and the report is that of `run()`."""

    def backoff(error: BaseException, operation: Any) -> float:
        raise KeyError("retry-after")

    outcome = decision(ValueError("no"), max_attempts=3, backoff=backoff)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "ValueError: no; its backoff raised KeyError: 'retry-after'"
    assert outcome.report is not None
    assert outcome.report.exception_class == "ValueError"


@pytest.mark.parametrize("garbage", ["5", -1, float("nan"), object(), [1]])
def test_a_backoff_callable_that_returns_garbage_fails_the_operation(garbage: Any) -> None:
    """It fails with a sentence that says what a backoff returns."""
    outcome = decision(ValueError(), max_attempts=3, backoff=lambda error, operation: garbage)
    assert isinstance(outcome, Failed)
    assert "A backoff callable returns seconds >= 0 or None" in outcome.reason


@pytest.mark.parametrize("thrown", [SystemExit(), GeneratorExit(), OperationStopped("later")])
def test_a_backoff_callable_may_raise_anything(thrown: BaseException) -> None:
    """Errors that are no `Exception` do not escape from a decision either."""

    def backoff(error: BaseException, operation: Any) -> float:
        raise thrown

    outcome = decision(ValueError("no"), max_attempts=3, backoff=backoff)
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("ValueError: no; its backoff raised")


@pytest.mark.parametrize("delay", [-1, float("nan"), "5", object()])
@pytest.mark.parametrize("interrupt", [OperationStopped, OperationRetried])
def test_an_interrupt_raised_by_hand_with_a_bad_delay_can_be_recorded(
    interrupt: type[OperationStopped | OperationRetried], delay: Any
) -> None:
    """Whoever raises it without `stop()` or `retry()` gets a failure, not a broken recorder."""
    outcome = decision(interrupt("oops", delay=delay))
    assert outcome.report is not None
    assert isinstance(outcome.changes(NOW), dict)


def test_a_stop_raised_by_hand_with_a_naive_moment_can_be_recorded() -> None:
    """A naive `until` cannot be compared with the time of the database."""
    naive = NOW.replace(tzinfo=None)
    outcome = decision(OperationStopped("oops", until=naive))
    assert isinstance(outcome.changes(NOW), dict)


# The operator died


LOST = OperatorLost("operator web-1:4711 gave no heartbeat since 12:03:10")


def crash(*, crashes: int = 0, operation: Any = None, **policy: Any) -> Outcome | None:
    return decide_crash(LOST, operation, Past(crashes=crashes), resolve(Policy(**policy)))


def test_the_first_crash_is_tried_again_at_once() -> None:
    """The operator may have died of something else; a crash is counted, no failure."""
    outcome = crash()
    assert isinstance(outcome, Retried)
    assert (outcome.delay, outcome.counter) == (0, "crashes")
    assert outcome.reason == str(LOST)


def test_later_crashes_wait_as_failures_do() -> None:
    """From the second one on the backoff of the policy holds, from its first step."""
    delays = []
    for crashes in (1, 2, 3):
        outcome = crash(crashes=crashes, max_crashes=9, backoff=[10, 30])
        assert isinstance(outcome, Retried)
        delays.append(outcome.delay)
    assert delays == [10, 30, 30]


def test_a_backoff_callable_is_not_asked_about_crashes() -> None:
    """It knows errors of `run()`, of which there was none; crashes wait exponentially."""

    def never(error: BaseException, operation: Any) -> float:
        raise AssertionError

    outcome = crash(crashes=1, backoff=never)
    assert isinstance(outcome, Retried)
    assert 5 <= outcome.delay <= 10


@pytest.mark.parametrize(("crashes", "most", "times"), [(0, 1, "once"), (2, 3, "3 times")])
def test_a_crash_too_many_is_parked(crashes: int, most: int, times: str) -> None:
    """It has failed, and says how often, which operator died last, when it last beat."""
    outcome = crash(crashes=crashes, max_crashes=most)
    assert isinstance(outcome, Failed)
    assert outcome.counter == "crashes"
    for words in (times, f"max_crashes={most}", "web-1:4711", "12:03:10"):
        assert words in outcome.reason
    assert outcome.report is not None


def test_crashes_and_failures_are_counted_apart() -> None:
    """What failed before is not held against one whose operator died, and the other way round."""
    outcome = decide_crash(LOST, None, Past(failures=99, stops=9), resolve(Policy()))
    assert isinstance(outcome, Retried)
    assert isinstance(decide(ValueError(), None, Past(crashes=99), resolve(Policy())), Retried)


def test_stuck_may_be_a_failure() -> None:
    """`on_stuck="fail"`: never run again, from the first crash on."""
    outcome = crash(on_stuck="fail")
    assert isinstance(outcome, Failed)
    assert (outcome.counter, outcome.reason) == ("crashes", str(LOST))


def test_stuck_may_be_left() -> None:
    """`on_stuck="leave"`: no outcome, whatever has happened before."""
    assert crash(on_stuck="leave") is None
    assert crash(on_stuck="leave", crashes=99) is None


# Groups


needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no groups")
STOP, CANCEL = OperationStopped("stop"), OperationCancelled("cancel")
ABORT, RETRY = OperationAborted("abort"), OperationRetried("retry")
ENDED, WRONG = asyncio.CancelledError(), ValueError("wrong")


def group(*errors: BaseException) -> BaseException:
    made: BaseException = BaseExceptionGroup("several", list(errors))
    return made


@needs_groups
@pytest.mark.parametrize("interrupt", [STOP, CANCEL, ABORT, RETRY, OperationInterrupt("new")])
def test_an_interrupt_in_a_group_is_that_interrupt(interrupt: BaseException) -> None:
    """However deep it is, and beside tasks that were cancelled because of it."""
    assert interrupt_in(interrupt) is interrupt
    assert interrupt_in(group(interrupt)) is interrupt
    assert interrupt_in(group(group(group(interrupt)))) is interrupt
    assert interrupt_in(group(ENDED, group(interrupt), ENDED)) is interrupt


@needs_groups
def test_of_several_interrupts_the_most_final_one_counts() -> None:
    """To cancel, then to abort, then to stop, then to retry, in whatever order they came."""
    ranked = [CANCEL, ABORT, STOP, RETRY, OperationInterrupt("new")]
    for first, most in enumerate(ranked):
        rest = ranked[first:]
        assert interrupt_in(group(*rest)) is most
        assert interrupt_in(group(group(*reversed(rest)))) is most


@needs_groups
@pytest.mark.parametrize("others", [[], [STOP], [ENDED], [CANCEL, ENDED], [group(ABORT), STOP]])
def test_a_group_with_a_real_error_is_a_failure(others: list[BaseException]) -> None:
    """The group itself, so that its report shows all that was in it."""
    for whole in (group(WRONG, *others), group(group(WRONG), *others), group(*others, WRONG)):
        assert interrupt_in(whole) is whole


@needs_groups
def test_a_group_of_cancelled_tasks_is_a_cancelled_task() -> None:
    """So that it is an abort if that was asked for."""
    assert interrupt_in(group(ENDED)) is ENDED
    assert interrupt_in(group(group(ENDED), asyncio.CancelledError())) is ENDED


def test_what_is_no_group_is_itself() -> None:
    """Also an error that has `exceptions`, as that of a library may."""
    odd = ValueError("odd")
    odd.exceptions = (STOP,)  # type: ignore[attr-defined]
    for error in (WRONG, ENDED, odd):
        assert interrupt_in(error) is error
