"""From a row of the common table to an instance of the kind, and what if that is gone."""

from __future__ import annotations

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from operator_app.exceptions import OperationLost
from operator_app.models import Operation, specific
from operator_app.models.kinds import all_kinds, known_kinds, label_of, model_of
from tests.kinds.models import LongNote, Note, QuickNote, Report, Sweep
from tests.models.tools import write

pytestmark = pytest.mark.django_db


def drop_own_row(operation: Operation) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM kinds_note WHERE operation_ptr_id = %s", [operation.pk])


@pytest.mark.parametrize("kind", [Note, Sweep, QuickNote, LongNote, Report])
def test_load_returns_the_kinds_own_instance(kind: type[Operation]) -> None:
    """Whatever the shape of the kind, its row becomes an instance of exactly that class."""
    made = kind.dispatch()
    loaded = specific.load(Operation.objects.get())
    assert type(loaded) is kind and loaded == made
    assert loaded._state.db == "default" and not loaded._state.adding


def test_load_goes_on_from_a_base_in_between() -> None:
    """A `LongNote` found through `Note.objects` is loaded as the `LongNote` it is."""
    LongNote.dispatch(body="b")
    loaded = specific.load(Note.objects.get())
    assert type(loaded) is LongNote and loaded.body == "b"


def test_a_row_whose_class_is_gone_degrades_to_the_base(gone_kind: ContentType) -> None:
    """`specific` is the base instance, `load()` says which class is not known."""
    note = Note.dispatch()
    write(note, kind=gone_kind)
    base = Operation.objects.get()
    assert base.specific is base
    assert [type(row) for row in Operation.objects.specific()] == [Operation]
    assert str(base) == f"kinds.deletedlongago #{note.pk}"
    with pytest.raises(OperationLost, match=r"does not know the class kinds\.deletedlongago"):
        specific.load(base)


def test_a_row_whose_content_type_is_gone_degrades_to_the_base() -> None:
    """Even a kind that no longer exists leaves a row that can be listed and named."""
    note = Note.dispatch()
    write(note, kind_id=8_888_888)
    base = Operation.objects.get()
    assert base.specific is base and base.kind_label == "kind 8888888"
    assert list(Operation.objects.specific()) == [base]


def test_a_row_without_its_own_part_degrades_to_the_base() -> None:
    """A base row whose child row is gone is listed as it is; `load()` names the table."""
    note, whole = Note.dispatch(), Note.dispatch()
    drop_own_row(note)
    base = Operation.objects.get(pk=note.pk)
    assert base.specific is base
    assert [type(row) for row in Operation.objects.order_by("pk").specific()] == [Operation, Note]
    with pytest.raises(OperationLost, match=rf"{note.pk} has no row in kinds_note"):
        specific.load(base)
    assert whole.specific == whole


def test_a_kind_that_is_no_operation_is_not_known() -> None:
    """A content type of another model, or of `Operation` itself, is no kind that can be run."""
    for model in (ContentType, Operation):
        kind_id = ContentType.objects.get_for_model(model).pk
        assert model_of(kind_id, "default") is None
    assert model_of(8_888_888, "default") is None


def test_known_kinds_are_all_subclasses_proxies_included() -> None:
    """Every installed subclass is known, the base and abstract classes are not."""
    known = set(known_kinds("default").values())
    assert known == set(all_kinds())
    assert {Note, QuickNote, LongNote, Sweep, Report} <= known and Operation not in known
    note = QuickNote.dispatch()
    assert known_kinds("default")[note.kind_id] is QuickNote
    assert label_of(note.kind_id, "default") == "kinds.QuickNote"


def test_deferred_columns_stay_deferred_in_a_proxy() -> None:
    """The instance of a proxy knows no more than its row did, and loads the rest when asked."""
    sweep = Sweep.dispatch(queue="q")
    base = Operation.objects.only("kind", "priority").get()
    loaded = specific.load(base)
    assert "queue" in loaded.get_deferred_fields()
    assert loaded.queue == "q" and loaded == sweep
