"""Policies: what they accept, and where their options come from."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from typing import Any

import pytest

from operator_app import Backoff, CircuitBreaker, Policy
from operator_app.models import Operation
from operator_app.policy import BUILT_IN, project_policy, resolve
from operator_app.validation import UNSET
from tests.kinds.models import LongNote, Note, QuickNote, Report
from tests.once import once

pytestmark = once


class Fatal(Exception):
    """An error that is not worth another attempt."""


def seconds(error: BaseException, operation: Any) -> float:
    return 5


GOOD: list[tuple[str, Any]] = [
    ("queue", "mails"),
    ("queue", "q" * 64),
    ("priority", -32768),
    ("priority", 32767),
    ("runner", "threads"),
    ("runner", "inline"),
    ("max_attempts", 1),
    ("backoff", Backoff.fixed(5)),
    ("backoff", [10, 30.5]),
    ("backoff", (0,)),
    ("backoff", seconds),
    ("retry_on", [OSError, TimeoutError]),
    ("retry_on", ()),
    ("give_up_on", (KeyError,)),
    ("stop_delay", 1),
    ("stop_delay", 0.5e6),
    ("max_stops", 0),
    ("max_stops", None),
    ("max_crashes", 1),
    ("timeout", 300),
    ("timeout", 0.5),
    ("timeout", None),
    ("on_stuck", "retry"),
    ("on_stuck", "fail"),
    ("on_stuck", "leave"),
    ("atomic", True),
    ("atomic", False),
    ("expires_after", None),
    ("expires_after", 3600.5),
    ("unique", None),
    ("retention", {}),
    ("retention", {"finished": 60, "failed": None, "cancelled": timedelta(days=1)}),
    ("circuit_breaker", None),
    ("circuit_breaker", CircuitBreaker()),
    ("unique", str),
    ("keep_jobs", "problems"),
    ("keep_jobs", "all"),
    ("sensitive_fields", ["token"]),
    ("sensitive_fields", ()),
]
BAD: list[tuple[str, Any]] = [
    ("queue", ""),
    ("queue", "   "),
    ("queue", "q" * 65),
    ("queue", None),
    ("queue", 3),
    ("priority", -32769),
    ("priority", 32768),
    ("priority", 1.0),
    ("priority", True),
    ("priority", "high"),
    ("priority", None),
    ("runner", "thread"),
    ("runner", None),
    ("max_attempts", 0),
    ("max_attempts", -1),
    ("max_attempts", 2.0),
    ("max_attempts", True),
    ("max_attempts", None),
    ("backoff", []),
    ("backoff", [10, -1]),
    ("backoff", [10, float("nan")]),
    ("backoff", ["10"]),
    ("backoff", "10"),
    ("backoff", b"10"),
    ("backoff", 10),
    ("backoff", None),
    ("backoff", {10, 20}),
    ("retry_on", OSError),
    ("retry_on", [OSError, "TimeoutError"]),
    ("retry_on", [OSError()]),
    ("retry_on", "OSError"),
    ("give_up_on", ValueError),
    ("give_up_on", [int]),
    ("give_up_on", None),
    ("stop_delay", 0),
    ("stop_delay", 0.5),
    ("stop_delay", -60),
    ("stop_delay", float("inf")),
    ("stop_delay", "60"),
    ("stop_delay", None),
    ("stop_delay", 10**400),
    ("max_stops", -1),
    ("max_stops", 1.5),
    ("max_crashes", 0),
    ("max_crashes", 1.5),
    ("max_crashes", None),
    ("max_crashes", True),
    ("timeout", 0),
    ("timeout", -1),
    ("timeout", "5 min"),
    ("timeout", float("inf")),
    ("timeout", True),
    ("on_stuck", "release"),
    ("on_stuck", None),
    ("atomic", 1),
    ("atomic", "yes"),
    ("atomic", None),
    ("expires_after", 0),
    ("expires_after", -1),
    ("expires_after", "1 h"),
    ("expires_after", float("nan")),
    ("expires_after", True),
    ("unique", "text"),
    ("retention", 60),
    ("retention", {"done": 60}),
    ("retention", {"finished": -1}),
    ("circuit_breaker", 5),
    ("circuit_breaker", {"failures": 5}),
    ("unique", 7),
    ("keep_jobs", "none"),
    ("keep_jobs", True),
    ("sensitive_fields", "token"),
    ("sensitive_fields", b"token"),
    ("sensitive_fields", ["token", 3]),
    ("sensitive_fields", [""]),
    ("sensitive_fields", None),
    ("sensitive_fields", {"token"}),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_good_option_is_kept_as_given(name: str, value: Any) -> None:
    """What a policy accepts it returns unchanged."""
    assert getattr(Policy(**{name: value}), name) is value


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_option_is_refused_where_the_policy_is_made(name: str, value: Any) -> None:
    """A policy that cannot work is an error in the class body, whose message shows the value."""
    with pytest.raises((ValueError, TypeError)) as caught:
        Policy(**{name: value})
    said = str(caught.value).lower()
    assert name in said or name.partition("_")[0] in said


def test_every_option_has_good_and_bad_examples_here() -> None:
    """An option that is added to `Policy` is added to these tests."""
    names = {item.name for item in fields(Policy)}
    assert names == {name for name, _ in GOOD} == {name for name, _ in BAD}


def test_an_unknown_option_is_a_type_error() -> None:
    """A misspelt keyword never makes a policy."""
    with pytest.raises(TypeError, match="max_retries"):
        Policy(max_retries=3)  # type: ignore[call-arg]


def test_a_policy_takes_keywords_only() -> None:
    """The order of the options is nobody's business."""
    with pytest.raises(TypeError):
        Policy("mails")  # type: ignore[misc]


