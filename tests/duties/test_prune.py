"""The duty that deletes old operations."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from operator_app.duties import Prune
from operator_app.duties import prune as prune_module
from operator_app.models import Operation, pruning
from tests.models.test_pruning import DAY, ended

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def duty() -> Prune:
    return Prune("default")


def test_without_a_retention_it_does_nothing(duty: Prune, django_assert_num_queries: Any) -> None:
    ended()
    with django_assert_num_queries(1):
        assert duty.run() >= 0.9 * prune_module.EVERY
    assert Operation.all_objects.count() == 1


def test_it_goes_step_by_step_and_rests(
    duty: Prune, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OPERATOR = settings.OPERATOR | {"RETENTION": {"finished": DAY}}
    monkeypatch.setattr(pruning, "WINDOW", 2)
    for _ in range(5):
        ended()
    with caplog.at_level(logging.INFO, "operator_app"):
        delays = [duty.run() for _ in range(3)]
    assert delays[:2] == [prune_module.STEP] * 2 and delays[2] >= 0.9 * prune_module.EVERY
    assert not Operation.all_objects.exists()
    assert caplog.messages == ["Old operations were deleted: 5 finished."]
    ended()
    assert duty.run() >= 0.9 * prune_module.EVERY
    assert not Operation.all_objects.exists()
