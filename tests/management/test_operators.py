"""`manage.py operations drain` and `stop`."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from operator_app import clock
from operator_app.models import OperatorProcess
from operator_app.models.process import DRAIN, STOP
from tests.models.tools import Make
from tests.once import once

pytestmark = [pytest.mark.django_db, once]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("operations", *arguments, stdout=out)
    return out.getvalue().strip()


def test_drain_and_undo(operator: OperatorProcess) -> None:
    assert run("drain", str(operator)).startswith(f"{operator} claims nothing more")
    operator.refresh_from_db()
    assert operator.asked == DRAIN and operator.asked_by
    assert run("drain", "--undo", str(operator)) == f"{operator} goes on."
    operator.refresh_from_db()
    assert operator.asked == ""


def test_stop(operator: OperatorProcess, make_operator: Make) -> None:
    other = make_operator(pid=2)
    said = run("stop", str(operator), str(other))
    assert said.splitlines() == [
        f"{each} is to leave within its grace." for each in ("host:1", other)
    ]
    assert OperatorProcess.objects.filter(asked=STOP).count() == 2


def test_a_lost_one_is_refused_and_the_others_are_asked(
    operator: OperatorProcess, make_operator: Make
) -> None:
    lost = make_operator(pid=2, lost_at=clock.now())
    with pytest.raises(CommandError, match="host:2 is lost: it gives no sign of life"):
        run("drain", str(lost), str(operator))
    operator.refresh_from_db()
    lost.refresh_from_db()
    assert (operator.asked, lost.asked) == (DRAIN, "")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["drain", "host"], "An operator is named as HOST:PID, not 'host'"),
        (["stop", ":1"], "named as HOST:PID"),
        (["stop", "host:99"], "There is no operator host:99"),
        (["drain", "--undo", "host:1"], "host:1 does not drain"),
    ],
)
def test_refusals(arguments: list[str], problem: str, operator: OperatorProcess) -> None:
    with pytest.raises(CommandError, match=problem):
        run(*arguments)


def test_who_asked_before_is_told(operator: OperatorProcess) -> None:
    OperatorProcess.objects.stop(by="ann")
    for verb in ("stop", "drain"):
        with pytest.raises(CommandError, match="host:1 was asked to stop by ann before"):
            run(verb, "host:1")
