"""`manage.py operator`: what it refuses, and how it says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import Error, Tags, register
from django.core.checks.registry import registry
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError

from operator_app.management.commands import operator as module
from operator_app.management.commands.operator import Command
from operator_app.models import OperatorProcess
from operator_app.process import Operator
from tests.once import once
from tests.processes import OperatorUnderTest

Start = Callable[..., OperatorUnderTest]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--threads", "0"], "--threads: a whole number of at least 1, not '0'"),
        (["--threads", "-2"], "--threads"),
        (["--threads", "1.5"], "--threads: a whole number of at least 1, not '1.5'"),
        (["--threads", "many"], "--threads: a whole number of at least 1, not 'many'"),
        (["--queue", ""], "--queue"),
        (["--queue", "x" * 300], "--queue"),
        (["--grace", "-1"], "--grace: a number of seconds, at least 0, not '-1'"),
        (["--grace", "nan"], "--grace: a number of seconds, at least 0, not 'nan'"),
        (["--grace", "inf"], "--grace: a number of seconds, at least 0, not 'inf'"),
        (["--grace", "soon"], "--grace: a number of seconds, at least 0, not 'soon'"),
        (["--processes", "0"], "--processes: a whole number of at least 1, not '0'"),
        (["--processes", "2", "--once"], "it does not go with --once"),
        (["--max-operations", "0"], "--max-operations: a whole number of at least 1, not '0'"),
        (["--max-seconds", "-1"], "--max-seconds: a number of seconds, at least 0, not '-1'"),
        (["--max-rss", "0"], "--max-rss: a number of MiB, at least 1, not '0'"),
        (["--max-rss", "2G"], "--max-rss: a number of MiB, at least 1, not '2G'"),
        (["--max-rss", "inf"], "--max-rss: a number of MiB, at least 1, not 'inf'"),
        (["--database", "other"], "There is no database 'other' (known: default)."),
        (["surplus"], "surplus"),
        (["--sometimes"], "--sometimes"),
    ],
    ids=lambda each: " ".join(each)[:20] if isinstance(each, list) else "",
)
def test_a_bad_argument_is_refused(arguments: list[str], sentence: str) -> None:
    """A bad argument is refused in a sentence that names it, before any database is asked."""
    with pytest.raises(CommandError) as refusal:
        call_command("operator", *arguments)
    text = str(refusal.value)
    assert sentence in text
    assert len(text) < 500 and "\n" not in text


class TestChildren:
    """What a parent starts its children with."""

    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """The command lines of one child of each parent, without program and script."""
        commands: list[list[str]] = []

        class Parent:
            def __init__(self, count: int, *, command: list[str], **options: Any) -> None:
                commands.append(command[command.index("operator") + 1 :])

            def run(self) -> int:
                return 0

        monkeypatch.setattr(module, "Supervisor", Parent)
        monkeypatch.setattr(sys, "argv", ["manage.py", "work", "--hard"])
        return commands

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"queues": ["mail", "-odd"], "threads": 3, "grace": 1.5, "verbosity": 0},
            {"max_operations": 5, "max_seconds": 60.0, "max_rss": 200.0, "traceback": True},
            {"pythonpath": "/somewhere", "no_color": True},
        ],
    )
    def test_what_the_parent_was_asked_for(
        self, started: list[list[str]], options: dict[str, Any]
    ) -> None:
        """And not what the process was started with, which may be for another command."""
        with pytest.raises(SystemExit):
            call_command("operator", processes=2, **options)
        parser = Command().create_parser("manage.py", "operator")
        expected = vars(parser.parse_args([])) | options
        (given,) = started
        assert vars(parser.parse_args(given)) == expected

    @pytest.mark.django_db
    def test_options_as_they_are_typed(self, started: list[list[str]]) -> None:
        with pytest.raises(SystemExit):
            call_command("operator", "--processes=2", "--queue", "a", "--queue", "b", "--grace=5")
        assert started == [["--queue=a", "--queue=b", "--grace=5.0"]]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--threads", "0"], 2, "error: argument --threads: a whole number of at least 1, not '0'"),
        (
            ["--database", "other"],
            1,
            "CommandError: There is no database 'other' (known: default).",
        ),
    ],
)
def test_the_exit_code_of_a_refusal(
    start_operator: Start, arguments: list[str], code: int, sentence: str
) -> None:
    """A refused command ends with an exit code of its own, its last line being the sentence."""
    operator = start_operator(*arguments)
    assert operator.wait() == code
    assert operator.stderr.strip().splitlines()[-1].endswith(sentence)
    assert "Traceback" not in operator.log
    assert operator.stdout == ""
    assert OperatorProcess.objects.count() == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"THREAD": 3}, ["'THREAD'", "'THREADS'"]),
        ({"THREADS": 0}, ["THREADS", "at least 1"]),
        ({"GRACE": "long"}, ["GRACE", "'long'"]),
        ({"POLL_INTERVAL": 0}, ["POLL_INTERVAL", "seconds"]),
        ({"HEARTBEAT": {"interval": 20}}, ["HEARTBEAT", "three times"]),
        ({"POLICY": {"max_attempt": 3}}, ["POLICY", "'max_attempt'"]),
        ({"POLICY": {"queue": ""}}, ["queue"]),
        ([], ["OPERATOR must be a dict"]),
    ],
    ids=lambda each: json.dumps(each)[:30] if isinstance(each, dict) else "",
)
def test_bad_settings_are_refused(start_operator: Start, settings: Any, words: list[str]) -> None:
    """A mistake in OPERATOR ends the command with an error that names it, and no traceback."""
    settings = json.dumps(settings) if settings != [] else "[]"
    operator = start_operator("--once", env={"OPERATOR_TEST_SETTINGS": settings})
    assert operator.wait() == 1, operator.log
    for word in words:
        assert word in operator.stderr, operator.log
    assert "Traceback" not in operator.log
    assert OperatorProcess.objects.count() == 0


# The system checks that the command runs may ask the database.
# Arguments and exit codes.
pytestmark = [pytest.mark.django_db, once]


class Given:
    """Stands in for `Operator`: notes how it was made."""

    ran = 0
    exit_code = 0

    def __init__(self, **options: Any) -> None:
        self.made.append(options)

    made: list[dict[str, Any]] = []

    def run(self) -> int:
        return self.ran


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> type[Given]:
    given = type("Fresh", (Given,), {"made": []})
    monkeypatch.setattr("operator_app.management.commands.operator.Operator", given)
    return given


def test_not_in_a_child_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without a guard is run again by each child that imports it: no operator there."""
    monkeypatch.setattr("multiprocessing.parent_process", lambda: object())
    with pytest.raises(CommandError, match="__main__"):
        call_command("operator", "--once")


