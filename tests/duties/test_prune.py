"""The duty that deletes old operations."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from operator_app.duties import Prune
from operator_app.duties import prune as prune_module
from operator_app.models import Operation, pruning
from tests.models.test_attempt_pruning import going_on, left
from tests.models.test_pruning import DAY, FOR_EVER, ended

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def duty() -> Prune:
    return Prune("default")


def test_without_a_retention_it_does_nothing(
    duty: Prune, settings: Any, django_assert_num_queries: Any
) -> None:
    settings.OPERATOR = settings.OPERATOR | {"RETENTION": None}
    ended()
    with django_assert_num_queries(1):
        assert duty.run() >= 0.9 * prune_module.EVERY
    assert Operation.all_objects.count() == 1


def test_it_goes_step_by_step_and_rests(
    duty: Prune, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OPERATOR = settings.OPERATOR | {"RETENTION": FOR_EVER | {"finished": DAY}}
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


def test_old_attempts_go_after_the_operations(
    duty: Prune, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rules = FOR_EVER | {"finished": DAY, "attempts": DAY}
    settings.OPERATOR = settings.OPERATOR | {"RETENTION": rules}
    ended()
    operation = going_on()
    with caplog.at_level(logging.INFO, "operator_app"):
        assert duty.run() == prune_module.STEP
        assert duty.run() >= 0.9 * prune_module.EVERY
    assert left(operation) == [3, 4]
    assert caplog.messages == ["Old operations were deleted: 2 attempts, 1 finished."]


def test_what_a_project_says_nothing_of_goes_after_a_week(
    duty: Prune, caplog: pytest.LogCaptureFixture
) -> None:
    """Failed ones after a quarter of a year; then attempts, then slots."""
    for days in (6, 8):
        for column in ("finished_run_at", "cancelled_at", "failed_run_at"):
            ended(days=days, column=column)
    failed = ended(days=91, column="failed_run_at")
    operation = going_on(ages=(91, 89, 0))
    with caplog.at_level(logging.INFO, "operator_app"):
        assert [duty.run() for _ in range(2)] == [prune_module.STEP] * 2
        assert duty.run() >= 0.9 * prune_module.EVERY
    rows = Operation.all_objects.exclude(pk=operation.pk)
    assert rows.count() == 4 and rows.failed().count() == 2 and failed not in rows
    assert left(operation) == [2, 3]
    assert caplog.messages == [
        "Old operations were deleted: 1 attempts, 1 cancelled, 1 failed, 1 finished."
    ]
