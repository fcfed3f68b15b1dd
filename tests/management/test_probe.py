"""`manage.py operator --check`."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from operator_app import clock
from operator_app.models import OperatorProcess
from tests.kinds.models import Note

pytestmark = pytest.mark.django_db


def check() -> str:
    out = StringIO()
    call_command("operator", "--check", stdout=out)
    return out.getvalue().strip()


def test_nobody_lives() -> None:
    with pytest.raises(CommandError, match=r"No operator lives\."):
        check()


def test_one_lives(operator: OperatorProcess) -> None:
    """It runs nothing, either."""
    assert check() == "1 operator lives, nothing is due."
    note = Note.dispatch()
    assert check().startswith("1 operator lives, 0")
    note.refresh_from_db()
    assert note.state == "due"


def test_late(operator: OperatorProcess, settings: Any) -> None:
    settings.OPERATOR = settings.OPERATOR | {"LATE": 60}
    Note.schedule(clock.now() - timedelta(minutes=5))
    with pytest.raises(CommandError, match="has been due for 5 min; the limit is 60 s"):
        check()
