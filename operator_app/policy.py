"""How operations of a kind are run. Knows no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias

from operator_app import conf
from operator_app.backoff import Backoff, BackoffLike, as_backoff
from operator_app.breaker import CircuitBreaker
from operator_app.retention import Age, problems
from operator_app.validation import (
    UNSET,
    Unset,
    check_choice,
    check_count,
    check_errors,
    check_names,
    check_priority,
    check_queue,
    check_seconds,
    is_number,
)

RUNNERS: Final = ("threads", "asyncio", "processes", "inline")
Errors: TypeAlias = Sequence[type[BaseException]]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How operations of a kind are run. Options left UNSET come from the base classes of the kind,
    then from `OPERATOR["POLICY"]`, then from `BUILT_IN`.

    Args:
        queue: the queue that the operations wait in; operators may serve some queues only.
        priority: higher runs first, strictly: a steady stream of it starves lower ones.
        runner: where the operations run: "threads"; "asyncio", an event loop, which is where those
            with an `async def run` go that say "threads" or nothing; "processes", child processes,
            which can be killed; or "inline" in the operator's own main thread, which then does
            nothing else.
        max_attempts: how many runs may fail in all, the first included. A backoff list without it
            implies one more than its length.
        backoff: a `Backoff`, a list of seconds, or a callable `(error, operation) -> seconds` that
            returns None to give up.
        retry_on: the exception types that are worth another attempt.
        give_up_on: the exception types that are not, also where `retry_on` includes them.
        stop_delay: seconds that a stopped operation waits if `stop()` names no time; at least 1.
        max_stops: how many times an operation may stop before it has failed; None for no limit.
        max_crashes: how many times the operator may die while it runs the operation, before the
            operation has failed.
        timeout: seconds that `run()` may take. Later the operation shows as stuck and is asked to
            end; if it ends with an error then, that counts as `OperationTimedOut`. None for no
            limit. A thread cannot be killed: see `Operation.should_abort()`.
        on_stuck: what becomes of an operation whose operator died: "retry" runs it again, "fail"
            does not, "leave" leaves it as it is, for a person to decide.
        atomic: whether `run()` and the record of its success are one transaction: its effects in
            the operation's database are committed exactly once. Not for `async def run`.
        expires_after: seconds after `should_run_at` within which the operation must begin for the
            first time; later it is cancelled instead. None for no limit.
        unique: a callable `(operation) -> key` for the operations that are scheduled without a
            unique key; where it returns None there is none.
        circuit_breaker: a `CircuitBreaker`, which lets operations of the kind wait while too many
            of them fail; None for none.
        retention: after how long operations that have ended are deleted, in seconds or as a
            timedelta, by state: "finished", "failed", "cancelled"; and old attempts of those that
            have not ended, as "attempts"; None for never. In place of what
            `OPERATOR["RETENTION"]` says of that state.
        keep_jobs: "problems" keeps an `OperationJob` row of each attempt that did not simply
            finish, "all" keeps one of each attempt.
        sensitive_fields: the names of fields whose values the admin, the terminal and JSON mask.
            These add up: what a base class or the project masks stays masked.

    Raises:
        ValueError, TypeError: for a value out of range or of the wrong type, naming the option.
    """

    queue: str | Unset = UNSET
    priority: int | Unset = UNSET
    runner: Literal["threads", "asyncio", "processes", "inline"] | Unset = UNSET
    max_attempts: int | Unset = UNSET
    backoff: BackoffLike | Unset = UNSET
    retry_on: Errors | Unset = UNSET
    give_up_on: Errors | Unset = UNSET
    stop_delay: float | Unset = UNSET
    max_stops: int | Unset | None = UNSET
    max_crashes: int | Unset = UNSET
    timeout: float | Unset | None = UNSET
    on_stuck: Literal["retry", "fail", "leave"] | Unset = UNSET
    atomic: bool | Unset = UNSET
    expires_after: float | Unset | None = UNSET
    unique: Callable[[Any], str | None] | Unset | None = UNSET
    circuit_breaker: CircuitBreaker | Unset | None = UNSET
    retention: Mapping[str, Age] | Unset = UNSET
    keep_jobs: Literal["problems", "all"] | Unset = UNSET
    sensitive_fields: Sequence[str] | Unset = UNSET

    def __post_init__(self) -> None:
        if self.queue is not UNSET:
            check_queue(self.queue)
        if self.priority is not UNSET:
            check_priority(self.priority)
        check_choice("Policy.runner", self.runner, RUNNERS)
        check_choice("Policy.keep_jobs", self.keep_jobs, ("problems", "all"))
        check_choice("Policy.on_stuck", self.on_stuck, ("retry", "fail", "leave"))
        check_count("Policy.max_attempts", self.max_attempts, least=1)
        check_count("Policy.max_crashes", self.max_crashes, least=1)
        if self.atomic is not UNSET and not isinstance(self.atomic, bool):
            raise TypeError(f"Policy.atomic is True or False, not {self.atomic!r}.")
        check_seconds("Policy.timeout", self.timeout)
        check_seconds("Policy.expires_after", self.expires_after)
        if self.max_stops is not None:
            check_count("Policy.max_stops", self.max_stops, least=0)
        if self.stop_delay is not UNSET and (not is_number(self.stop_delay) or self.stop_delay < 1):
            raise ValueError(
                f"Policy.stop_delay must be at least 1 second, not {self.stop_delay!r}: "
                "a stopped operation never spins."
            )
        if self.unique is not UNSET and self.unique is not None and not callable(self.unique):
            raise TypeError(
                f"Policy.unique must be a callable that returns a key, not {self.unique!r}."
            )
        if not isinstance(self.circuit_breaker, (CircuitBreaker, Unset, type(None))):
            raise TypeError(
                f"Policy.circuit_breaker must be a CircuitBreaker, not {self.circuit_breaker!r}."
            )
        if self.retention is not UNSET:
            for problem in problems("Policy.retention", self.retention):
                raise ValueError(problem)
        if self.backoff is not UNSET:
            as_backoff(self.backoff)
        for name in ("retry_on", "give_up_on"):
            check_errors(f"Policy.{name}", getattr(self, name))
        check_names("Policy.sensitive_fields", self.sensitive_fields)

    @property
    def implied_attempts(self) -> int | Unset:
        """`max_attempts`, or what a backoff list implies: one run more than it has delays."""
        if self.max_attempts is not UNSET or self.backoff is UNSET:
            return self.max_attempts
        backoff = as_backoff(self.backoff)
        steps = len(backoff.steps) if isinstance(backoff, Backoff) else 0
        return steps + 1 if steps else UNSET

    def retries(self, error: BaseException) -> bool:
        """Whether an error of this type is worth another attempt. Called on a resolved policy."""
        assert self.retry_on is not UNSET and self.give_up_on is not UNSET
        if isinstance(error, tuple(self.give_up_on)):
            return False
        return isinstance(error, tuple(self.retry_on))

    def next_delay(self, error: BaseException, operation: Any, failures: int) -> float | None:
        """Return the seconds until the next attempt, or None if the operation has failed for good.

        Pure, but for the backoff's jitter and whatever a backoff callable does. Called on a
        resolved policy. Whether `error` is of a type worth retrying is `retries()`.

        Args:
            error: what `run()` raised.
            operation: handed to a backoff callable.
            failures: how many runs have failed, this one included.

        Raises:
            Exception: whatever a backoff callable raises, or TypeError for what it returns.
        """
        assert self.max_attempts is not UNSET
        if failures >= self.max_attempts:
            return None
        backoff = as_backoff(self.backoff)
        if isinstance(backoff, Backoff):
            return backoff.delay(failures)
        seconds = backoff(error, operation)
        if seconds is not None and (not is_number(seconds) or seconds < 0):
            raise TypeError(f"A backoff callable returns seconds >= 0 or None, not {seconds!r}.")
        return seconds


