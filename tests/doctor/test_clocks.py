"""The clocks of this host and of the database."""

from __future__ import annotations

import time

import pytest
from django.db import connection

from operator_app import clock
from operator_app.doctor.clocks import clocks_apart
from tests.doctor.tools import only

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_measurements", {})


@pytest.mark.parametrize(
    ("ahead", "words"), [(90.0, "is 90 s ahead of"), (-90.0, "is 90 s behind that of this host")]
)
def test_clocks_that_differ(monkeypatch: pytest.MonkeyPatch, ahead: float, words: str) -> None:
    """A note that says by how much, and that operators do not mind."""
    monkeypatch.setattr(clock, "_epoch", lambda connection: round(time.time()) + ahead)
    finding = only(clocks_apart("default"))
    assert (finding.id, finding.severity) == ("doctor.clock", "note")
    assert words in finding.message and "Operators do not mind" in finding.message


def test_clocks_that_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is no matter."""
    monkeypatch.setattr(clock, "_epoch", lambda connection: time.time() + 1)
    assert list(clocks_apart("default")) == []


@pytest.mark.skipif(connection.vendor == "sqlite", reason="its time is the host's")
def test_the_database_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference is that of the real clock of the server, here to a host that is wrong."""
    real = time.time
    monkeypatch.setattr(clock.time, "time", lambda: real() - 3600)
    assert "is 60 min ahead of" in only(clocks_apart("default")).message
