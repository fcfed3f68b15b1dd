"""Policies in words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import Backoff, CircuitBreaker, Policy
from operator_app.admin.policy_words import clauses, in_short
from tests.kinds.models import Note
from tests.once import once

pytestmark = once


def words(monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, str]:
    monkeypatch.setattr(Note, "policy", Policy(**options))
    return {clause.title: clause.words for clause in clauses(Note)}


def wait_a_little(error: BaseException, operation: Any) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("options", "title", "said"),
    [
        ({"queue": "mail"}, "Queue", "mail"),
        ({"max_attempts": 1}, "Attempts", "1 attempt"),
        ({"max_attempts": 1}, "Between attempts", "there is one only"),
        ({"backoff": [1, 5]}, "Between attempts", "1 s, 5 s"),
        ({"backoff": Backoff.fixed(30)}, "Between attempts", "30 s"),
        ({"backoff": wait_a_little}, "Between attempts", "as wait_a_little() says"),
        (
            {"backoff": Backoff.exponential(10, cap=600)},
            "Between attempts",
            "10 s, then 2 times as long each time, up to 10 min",
        ),
        ({"retry_on": [OSError]}, "Worth another attempt", "OSError"),
        ({"give_up_on": [KeyError]}, "Worth another attempt", "any error, but for KeyError"),
        ({"timeout": 30}, "Timeout", "30 s"),
        ({}, "Timeout", "none"),
        ({"on_stuck": "fail"}, "If its operator dies", "it has failed"),
        ({"max_crashes": 1}, "If its operator dies", "it runs again; after 1 crash it has failed"),
        ({"max_stops": 2}, "If it stops", "it is tried again after 60 s, 2 times at most"),
        ({"expires_after": 90}, "Expires", "cancelled unless it begins within 90 s"),
        ({"unique": str}, "Unique", "yes, by a key"),
        ({"atomic": True}, "Atomic", "yes: what it writes and its success are one transaction"),
        (
            {"circuit_breaker": CircuitBreaker(failures=2, on=[OSError])},
            "Circuit breaker",
            "opens after 2 failures within 60 s (OSError); one is tried after 60 s",
        ),
        (
            {"retention": {"finished": timedelta(hours=5), "failed": None, "cancelled": 60}},
            "Deleted",
            "finished after 5 h, cancelled after 60 s",
        ),
        ({"keep_jobs": "all"}, "Attempts kept", "all"),
    ],
)
def test_each_option(
    options: dict[str, Any], title: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert words(monkeypatch, **options)[title] == said


def test_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Note, "policy", Policy(queue="mail", timeout=30, max_attempts=1))
    assert in_short(Note) == "mail, 1 attempt, 30 s at most"