def test_arguments_reach_the_operator(given: type[Given]) -> None:
    """The command is a doorway: each argument arrives as it was given."""
    call_command("operator", "--once", "--queue", "a", "--queue", "b", "--threads", "3")
    call_command("operator", "--grace", "0.5", "--database", "default")
    limits = [made.pop("limits") for made in given.made]
    assert {(each.operations, each.seconds, each.rss) for each in limits} == {(None, None, None)}
    assert [made.pop("identity") for made in given.made] == [None, None]
    # Others go on in this process, with their own signals.
    assert [made.pop("ends_process") for made in given.made] == [False, False]
    assert given.made == [
        {"database": "default", "queues": ["a", "b"], "threads": 3, "grace": None, "once": True},
        {"database": "default", "queues": [], "threads": None, "grace": 0.5, "once": False},
    ]


def test_limits_reach_the_operator(given: type[Given]) -> None:
    """After how much it leaves by itself arrives as numbers."""
    call_command("operator", "--max-operations", "7", "--max-seconds", "1.5", "--max-rss", "300")
    (made,) = given.made
    limits = made["limits"]
    assert (limits.operations, limits.seconds, limits.rss) == (7, 1.5, 300)


@pytest.mark.parametrize(
    ("arguments", "ran", "text"),
    [(["--once"], 0, "Nothing is due.\n"), (["--once"], 3, "3 run.\n"), ([], 3, "")],
)
def test_what_it_says_at_the_end(
    given: type[Given],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    ran: int,
    text: str,
) -> None:
    """With --once it says how many it ran, or that nothing is due; without, nothing."""
    given.ran = ran
    call_command("operator", *arguments)
    assert capsys.readouterr().out == text


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """--help explains each option."""
    with pytest.raises(SystemExit) as end:
        call_command("operator", "--help")
    assert end.value.code in {0, None}
    text = capsys.readouterr().out
    for option in ("--once", "--queue NAME", "--threads N", "--grace S", "--database ALIAS"):
        assert option in text
    for option in ("--processes N", "--max-operations N", "--max-seconds S", "--max-rss MIB"):
        assert option in text
    assert "--supervised" not in text, "between a parent and its children only"


def test_an_operator_refuses_bad_settings_before_it_starts_anything(settings: Any) -> None:
    """Operator(...) raises for a mistake in OPERATOR; no thread has been started by then."""
    import threading

    from django.core.exceptions import ImproperlyConfigured

    before = threading.active_count()
    settings.OPERATOR = {"THREADS": "many"}
    with pytest.raises(ImproperlyConfigured, match="THREADS"):
        Operator()
    assert threading.active_count() == before


@pytest.mark.parametrize(("tag", "refused"), [(Tags.models, True), (Tags.urls, False)])
def test_what_only_a_web_server_serves_is_not_checked(
    given: type[Given], tag: str, refused: bool
) -> None:
    """A mistake in a view is no reason to run nothing; one in a model is."""

    def check(**_options: object) -> list[Error]:
        return [Error("It is wrong.")]

    register(check, tag)
    try:
        if refused:
            with pytest.raises(SystemCheckError, match="It is wrong"):
                call_command("operator", "--once")
        else:
            call_command("operator", "--once")
    finally:
        registry.registered_checks.remove(check)
    assert bool(given.made) is not refused
