"""Error reports: strings that any database can hold, from errors of any kind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operator_app.exceptions import OperationStopped
from operator_app.reports import (
    MESSAGE_LIMIT,
    TRACEBACK_LIMIT,
    ErrorReport,
    shortened,
    storable,
)
from tests.once import once

pytestmark = once


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


class Outer:
    class Inner(Exception):
        """An exception inside a class."""


class Mute(Exception):
    """An error whose `__str__` raises what it is given."""

    def __init__(self, thrown: BaseException) -> None:
        self.thrown = thrown

    def __str__(self) -> str:
        raise self.thrown


def test_a_report_names_class_message_and_place() -> None:
    """The dotted path of the class, the message, and a traceback that leads to the line."""
    report = ErrorReport.of(raised(Outer.Inner("too bad")))
    assert report.exception_class == f"{__name__}.Outer.Inner"
    assert report.message == "too bad"
    assert report.traceback.startswith("Traceback (most recent call last):")
    assert "raise error" in report.traceback
    assert str(report) == "Inner: too bad"


def test_built_in_errors_have_short_names() -> None:
    """`builtins.` says nothing."""
    assert ErrorReport.of(ZeroDivisionError()).exception_class == "ZeroDivisionError"
    assert str(ErrorReport.of(ZeroDivisionError())) == "ZeroDivisionError"


def test_the_cause_is_in_the_traceback() -> None:
    """What an error was raised from is told, too."""
    error = ValueError("outer")
    error.__cause__ = KeyError("inner")
    text = ErrorReport.of(raised(error)).traceback
    assert "inner" in text and "direct cause" in text


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("a\x00b", "a\\x00b"),
        ("a\ud800b", "a\\ud800b"),
        ("\udcff", "\\udcff"),
        ("naïve 🐍 ✓", "naïve 🐍 ✓"),
        ("", ""),
    ],
)
def test_what_no_database_takes_is_spelt_out(text: str, stored: str) -> None:
    """NUL and lone surrogates become their escapes; everything else stays."""
    assert storable(text) == stored
    assert ErrorReport.of(ValueError(text)).message == stored


def test_bad_characters_do_not_reach_the_traceback() -> None:
    """The message is in the traceback as well, and is cleaned there as well."""
    text = ErrorReport.of(raised(ValueError("a\x00b\ud800c"))).traceback
    assert "\x00" not in text
    text.encode("utf-8")


@pytest.mark.parametrize(
    "thrown",
    [ValueError(), RecursionError(), SystemExit(), GeneratorExit(), OperationStopped("later")],
)
def test_an_error_that_cannot_be_shown_is_reported_all_the_same(thrown: BaseException) -> None:
    """A `__str__` that raises, whatever it raises, costs the message and nothing else."""
    report = ErrorReport.of(raised(Mute(thrown)))
    assert report.exception_class.endswith("Mute")
    assert report.message == f"(its __str__ raised {type(thrown).__name__})"
    assert "Traceback" in report.traceback


def test_an_error_whose_str_is_no_string_is_reported() -> None:
    """`__str__` returning something else is an error of its own."""

    class Odd(Exception):
        __str__ = lambda self: 5  # noqa: E731  # type: ignore[assignment]

    assert ErrorReport.of(Odd()).message == "(its __str__ raised TypeError)"


def test_a_huge_message_is_cut_in_its_middle() -> None:
    """Both ends stay, and how much is missing is said."""
    message = ErrorReport.of(ValueError("start " + "x" * 10**6 + " end")).message
    assert len(message) <= MESSAGE_LIMIT
    assert message.startswith("start xxx") and message.endswith("xxx end")
    assert "characters cut" in message


def test_a_huge_traceback_is_cut_and_keeps_both_ends() -> None:
    """Where it began and what went wrong are both there."""
    text = ErrorReport.of(raised(ValueError("y" * 10**6 + " the end"))).traceback
    assert len(text) <= TRACEBACK_LIMIT
    assert text.startswith("Traceback (most recent call last):")
    assert text.rstrip().endswith("the end")


def test_endless_recursion_is_reported() -> None:
    """A RecursionError, a thousand frames deep, has a report that can be stored."""

    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as caught:
        deeper()
    report = ErrorReport.of(caught.value)
    assert report.exception_class == "RecursionError"
    assert "deeper()" in report.traceback
    assert len(report.traceback) <= TRACEBACK_LIMIT


def test_recursion_between_changing_functions_is_cut() -> None:
    """A deep traceback whose lines differ, which Python does not fold, is cut."""
    names = [f"step_{number}" for number in range(400)]
    source = "".join(
        f"def {name}():\n    {follower}()  # {'long ' * 40}\n"
        for name, follower in zip(names, [*names[1:], "missing"], strict=True)
    )
    space: dict[str, Any] = {}
    exec(source, space)
    with pytest.raises(NameError) as caught:
        space["step_0"]()
    report = ErrorReport.of(caught.value)
    assert len(report.traceback) <= TRACEBACK_LIMIT
    assert "missing" in report.message


@settings(deadline=None)
@given(st.text(alphabet=st.characters(), max_size=300), st.integers(1, 200))
def test_shortened_text_always_fits(text: str, limit: int) -> None:
    """The result is storable and never longer than asked for; short text is left alone."""
    short = shortened(text, limit)
    assert len(short) <= limit
    assert "\x00" not in short
    short.encode("utf-8")
    if len(storable(text)) <= limit:
        assert short == storable(text)