def test_a_policy_cannot_be_changed() -> None:
    """A policy is a value."""
    with pytest.raises(FrozenInstanceError):
        Policy().queue = "mails"  # type: ignore[misc]


def test_a_policy_says_nothing_until_told() -> None:
    """Every option is UNSET unless given."""
    assert {getattr(Policy(), item.name) for item in fields(Policy)} == {UNSET}


def test_the_built_in_policy_leaves_nothing_open() -> None:
    """The end of the line has every option."""
    assert UNSET not in [getattr(BUILT_IN, item.name) for item in fields(Policy)]
    assert resolve() == BUILT_IN


def test_the_first_policy_that_has_an_option_decides_it(settings: Any) -> None:
    """The order is: class, its bases, the project, built in; option by option."""
    settings.OPERATOR = {"POLICY": {"queue": "project", "priority": 3, "stop_delay": 30}}
    own, base = Policy(queue="own"), Policy(queue="base", priority=2)
    resolved = resolve(own, base)
    assert resolved.queue == "own"
    assert resolved.priority == 2
    assert resolved.stop_delay == 30
    assert resolved.keep_jobs == BUILT_IN.keep_jobs


@pytest.mark.parametrize(
    ("name", "nothing"),
    [("priority", 0), ("retry_on", ()), ("max_stops", None), ("give_up_on", ())],
)
def test_an_option_set_to_nothing_is_set(name: str, nothing: Any) -> None:
    """Zero, empty and None are values; only UNSET looks further."""
    something = {"priority": 9, "retry_on": (OSError,), "max_stops": 4, "give_up_on": (KeyError,)}
    resolved = resolve(Policy(**{name: nothing}), Policy(**{name: something[name]}))
    assert getattr(resolved, name) == nothing


def test_sensitive_fields_add_up(settings: Any) -> None:
    """A class that names one more does not show what its base or the project hides."""
    settings.OPERATOR = {"POLICY": {"sensitive_fields": ["password"]}}
    own, base = Policy(sensitive_fields=["token"]), Policy(sensitive_fields=["pin", "token"])
    assert resolve(own, base).sensitive_fields == ("token", "pin", "password")
    assert resolve(Policy(sensitive_fields=[]), base).sensitive_fields == (
        "pin",
        "token",
        "password",
    )


def test_a_backoff_list_implies_one_attempt_more_than_it_has_delays() -> None:
    """[10, 30, 60] means four runs in all."""
    assert resolve(Policy(backoff=[10, 30, 60])).max_attempts == 4
    assert resolve(Policy(backoff=(5,))).max_attempts == 2


def test_an_explicit_max_attempts_wins_over_the_list_beside_it() -> None:
    """Where both are given, the list only says how long to wait."""
    resolved = resolve(Policy(backoff=[10, 30, 60], max_attempts=9))
    assert resolved.max_attempts == 9
    assert [resolved.next_delay(ValueError(), None, n) for n in (1, 3, 8, 9)] == [10, 60, 60, None]


def test_a_list_implies_its_attempts_at_its_own_level(settings: Any) -> None:
    """The class's list wins over an explicit number of its base or of the project."""
    settings.OPERATOR = {"POLICY": {"max_attempts": 20}}
    assert resolve(Policy(backoff=[1, 2]), Policy(max_attempts=9)).max_attempts == 3
    assert resolve(Policy(backoff=[1, 2])).max_attempts == 3


def test_a_list_of_a_base_implies_the_attempts_of_the_class() -> None:
    """A class that says nothing about attempts gets those of its base's list."""
    resolved = resolve(Policy(queue="own"), Policy(backoff=[1, 2, 3, 4]))
    assert (resolved.max_attempts, resolved.backoff) == (5, [1, 2, 3, 4])


def test_a_list_of_the_project_implies_attempts_too(settings: Any) -> None:
    """`OPERATOR["POLICY"]` is a level as any other."""
    settings.OPERATOR = {"POLICY": {"backoff": [1, 2, 3, 4, 5]}}
    assert resolve().max_attempts == 6
    assert resolve(Policy(max_attempts=2)).max_attempts == 2