BUILT_IN: Final = Policy(
    queue="default",
    priority=0,
    runner="threads",
    max_attempts=3,
    backoff=Backoff.exponential(),
    retry_on=(BaseException,),
    give_up_on=(),
    stop_delay=60,
    max_stops=None,
    max_crashes=3,
    timeout=None,
    on_stuck="retry",
    atomic=False,
    expires_after=None,
    unique=None,
    circuit_breaker=None,
    retention={},
    keep_jobs="problems",
    sensitive_fields=(),
)


def resolve(*policies: Policy) -> Policy:
    """Return one policy without UNSET: each option from the first of `policies` that has it, then
    from `OPERATOR["POLICY"]`, then from `BUILT_IN`; but `sensitive_fields` from all of them. No
    queries.
    """
    line = (*policies, project_policy(conf.get().POLICY), BUILT_IN)
    chosen: dict[str, Any] = {}
    for item in fields(Policy):
        name = "implied_attempts" if item.name == "max_attempts" else item.name
        values = (getattr(policy, name) for policy in line)
        chosen[item.name] = next(value for value in values if value is not UNSET)
    # A class that names one more does not mean to show what its base hides.
    named = (policy.sensitive_fields for policy in line if policy.sensitive_fields is not UNSET)
    chosen["sensitive_fields"] = tuple(dict.fromkeys(name for names in named for name in names))
    return Policy(**chosen)


def project_policy(options: Any) -> Policy:
    """Return the policy that `OPERATOR["POLICY"]` describes.

    Raises:
        ValueError, TypeError: for an unknown or bad option, with what it should be.
    """
    known = [item.name for item in fields(Policy)]
    for name in options:
        if name not in known:
            hint = conf.did_you_mean(name, known)
            raise TypeError(f"OPERATOR['POLICY'] has no option {name!r}{hint}")
    return Policy(**options)
