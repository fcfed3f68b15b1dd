"""`manage.py operations doctor`: what is found, for people and for programs, and its exit code."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from operator_app import doctor
from operator_app.doctor import Finding
from operator_app.management import diagnosis
from operator_app.models import OperatorProcess
from tests.databases import ROOT
from tests.kinds.models import Sweep
from tests.models.tools import HOUR
from tests.once import once

pytestmark = pytest.mark.django_db

# Others use the servers as well, and their transactions are none of these tests' business.
PATIENT = ("--older-than", "86400")


@pytest.fixture(autouse=True)
def _none_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that other tests have rolled back are none of these tests' business either."""
    monkeypatch.setattr("operator_app.doctor.postgresql.MANY_DEAD", 10**9)


def examined(*arguments: str) -> tuple[str, int]:
    """What it writes, and its exit code."""
    out = StringIO()
    try:
        call_command("operations", "doctor", *arguments, stdout=out)
    except SystemExit as end:
        return out.getvalue(), int(end.code or 0)
    return out.getvalue(), 0


def test_a_system_that_is_well(operator: OperatorProcess) -> None:
    """Says so, with work for later and a living operator."""
    Sweep.schedule(HOUR)
    assert examined(*PATIENT) == ("Nothing is wrong.\n", 0)


def test_a_problem() -> None:
    """Exit code 1; each finding with its id, what is wrong and what to do."""
    operation = Sweep.dispatch()
    text, code = examined(*PATIENT)
    assert code == 1
    assert "problem doctor.no_operator\n" in text
    assert str(operation) in text and "-> Start `manage.py operator`" in text
    assert text.endswith("1 problem.\n")
    assert "\x1b" not in text


def test_for_programs() -> None:
    """The same as JSON."""
    Sweep.dispatch()
    text, code = examined("--json", *PATIENT)
    said = json.loads(text)
    assert code == 1
    assert said["database"] == "default" and said["healthy"] is False
    [finding] = said["findings"]
    assert finding["id"] == "doctor.no_operator" and finding["severity"] == "problem"
    assert set(finding) == {"id", "severity", "message", "hint"}


def test_for_programs_when_all_is_well() -> None:
    """Nothing found is an answer, too."""
    text, code = examined("--json", *PATIENT)
    assert (json.loads(text), code) == (
        {"database": "default", "healthy": True, "findings": []},
        0,
    )


@once
def test_warnings_are_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 0, and nothing in a statement is taken for markup."""
    found = [
        Finding("doctor.late", "warning", "SELECT '[red]' :smile:", "Wait."),
        Finding("doctor.clock", "note", "Late.", "Wait."),
        Finding("doctor.clock", "note", "Early.", "Wait."),
    ]
    monkeypatch.setattr(diagnosis, "examine", lambda *args, **options: found)
    text, code = examined()
    assert code == 0
    assert "  SELECT '[red]' :smile:\n  -> Wait.\n\n" in text
    assert text.endswith("No problem: 1 warning, 2 notes.\n")


@once
def test_the_worst_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds it."""
    warning = Finding("doctor.no_wal", "warning", "", "")
    monkeypatch.setattr(doctor.due, "due_operations", lambda *args: iter([warning]))
    problem = Finding("doctor.stuck", "problem", "", "")
    monkeypatch.setattr(doctor.operations, "stuck_operations", lambda *args: iter([problem]))
    assert doctor.examine("default") == [problem, warning]


@once
@pytest.mark.parametrize(
    "arguments",
    [["--database", "nowhere", "doctor"], ["doctor", "--database", "nowhere"]],
)
def test_a_database_that_there_is_not(arguments: list[str]) -> None:
    """The alias may be named on either side of the verb."""
    with pytest.raises(CommandError, match="There is no database 'nowhere'"):
        call_command("operations", *arguments)


@once
@pytest.mark.parametrize("text", ["-1", "soon", "inf"])
def test_a_bad_number_of_seconds(text: str) -> None:
    """Refused."""
    with pytest.raises(CommandError, match="a number of seconds, at least 0"):
        call_command("operations", "doctor", f"--older-than={text}")


@once
def test_every_finding_is_documented() -> None:
    """In the docstring of the package and in the reference, each once, with its severities."""
    source = "".join(path.read_text() for path in (ROOT / "operator_app/doctor").glob("*.py"))
    given: dict[str, set[Any]] = {}
    for name, severity in re.findall(r'"(doctor\.\w+)",\s+"(\w+)",', source):
        given.setdefault(name, set()).add(severity)
    rows = re.compile(r"^\| `(doctor\.\w+)` \| ([a-z, ]+) \|", re.MULTILINE)
    for text in (doctor.__doc__ or "", (ROOT / "docs/reference/commands.md").read_text()):
        listed = rows.findall(text)
        assert len(listed) == len(given)
        assert {name: set(severities.split(", ")) for name, severities in listed} == given
