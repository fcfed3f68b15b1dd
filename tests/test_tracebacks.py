"""Tracebacks that are read back: nothing is lost, calls are told from words, libraries from us."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operator_app.reports import shortened
from operator_app.tracebacks import Call, Words, library_of, parse, passages
from tests.once import once

pytestmark = once

GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/srv/shop/orders.py", line 7, in settle
  |     raise ExceptionGroup("both", [one, two])
  | ExceptionGroup: both (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/shop/orders.py", line 3, in pay
    |     raise ValueError("no money")
    | ValueError: no money
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "/usr/lib/python3.12/json/__init__.py", line 346, in loads
    |     return _default_decoder.decode(s)
    |            ^^^^^^^^^^^^^^^^^^^^^^^^^^
    | KeyError: 'x'
    +------------------------------------
"""
SYNTAX = """\
Traceback (most recent call last):
  File "/srv/shop/models.py", line 4, in run
    import broken
  File "/srv/shop/broken.py", line 1
    def
       ^
SyntaxError: invalid syntax
"""
SEVERAL_LINES = """\
Traceback (most recent call last):
  File "/srv/shop/models.py", line 4, in run
    pay(
    ~~~^
        self.order,
        ^^^^^^^^^^^
    )
    ^
  File "/srv/shop/pay.py", line 9, in pay
    return pay(order)
  [Previous line repeated 995 more times]
RecursionError: maximum recursion depth exceeded
"""
STACK = """\
As of 2026-11-28 15:00:00+00:00:
  File "/usr/lib/python3.12/threading.py", line 1030, in _bootstrap
    self._bootstrap_inner()
  File "/srv/shop/models.py", line 4, in run
    time.sleep(1)
"""


def calls(text: str) -> list[tuple[str, int, str]]:
    return [(each.path, each.line, each.name) for each in parse(text) if isinstance(each, Call)]


def whole(text: str) -> str:
    assert "".join(each.text for each in passages(text)) == text
    return "".join(each.text for each in parse(text))


def formatted(function: Callable[[], Any]) -> str:
    try:
        function()
    except BaseException as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError("it should have raised")


def test_what_python_writes() -> None:
    text = formatted(lambda: json.loads("{"))
    assert whole(text) == text
    found = calls(text)
    assert [name for _path, _line, name in found][:2] == ["formatted", "<lambda>"]
    assert found[0][0] == __file__
    libraries = [each.library for each in parse(text) if isinstance(each, Call)]
    assert libraries[:2] == ["", ""] and set(libraries[2:]) == {"json"}


def test_chained_exceptions() -> None:
    def chained() -> None:
        try:
            try:
                _ = {}["a"]
            except KeyError:
                _ = 1 / 0
        except ZeroDivisionError as error:
            raise ValueError("third") from error

    text = formatted(chained)
    assert whole(text) == text
    words = [each.text for each in parse(text) if isinstance(each, Words)]
    assert any(each.startswith("During handling") for each in words)
    assert any(each.startswith("The above exception") for each in words)
    assert [name for _path, _line, name in calls(text)].count("chained") == 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="has no exception groups")
def test_exception_groups_of_this_python() -> None:
    def several() -> None:
        raise ExceptionGroup("several", [ValueError("a"), TypeError("b")])  # noqa: F821

    text = formatted(several)
    assert whole(text) == text
    assert [name for _path, _line, name in calls(text)] == ["formatted", "several"]


def test_exception_groups() -> None:
    assert whole(GROUP) == GROUP
    assert [name for _path, _line, name in calls(GROUP)] == ["settle", "pay", "loads"]
    last = [each for each in parse(GROUP) if isinstance(each, Call)][-1]
    assert last.text.count("\n") == 3 and last.library == "json"


def test_syntax_errors() -> None:
    assert whole(SYNTAX) == SYNTAX
    assert calls(SYNTAX)[-1] == ("/srv/shop/broken.py", 1, "")
    assert parse(SYNTAX)[-1] == Words("SyntaxError: invalid syntax\n")


def test_source_of_several_lines_and_repeated_calls() -> None:
    assert whole(SEVERAL_LINES) == SEVERAL_LINES
    first, second = [each for each in parse(SEVERAL_LINES) if isinstance(each, Call)]
    assert first.text.count("\n") == 7
    assert second.text.endswith("995 more times]\n")


def test_a_stack() -> None:
    assert whole(STACK) == STACK
    heading, library, own = passages(STACK)
    assert (heading.is_stack, heading.text) == (False, "As of 2026-11-28 15:00:00+00:00:\n")
    assert (library.libraries, library.calls) == (("threading",), 1)
    assert (own.libraries, own.calls, own.is_stack) == ((), 1, True)


def test_calls_that_follow_each_other_are_one_passage() -> None:
    text = "".join(
        f'  File "{path}", line {number}, in f\n    f()\n'
        for number, path in enumerate(
            [
                "/srv/shop/models.py",
                "/venv/lib/python3.12/site-packages/django/db/models/query.py",
                "/venv/lib/python3.12/site-packages/django/db/models/sql.py",
                "/venv/lib/python3.12/site-packages/psycopg/cursor.py",
                "/srv/shop/models.py",
            ]
        )
    )
    found = [(each.libraries, each.calls) for each in passages(text)]
    assert found == [((), 1), (("django", "psycopg"), 3), ((), 1)]


@pytest.mark.parametrize("limit", [40, 120, 300])
def test_one_that_was_cut(limit: int) -> None:
    cut = shortened(GROUP * 3, limit)
    assert whole(cut) == cut


@given(st.text())
def test_nothing_is_lost(text: str) -> None:
    assert whole(text) == text


LINES = st.sampled_from([line for text in (GROUP, SYNTAX, STACK) for line in text.split("\n")])


@given(st.lists(LINES), st.sampled_from(["\n", "\r\n"]))
def test_nothing_is_lost_of_shuffled_tracebacks(lines: list[str], end: str) -> None:
    text = end.join(lines)
    assert whole(text) == text


def test_it_takes_no_long_time() -> None:
    # A pattern that goes back and forth would take years.
    text = '  File "' + '", line 1' * 7_000
    assert whole(text) == text


@pytest.mark.parametrize(
    ("path", "library"),
    [
        ("/srv/shop/models.py", ""),
        ("/srv/operator_app/shop/models.py", ""),
        ("C:\\shop\\models.py", ""),
        ("<string>", ""),
        ("/srv/shop/.venv/lib/python3.12/site-packages/django/http/request.py", "django"),
        ("/usr/lib/python3/dist-packages/six.py", "six"),
        ("/usr/lib/python3.12/json/decoder.py", "json"),
        ("/usr/lib64/python3.13t/threading.py", "threading"),
        ("/opt/uv/cpython-3.12/lib/python3.12/asyncio/base_events.py", "asyncio"),
        ("C:\\Python312\\Lib\\json\\decoder.py", "json"),
        ("C:\\shop\\.venv\\Lib\\site-packages\\django\\http.py", "django"),
        ("<frozen importlib._bootstrap>", "importlib._bootstrap"),
        ("/srv/src/operator_app/models/runs.py", "operator_app"),
        ("/srv/src/operator_app/child.py", "operator_app"),
        (json.__file__, "json"),
        (pytest.__file__, "pytest"),
    ],
)
def test_whose_code_it_is(path: str, library: str) -> None:
    assert library_of(path) == library
