"""Tags: default ones follow from the row, those of an override are stored once."""

from __future__ import annotations

from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationTag
from operator_app.testing import run_due
from tests.kinds.models import Note, Tagged
from tests.models.tools import HOUR, queries

pytestmark = pytest.mark.django_db


def names(operation: Operation) -> list[str]:
    found = OperationTag.objects.filter(operation_id=operation.pk)
    return list(found.order_by("id").values_list("name", flat=True))


def test_default_tags_are_not_stored() -> None:
    """A kind that leaves `tags()` alone costs no tag rows."""
    Note.dispatch()
    assert not OperationTag.objects.exists()


def test_own_tags_are_stored_when_scheduled() -> None:
    """The tags of an override are stored with one INSERT more, for one and for many."""
    with queries() as seen:
        tagged = Tagged.schedule(HOUR, customer=7)
    assert names(tagged) == ["customer:7", "billing"]
    assert "".join(seen).count("INSERT INTO") == 3
    with queries("INSERT") as seen:
        many = Tagged.schedule_many(
            [Tagged(should_run_at=clock.now(), customer=n) for n in range(5)]
        )
    assert names(many[3]) == ["customer:3", "billing"] and len(seen) == 3


def test_tags_are_stored_once() -> None:
    """Saving, claiming, running and recording leave the tags as they were."""
    tagged = Tagged.dispatch(customer=7)
    tagged.customer = 8
    tagged.save()
    run_due()
    assert names(tagged) == ["customer:7", "billing"]
    assert Tagged.objects.get().state == "finished"


def test_a_tag_named_twice_is_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tags()` may repeat itself."""
    monkeypatch.setattr(Tagged, "tags", lambda self: ["a", "b", "a"])
    assert names(Tagged.dispatch()) == ["a", "b"]
    (many,) = Tagged.schedule_many([Tagged(should_run_at=clock.now())])
    assert names(many) == ["a", "b"]


def test_tags_may_name_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """An override may add to the default tags, whose id is known by then."""
    monkeypatch.setattr(Tagged, "tags", lambda self: [*Operation.tags(self), "mine"])
    tagged = Tagged.dispatch()
    assert names(tagged) == ["operation", f"kinds.Tagged:{tagged.pk}", "mine"]
    (many,) = Tagged.schedule_many([Tagged(should_run_at=clock.now())])
    assert names(many) == ["operation", f"kinds.Tagged:{many.pk}", "mine"]


@pytest.mark.parametrize("bad", ["", "x" * 101, 7, None])
def test_a_bad_tag_is_refused_and_nothing_is_written(
    bad: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag is a non-empty string of at most 100 characters; the error names the kind."""
    monkeypatch.setattr(Tagged, "tags", lambda self: ["good", bad])
    with pytest.raises(ValueError, match=r"Tagged\.tags\(\)"):
        Tagged.dispatch()
    with pytest.raises(ValueError, match=r"Tagged\.tags\(\)"):
        Tagged.schedule_many([Tagged(should_run_at=clock.now())])
    assert not Operation.all_objects.exists() and not OperationTag.objects.exists()


def test_an_error_in_tags_leaves_the_callers_transaction_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`tags()` that raises undoes the insert only, inside a transaction of the caller."""

    def tags(self: Tagged) -> list[str]:
        raise LookupError("no tags today")

    monkeypatch.setattr(Tagged, "tags", tags)
    with pytest.raises(LookupError):
        Tagged.dispatch()
    note = Note.dispatch()
    assert Operation.all_objects.get().pk == note.pk


def test_a_tag_is_shown_by_its_name() -> None:
    """`str()` of a tag is the tag."""
    Tagged.dispatch(customer=3)
    assert str(OperationTag.objects.order_by("id").first()) == "customer:3"
