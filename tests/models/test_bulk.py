"""schedule_many: constant statements, all or nothing, on databases with and without RETURNING."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from operator_app import clock
from operator_app.exceptions import OperationExists
from operator_app.models import Operation, bulk, scheduling
from operator_app.testing import run_due
from tests.kinds.models import LongNote, Note, QuickNote, RankUp, Report, Sweep, Tagged
from tests.models.tools import HOUR, queries, stored

pytestmark = pytest.mark.django_db

MYSQL = connection.vendor == "mysql"


@pytest.fixture(params=["returning", "last_insert_id"] if MYSQL else ["returning"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each way to learn the ids: RETURNING, and on MySQL and MariaDB also LAST_INSERT_ID()."""
    flag = "can_return_rows_from_bulk_insert"
    if request.param == "last_insert_id":
        with monkeypatch.context() as patch:
            patch.setattr(type(connection.features), flag, False)
            yield request.param
    else:
        yield request.param


def statements(number: int, kind: type[Operation] = Note) -> list[str]:
    """The statements, without savepoints, that scheduling so many costs."""
    now = clock.now()
    with queries() as seen:
        kind.schedule_many([kind(should_run_at=now) for _ in range(number)])
    return [sql for sql in seen if "SAVEPOINT" not in sql]


def test_many_are_what_one_is(path: str) -> None:
    """Rows made in bulk equal those made one by one: columns, kind, policy, times."""
    when = clock.now() + HOUR
    single = [kind.schedule(when) for kind in (Note, Sweep, QuickNote, LongNote, Report)]
    many = Operation.schedule_many([type(one)(should_run_at=when) for one in single])
    for one, other in zip(single, many, strict=True):
        assert type(other) is type(one) and other.pk
        ours, theirs = (
            Operation.all_objects.filter(pk=row.pk).values().get() for row in (one, other)
        )
        for name in ("id", "created_at"):
            assert ours.pop(name) is not None and theirs.pop(name) is not None
        assert ours == theirs
        assert type(Operation.objects.get(pk=other.pk).specific) is type(one)


def test_the_columns_of_each_row_stay_together(path: str) -> None:
    """Row by row, the kind's own columns belong to the common row that they were given with."""
    now = clock.now()
    notes = LongNote.schedule_many(
        LongNote(should_run_at=now, text=f"t{n}", body=f"b{n}", priority=n, unique_key=f"k{n}")
        for n in range(120)
    )
    assert [note.text for note in notes] == [f"t{n}" for n in range(120)]
    for n, row in enumerate(LongNote.objects.order_by("priority")):
        assert (row.text, row.body, row.unique_key, row.pk) == (
            f"t{n}",
            f"b{n}",
            f"k{n}",
            notes[n].pk,
        )
    assert len(run_due()) == 120


def test_only_columns_with_a_value_are_named(path: str) -> None:
    """What is NULL in all rows is left to the database; what one row fills is written for all."""
    now = clock.now()
    with queries() as seen:
        Note.schedule_many([Note(should_run_at=now) for _ in range(2)])
    (insert,) = [sql for sql in seen if "should_run_at" in sql and "INSERT INTO" in sql]
    assert "unique_key" not in insert and "started_run_at" not in insert
    keys = [None, "k", None]
    notes = Note.schedule_many([Note(should_run_at=now, unique_key=key) for key in keys])
    assert [stored(note).unique_key for note in notes] == keys
    assert [stored(note).active_key is None for note in notes] == [True, False, True]


def test_a_thousand_cost_as_many_statements_as_five_hundred(path: str) -> None:
    """One INSERT per table for each thousand. On SQLite, which limits the parameters of a
    statement, in proportion; on MariaDB without RETURNING, two SELECTs more for the ids.
    """
    statements(1)
    five_hundred, thousand = statements(500), statements(1_000)
    if connection.vendor == "sqlite":
        assert len(five_hundred) <= len(thousand) <= 2 * len(five_hundred) <= 60
    else:
        expected = 2 if path == "returning" else 4
        assert len(five_hundred) == len(thousand) == expected
    assert Note.objects.count() == 1_501
    assert len({note.pk for note in Note.objects.all()}) == 1_501


def test_many_of_a_proxy_cost_one_insert(path: str) -> None:
    """A kind without columns has one table to fill."""
    statements(1, Sweep)
    expected = 1 if path == "returning" else 3
    assert len(statements(40, Sweep)) == expected