def test_a_nearer_number_wins_over_a_farther_list() -> None:
    """The class's own `max_attempts` stands, whatever list its base has."""
    assert resolve(Policy(max_attempts=2), Policy(backoff=[1, 2, 3])).max_attempts == 2


def test_a_backoff_without_a_list_implies_nothing() -> None:
    """A formula has no length, so the next level is asked."""
    assert resolve(Policy(backoff=Backoff.fixed(1))).max_attempts == BUILT_IN.max_attempts
    assert resolve(Policy(backoff=seconds), Policy(max_attempts=7)).max_attempts == 7


def test_kinds_inherit_options_one_by_one() -> None:
    """A kind's policy adds to those of its bases, abstract ones and proxies included."""
    assert Report.resolved_policy().priority == 1
    assert Report.resolved_policy().queue == "reports"
    assert Report.resolved_policy().max_attempts == 7
    assert QuickNote.resolved_policy().priority == 5
    assert QuickNote.resolved_policy().queue == "notes"
    assert LongNote.resolved_policy() == Note.resolved_policy()
    assert Operation.resolved_policy() == BUILT_IN


def test_the_policy_of_a_kind_follows_the_settings(settings: Any) -> None:
    """Overridden project defaults reach kinds that were resolved before."""
    before = Note.resolved_policy()
    settings.OPERATOR = {"POLICY": {"priority": 77, "queue": "project"}}
    assert (Note.resolved_policy().priority, Note.resolved_policy().queue) == (77, "notes")
    settings.OPERATOR = {}
    assert Note.resolved_policy() == before


def test_an_unknown_option_of_the_project_is_named_with_what_was_meant() -> None:
    """A typo in `OPERATOR["POLICY"]` gets a "did you mean"."""
    with pytest.raises(TypeError, match=r"no option 'max_atempts'; did you mean 'max_attempts'\?"):
        project_policy({"max_atempts": 3})
    with pytest.raises(TypeError, match=r"no option 'colour' \(known: queue, "):
        project_policy({"colour": "red"})


def test_a_bad_option_of_the_project_is_refused_where_it_is_used(settings: Any) -> None:
    """No policy is resolved from bad defaults."""
    settings.OPERATOR = {"POLICY": {"max_attempts": 0}}
    with pytest.raises(ValueError, match="max_attempts must be a whole number >= 1"):
        resolve()


@pytest.mark.parametrize(
    ("error", "worth_it"),
    [
        (ConnectionError(), True),
        (OSError(), True),
        (FileNotFoundError(), False),
        (Fatal(), False),
        (ValueError(), False),
        (SystemExit(), False),
    ],
)
def test_which_errors_are_worth_another_attempt(error: BaseException, worth_it: bool) -> None:
    """An error is retried if it is of `retry_on`, and not of `give_up_on`, subclasses included."""
    policy = resolve(Policy(retry_on=[OSError, Fatal], give_up_on=[FileNotFoundError, Fatal]))
    assert policy.retries(error) is worth_it


def test_by_default_every_error_is_worth_another_attempt() -> None:
    """SystemExit and friends are ordinary errors."""
    for error in (ValueError(), SystemExit(), GeneratorExit()):
        assert resolve().retries(error) is True


def test_max_attempts_counts_all_runs() -> None:
    """With three attempts, the third failure is the last."""
    policy = resolve(Policy(max_attempts=3, backoff=[1, 2]))
    assert [policy.next_delay(ValueError(), None, n) for n in (1, 2, 3, 4)] == [1, 2, None, None]


def test_one_attempt_means_no_retry() -> None:
    """`max_attempts=1` fails at the first error."""
    assert resolve(Policy(max_attempts=1)).next_delay(ValueError(), None, 1) is None


def test_a_backoff_callable_gets_the_error_and_the_operation() -> None:
    """It can decide by both, and returns seconds or None."""
    seen = []

    def backoff(error: BaseException, operation: Any) -> float | None:
        seen.append((error, operation))
        return operation

    error = ValueError()
    policy = resolve(Policy(backoff=backoff, max_attempts=9))
    assert policy.next_delay(error, 17, 1) == 17
    assert policy.next_delay(error, None, 1) is None
    assert seen == [(error, 17), (error, None)]


def test_a_backoff_callable_is_not_asked_after_the_last_attempt() -> None:
    """There is nothing to decide any more."""

    def backoff(error: BaseException, operation: Any) -> float:
        raise AssertionError("asked")

    assert resolve(Policy(backoff=backoff, max_attempts=2)).next_delay(OSError(), None, 2) is None


@pytest.mark.parametrize("garbage", ["5", -1, float("nan"), float("inf"), True, object(), [5]])
def test_a_backoff_callable_that_returns_garbage_is_a_type_error(garbage: Any) -> None:
    """What is no number of seconds is refused, and named."""
    policy = resolve(Policy(backoff=lambda error, operation: garbage))
    with pytest.raises(TypeError, match="returns seconds >= 0 or None"):
        policy.next_delay(ValueError(), None, 1)
