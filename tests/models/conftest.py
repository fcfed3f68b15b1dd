"""Fixtures of the model tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.contenttypes.models import ContentType

from operator_app.models import OperatorProcess
from tests.kinds.models import Scripted
from tests.models.tools import Make, living_operator


@pytest.fixture
def make_operator() -> Make:
    """Insert the row of an operator that lives for a minute, or as the keywords say."""
    return living_operator


@pytest.fixture
def operator(db: None, make_operator: Make) -> OperatorProcess:
    """A living operator."""
    return make_operator()


@pytest.fixture(autouse=True)
def _forget() -> None:
    Scripted.forget()


@pytest.fixture
def gone_kind(db: None) -> Iterator[ContentType]:
    """The content type of a class that was deleted from the code."""
    yield ContentType.objects.create(app_label="kinds", model="deletedlongago")
    # Its id is given out again after the rollback, and Django remembers content types by id.
    ContentType.objects.clear_cache()


@pytest.fixture
def eager_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call of `progress()` write."""
    monkeypatch.setattr("operator_app.models.progress.INTERVAL", 0.0)
