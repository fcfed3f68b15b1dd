"""How long ended operations are kept, as a value."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from operator_app import Policy, conf
from operator_app.retention import DEFAULTS, problems, seconds_of
from tests.once import once

pytestmark = once

GOOD = {"finished": 60, "failed": timedelta(days=1), "cancelled": None}


def test_what_is_good() -> None:
    assert list(problems("x", GOOD)) == []
    assert seconds_of(GOOD) == {"finished": 60.0, "failed": 86_400.0}


def test_what_holds_where_nothing_is_said() -> None:
    """What is named replaces its default, also with None; None in place of all keeps everything."""
    days = {"finished": 7, "failed": 90, "cancelled": 7, "attempts": 90, "slots": 7}
    assert {name: 86_400 * number for name, number in days.items()} == DEFAULTS
    for given, holds in [
        ({}, DEFAULTS),
        ({"RETENTION": {}}, DEFAULTS),
        ({"RETENTION": {"failed": 5, "slots": None}}, {**DEFAULTS, "failed": 5, "slots": None}),
        ({"RETENTION": None}, {}),
    ]:
        with override_settings(OPERATOR=given):
            assert list(conf.problems(given)) == []
            assert holds == conf.get().RETENTION
    assert "slots" not in seconds_of({"slots": None})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (60, "must be a dict of ages"),
        ({"done": 60}, "has no state 'done' (known: finished, failed, cancelled, attempts, slots)"),
        ({"finished": -1}, "['finished'] must be a number of seconds"),
        ({"finished": "1d"}, "['finished'] must be a number of seconds"),
        ({"finished": True}, "['finished'] must be a number of seconds"),
        ({"finished": float("nan")}, "['finished'] must be a number of seconds"),
        ({"finished": timedelta(days=-1)}, "['finished'] must be a number of seconds"),
    ],
)
def test_what_is_wrong(value: Any, problem: str) -> None:
    (said,) = problems("x", value)
    assert problem in said
    assert [said.replace("x", "OPERATOR['RETENTION']", 1)] == list(
        conf.problems({"RETENTION": value})
    )
    with pytest.raises(ValueError, match=r"Policy\.retention"):
        Policy(retention=value)
