"""The querysets: kinds, specific instances, managers of projects."""

from __future__ import annotations

import pytest
from django.contrib.contenttypes.models import ContentType

from operator_app import clock
from operator_app.models import Operation, OperationManager, OperationQuerySet, querysets
from tests.kinds.models import LongNote, Note, PlainManager, QuickNote, Report, Shout, Sweep
from tests.models.tools import queries, write

pytestmark = pytest.mark.django_db


def test_of_kind_means_exactly_these_classes() -> None:
    """A subclass or a proxy of a kind is another kind; several may be named, or none."""
    made = {kind: kind.dispatch().pk for kind in (Note, QuickNote, LongNote, Sweep, Report)}
    for kind, pk in made.items():
        assert [row.pk for row in Operation.objects.of_kind(kind)] == [pk]
    both = Operation.objects.of_kind(QuickNote, Sweep)
    assert {row.pk for row in both} == {made[QuickNote], made[Sweep]}
    assert not Operation.objects.of_kind().exists()
    assert [row.pk for row in Note.objects.of_kind(LongNote)] == [made[LongNote]]


def test_of_kind_of_a_class_without_a_content_type_is_empty() -> None:
    """A kind of which nothing was ever scheduled has no operations, and asking makes no row."""
    ContentType.objects.filter(model="sweep").delete()
    ContentType.objects.clear_cache()
    assert not Operation.objects.of_kind(Sweep).exists()
    assert not Sweep.objects.exists()
    assert not ContentType.objects.filter(model="sweep").exists()


def test_a_kinds_queryset_has_the_adjectives() -> None:
    """`Note.objects` speaks the same words as `Operation.objects`, and returns notes."""
    note = Note.dispatch()
    assert list(Note.objects.due()) == [note]
    assert isinstance(Note.objects.all(), OperationQuerySet)
    assert not Note.objects.scheduled().exists()


def test_every_manager_is_an_operation_manager() -> None:
    """Kinds inherit both managers; a project's own is kept."""
    assert type(Shout.objects) is PlainManager
    for kind in (Note, Sweep, QuickNote, LongNote, Report, Shout):
        assert isinstance(kind._default_manager, OperationManager)
        assert isinstance(kind.all_objects, OperationManager)


def test_specific_yields_instances_of_every_kind_in_order() -> None:
    """One query for the rows and one per kind with columns; none for proxies of `Operation`."""
    kinds = [Note, Sweep, QuickNote, LongNote, Report, Shout, Note]
    made = [kind.dispatch() for kind in kinds]
    with queries() as seen:
        rows = list(Operation.objects.order_by("pk").specific())
    assert [type(row) for row in rows] == kinds
    assert rows == made
    assert len(seen) == 1 + 4


def test_specific_costs_no_more_for_more_rows() -> None:
    """The number of queries follows from the kinds, not from the rows."""
    now = clock.now()
    counts = []
    for _ in range(2):
        Note.schedule_many([Note(should_run_at=now) for _ in range(40)])
        with queries() as seen:
            list(Operation.objects.specific())
        counts.append(len(seen))
    assert counts == [2, 2]


def test_specific_works_through_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than a chunk holds come out complete and in order."""
    monkeypatch.setattr(querysets, "SPECIFIC_CHUNK", 3)
    now = clock.now()
    many = Note.schedule_many([Note(should_run_at=now, text=str(n)) for n in range(8)])
    rows = list(Operation.objects.order_by("pk").specific())
    assert [row.text for row in rows] == [row.text for row in many]
    assert [row.text for row in Operation.objects.order_by("pk").specific().iterator(2)] == [
        row.text for row in many
    ]


def test_specific_chains() -> None:
    """`specific()` may come first, and survives filters, slices and counting."""
    Note.dispatch(text="a")
    Sweep.dispatch()
    rows = Operation.objects.specific().due().of_kind(Note).order_by("-pk")
    assert rows.count() == 1
    assert rows[0].text == "a" and rows.get().text == "a"
    assert list(Operation.objects.specific().values_list("queue", flat=True).order_by("pk")) == [
        "notes",
        "default",
    ]


def test_an_operation_with_an_own_column_can_be_found_by_it() -> None:
    """Pending work is found with the ORM."""
    Note.dispatch(text="a")
    wanted = Note.dispatch(text="b")
    assert Note.objects.due().get(text="b") == wanted
    write(wanted, cancelled_at=clock.now())
    assert not Note.objects.filter(text="b").exists()
