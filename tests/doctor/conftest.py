"""Fixtures of the tests of the doctor: those of the models, and another session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import connection

from tests.models.conftest import gone_kind, make_operator, operator

__all__ = ["gone_kind", "make_operator", "operator"]


@pytest.fixture
def session(db: None) -> Iterator[Any]:
    """A connection of its own to the same database, in a transaction that it does not end."""
    with closing(connection.copy()) as other:
        other.set_autocommit(False)
        yield other
        other.rollback()