def test_more_than_a_batch_is_split(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a thousand a statement more, and every row arrives."""
    monkeypatch.setattr(scheduling, "MANY", 10)
    now = clock.now()
    notes = Note.schedule_many([Note(should_run_at=now, text=str(n)) for n in range(25)])
    assert [Note.objects.get(pk=note.pk).text for note in notes] == [str(n) for n in range(25)]


def test_kinds_may_be_mixed(path: str) -> None:
    """`Operation.schedule_many` takes all kinds; each comes back in its place."""
    now = clock.now()
    made = [kind(should_run_at=now) for kind in (Note, Sweep, Note, Report, LongNote, Tagged)]
    assert Operation.schedule_many(made) is not made
    for operation in made:
        assert type(stored(operation).specific) is type(operation)
    assert len(run_due()) == 6


def test_nothing_costs_nothing() -> None:
    """An empty list is fine."""
    assert Note.schedule_many([]) == []
    assert Note.schedule_many(iter(())) == []


def test_what_was_made_in_bulk_can_be_saved() -> None:
    """The instances know that they are stored, and their schedule."""
    (note,) = Note.schedule_many([Note(should_run_at=clock.now() + HOUR)])
    note.text, note.priority = "changed", 3
    note.save()
    row = Note.objects.get()
    assert (row.text, row.priority) == ("changed", 3)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (lambda: Note(), ValueError, "should_run_at is missing"),
        (lambda: Note(should_run_at=clock.now(), priority=99_999), ValueError, "priority"),
        (lambda: Note(should_run_at=clock.now(), queue="q" * 65), ValueError, "queue"),
        (lambda: Note(should_run_at="soon"), TypeError, "datetime or a timedelta"),
        (lambda: Note(should_run_at=clock.now(), unique_key=""), ValueError, "unique key"),
        (lambda: Sweep(should_run_at=clock.now()), TypeError, "expected an unsaved Note"),
        (lambda: Operation(should_run_at=clock.now()), TypeError, "expected an unsaved Note"),
        (lambda: "note", TypeError, "expected an unsaved Note"),
        (lambda: Note.dispatch(), ValueError, "saved already"),
    ],
)
def test_a_bad_operation_is_named_by_its_position(
    bad: Any, error: type[Exception], words: str
) -> None:
    """The error says which one; nothing is written, of those before it either."""
    operations = [Note(should_run_at=clock.now()), Note(should_run_at=clock.now()), bad()]
    before = Operation.all_objects.count()
    with pytest.raises(error, match=f"position 2: .*{words}"):
        Note.schedule_many(operations)
    assert Operation.all_objects.count() == before


def test_the_same_operation_twice_is_named_by_its_position() -> None:
    """`[Note(...)] * 3` is one operation, not three: it is refused before anything is written."""
    for kind in (Note, Sweep):
        with pytest.raises(ValueError, match="position 1"):
            kind.schedule_many([kind(should_run_at=clock.now())] * 3)
    assert not Operation.all_objects.exists()


def test_a_taken_key_writes_nothing_and_leaves_the_transaction_usable() -> None:
    """One taken key refuses all of them; the caller's transaction goes on."""
    held = Note.schedule(HOUR, unique_key="b")
    many = [Note(should_run_at=clock.now(), unique_key=key) for key in "abc"]
    with transaction.atomic():
        with pytest.raises(OperationExists, match=f"#{held.pk} with unique key 'b'"):
            Note.schedule_many([Note(should_run_at=clock.now()), *many])
        assert Note.objects.get() == held
    assert [operation.pk for operation in many] == [None] * 3


def test_a_key_used_twice_in_one_call_is_a_clear_error() -> None:
    """Two operations of the same call with the same key: named, and nothing is written."""
    now = clock.now()
    with pytest.raises((OperationExists, ValueError), match="'k'"):
        Note.schedule_many([Note(should_run_at=now, unique_key="k") for _ in range(2)])
    assert not Operation.all_objects.exists()


def test_after_an_error_the_operations_can_be_scheduled_again() -> None:
    """Instances of a call that failed are unsaved, and can be tried again once it is mended."""
    held = Note.schedule(HOUR, unique_key="k")
    many = [Note(should_run_at=clock.now()), Note(should_run_at=clock.now(), unique_key="k")]
    with pytest.raises(OperationExists):
        Note.schedule_many(many)
    held.delete()
    Note.schedule_many(many)
    assert Note.objects.count() == 2


def test_an_error_of_the_database_undoes_every_kind() -> None:
    """A row that the database refuses takes all of them along, those of other kinds too."""
    now = clock.now()
    with pytest.raises(DatabaseError), transaction.atomic():
        Operation.schedule_many(
            [
                Sweep(should_run_at=now),
                Note(should_run_at=now),
                RankUp(should_run_at=now, user_id=None),
            ]
        )
    assert not Operation.all_objects.exists()


@pytest.mark.skipif(not MYSQL, reason="only there are ids told by LAST_INSERT_ID()")
def test_ids_that_are_not_consecutive_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the ids of one INSERT not in a row, nothing is linked wrongly: all is undone."""
    insert = bulk._insert

    def insert_one_less(model: Any, rows: list[Any], *rest: Any) -> Any:
        return insert(model, rows[:-1] if model is Operation else rows, *rest)

    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    monkeypatch.setattr(bulk, "_insert", insert_one_less)
    with pytest.raises(DatabaseError, match="consecutive ids"):
        Note.schedule_many([Note(should_run_at=clock.now()) for _ in range(3)])
    assert not Operation.all_objects.exists()
