"""What errors of one sort have in common, and what tells two sorts apart."""

from __future__ import annotations

import statistics
import textwrap
import types
from collections.abc import Callable
from typing import Any

import pytest

from operator_app.exceptions import OperationTimedOut
from operator_app.fingerprint import LENGTH, fingerprint
from operator_app.reports import ErrorReport
from tests.once import once

pytestmark = once

Call = Callable[[], object]


def error_of(call: Call) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        call()
    return caught.value.with_traceback(caught.value.__traceback__.tb_next)  # type: ignore[union-attr]


def module(source: str, name: str = "shop.mail", path: str = "/srv/shop/mail.py") -> Any:
    """Return a module with this source, as if it had been imported from a file."""
    made = types.ModuleType(name)
    exec(compile(textwrap.dedent(source), path, "exec"), made.__dict__)
    return made


MAIL = """
    def send(to):
        connect(to)

    def connect(to):
        raise OSError(f"no route to {to}")

    def close(to):
        connect(to)
"""


def test_what_it_says_and_where_the_line_is_do_not_matter() -> None:
    old, new = module(MAIL), module("import os\n\n\n" + textwrap.dedent(MAIL))
    one = fingerprint(error_of(lambda: old.send("ann")))
    assert len(one) == LENGTH and int(one, 16)
    assert fingerprint(error_of(lambda: new.send("ben"))) == one


@pytest.mark.parametrize(
    "other",
    [
        lambda: module(MAIL).close("ann"),
        lambda: module(MAIL).connect("ann"),
        lambda: module(MAIL.replace("OSError", "ValueError")).send("ann"),
        lambda: module(MAIL, name="shop.post").send("ann"),
    ],
    ids=["another way", "a shorter way", "another class", "another module"],
)
def test_another_way_or_class_is_another_sort(other: Call) -> None:
    here = error_of(lambda: module(MAIL).send("ann"))
    assert fingerprint(error_of(other)) != fingerprint(here)


def test_libraries_do_not_count_where_there_is_other_code() -> None:
    path = "/srv/venv/lib/python3.12/site-packages/client/core.py"
    old = module("def get(call):\n    call()", "client", path)
    new = module("def get(call):\n    _get(call)\n\ndef _get(call):\n    call()", "client", path)
    mail = module(MAIL)
    ways = [lambda lib=lib: lib.get(lambda: mail.send("ann")) for lib in (old, new)]  # type: ignore[misc]
    assert len({fingerprint(error_of(way)) for way in ways}) == 1


def test_libraries_count_where_there_is_nothing_else() -> None:
    def in_library(call: Call) -> BaseException:
        error = error_of(call)
        while error.__traceback__ and error.__traceback__.tb_frame.f_code.co_filename == __file__:
            error.__traceback__ = error.__traceback__.tb_next
        return error

    mean, median = (in_library(lambda f=f: f([])) for f in (statistics.mean, statistics.median))  # type: ignore[misc]
    assert type(mean) is type(median)
    assert fingerprint(mean) == fingerprint(in_library(lambda: statistics.mean(())))
    assert fingerprint(mean) != fingerprint(median)


def test_how_deep_a_recursion_was_does_not_matter() -> None:
    deep = module(
        """
        def even(n):
            odd(n - 1) if n else 1 / 0

        def odd(n):
            even(n - 1)
        """
    )
    assert len({fingerprint(error_of(lambda n=n: deep.even(n))) for n in (4, 40)}) == 1  # type: ignore[misc]


def test_the_cause_counts() -> None:
    def timed_out(cause: BaseException) -> BaseException:
        error = OperationTimedOut("ran 5 s, timeout 4 s")
        error.__cause__ = cause
        return error

    mail = module(MAIL)
    send, close = (error_of(lambda way=way: way("ann")) for way in (mail.send, mail.close))  # type: ignore[misc]
    assert fingerprint(timed_out(send)) != fingerprint(timed_out(close))
    assert fingerprint(timed_out(send)) == fingerprint(timed_out(error_of(lambda: mail.send("b"))))
    send.__cause__ = send
    assert fingerprint(send)


def test_the_members_of_a_group_count() -> None:
    class Group(Exception):
        def __init__(self, *members: BaseException) -> None:
            self.exceptions = members

    assert fingerprint(Group(ValueError("a"))) == fingerprint(Group(ValueError("b")))
    assert fingerprint(Group(ValueError())) != fingerprint(Group(KeyError()))
    strange = Group()
    strange.exceptions = 17  # type: ignore[assignment]
    assert fingerprint(strange)


def test_an_error_that_cannot_be_looked_at_has_none() -> None:
    class Evil(Exception):
        @property
        def exceptions(self) -> Any:
            raise RuntimeError("no")

    assert fingerprint(Evil()) == ""


def test_a_report_has_it() -> None:
    error = error_of(lambda: module(MAIL).send("ann"))
    assert ErrorReport.of(error).fingerprint == fingerprint(error) != ""
