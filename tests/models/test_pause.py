"""Pauses as rows: what they cover, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from operator_app import clock
from operator_app.models import Operation, Pause, kinds
from operator_app.models.lanes import Lane
from tests.kinds.models import LongNote, Note, Sweep
from tests.models.tools import HOUR

pytestmark = pytest.mark.django_db


def kind_of(model: type[Operation]) -> int:
    return kinds.content_type(model, "default").pk


def covered(pause: Pause) -> set[tuple[str, str]]:
    """Which queues and kinds it covers, of these."""
    return {
        (queue, model.__name__)
        for queue in ("a", "b")
        for model in (Note, Sweep)
        if pause.covers_lane(Lane(queue, 0, kind_of(model), clock.now()))
    }


ALL = {("a", "Note"), ("a", "Sweep"), ("b", "Note"), ("b", "Sweep")}


@pytest.mark.parametrize(
    ("scope", "covers", "what"),
    [
        ({}, ALL, "everything"),
        ({"queue": "a"}, {("a", "Note"), ("a", "Sweep")}, "the queue 'a'"),
        ({"kind": Note}, {("a", "Note"), ("b", "Note")}, "kinds.Note"),
        ({"queue": "a", "kind": Note}, {("a", "Note")}, "kinds.Note in the queue 'a'"),
    ],
)
def test_what_is_covered(scope: dict[str, Any], covers: set[Any], what: str) -> None:
    pause = Pause.objects.pause(**scope)
    assert covered(pause) == covers
    assert str(pause) == pause.what == what
    assert Pause.objects.resume(**scope) == 1
    assert Pause.objects.resume(**scope) == 0
    assert not Pause.objects.exists()


def test_a_subclass_is_another_kind() -> None:
    pause = Pause.objects.pause(kind=Note)
    assert not pause.covers("a", kind_of(LongNote))


def test_the_same_again_changes_it() -> None:
    first = Pause.objects.pause(queue="a", reason="one")
    until = clock.now() + HOUR
    second = Pause.objects.pause(queue="a", reason="two", until=until, by="ann")
    assert first.pk == second.pk
    found = Pause.objects.get()
    assert (found.reason, found.until, found.paused_by) == ("two", until, "ann")
    assert "until 20" in found.sentence and found.sentence.endswith("by ann (two)")


def test_queues_are_told_apart_exactly() -> None:
    """As operations' are, whatever the collation."""
    for queue in ("mail", "Mail", "máil"):
        Pause.objects.pause(queue=queue)
    assert Pause.objects.count() == 3
    assert Pause.objects.resume(queue="Mail") == 1


def test_one_that_has_run_out() -> None:
    now = clock.now()
    pause = Pause.objects.pause(until=timedelta(minutes=1))
    assert list(Pause.objects.active(now)) == [pause] and pause.is_active(now)
    later = now + timedelta(minutes=2)
    assert not Pause.objects.active(later).exists() and not pause.is_active(later)


@pytest.mark.parametrize(
    ("scope", "error", "problem"),
    [
        ({"queue": " a"}, ValueError, "A queue is a non-empty string"),
        ({"kind": Operation}, TypeError, "Operation is no kind"),
        ({"kind": Pause}, TypeError, "Pause is no kind"),
        ({"until": datetime(2030, 1, 1)}, ValueError, "is naive"),  # noqa: DTZ001
        ({"until": timedelta(seconds=-1)}, ValueError, "would be over already"),
        ({"until": "tomorrow"}, TypeError, "an aware datetime or a timedelta"),
    ],
)
def test_what_is_refused(scope: dict[str, Any], error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        Pause.objects.pause(**scope)
    assert not Pause.objects.exists()


def test_a_form_refuses_a_second_one_of_the_same() -> None:
    pause = Pause.objects.pause(queue="a")
    pause.full_clean()
    with pytest.raises(ValidationError, match="paused already"):
        Pause(queue="a").full_clean()
    with pytest.raises(ValidationError, match="non-empty string"):
        Pause(queue=" a").full_clean()
    Pause(queue="b").full_clean()
