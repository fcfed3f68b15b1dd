"""What happens if an operation with the unique key is there already."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from operator_app import Policy, clock
from operator_app.exceptions import OperationExists
from operator_app.models import Operation, OperatorProcess
from operator_app.testing import run_due
from tests.kinds.models import LongNote, Note, QuickNote, RankUp, Sweep
from tests.models.tools import HOUR, Thread, claim_all, in_thread, stored, write

pytestmark = pytest.mark.django_db

WAYS = ["raise", "return", "reschedule", "replace"]
KEY: dict[str, Any] = {"unique_key": "key"}


def keyed(kind: type[Operation] = Note, **fields: Any) -> Any:
    return kind.schedule(HOUR, **KEY, **fields)


def everything() -> list[str]:
    return sorted(each.specific.text for each in Note.all_objects.all())  # type: ignore[attr-defined]


class TestSchedule:
    """One operation."""

    @pytest.mark.parametrize("if_exists", WAYS)
    def test_nobody_there(self, if_exists: Any) -> None:
        operation = keyed(if_exists=if_exists, text="x")
        assert operation.text == "x" and Note.objects.get() == operation

    def test_raise(self) -> None:
        first = keyed()
        with pytest.raises(OperationExists, match="has not ended yet") as caught:
            keyed(if_exists="raise")
        assert caught.value.operation is not None and caught.value.operation.pk == first.pk

    def test_return(self) -> None:
        first = keyed(text="first")
        found = keyed(if_exists="return", text="second")
        assert type(found) is Note and (found.pk, found.text) == (first.pk, "first")
        assert found.should_run_at == stored(first).should_run_at

    def test_return_one_that_is_running(self, operator: OperatorProcess) -> None:
        first = Note.dispatch(**KEY)
        claim_all(operator)
        assert keyed(if_exists="return").pk == first.pk

    def test_reschedule(self) -> None:
        first = keyed(text="first")
        when = clock.now() + 5 * HOUR
        found = Note.schedule(when, **KEY, if_exists="reschedule", text="second")
        assert (found.pk, found.text, found.should_run_at) == (first.pk, "first", when)
        assert stored(first).should_run_at == when and Note.objects.count() == 1

    def test_replace(self) -> None:
        first = keyed(text="first")
        found = keyed(if_exists="replace", text="second")
        assert found.pk != first.pk and Note.objects.get() == found
        old = stored(first)
        assert old.cancelled_at is not None and old.active_key is None
        assert old.reason == "replaced by another one with the same unique key"

    @pytest.mark.parametrize("if_exists", ["reschedule", "replace"])
    def test_what_has_been_claimed_stays(self, if_exists: Any, operator: OperatorProcess) -> None:
        first = Note.dispatch(**KEY)
        claim_all(operator)
        before = stored(first)
        with pytest.raises(OperationExists, match="has been claimed by an operator") as caught:
            keyed(if_exists=if_exists)
        assert caught.value.operation is not None and caught.value.operation.pk == first.pk
        after = stored(first)
        assert (after.should_run_at, after.cancelled_at) == (before.should_run_at, None)
        assert Note.all_objects.count() == 1

    @pytest.mark.parametrize("if_exists", WAYS)
    def test_one_that_has_ended_is_not_in_the_way(self, if_exists: Any) -> None:
        Note.dispatch(**KEY)
        run_due()
        assert keyed(if_exists=if_exists).pk is not None and Note.objects.count() == 2

    def test_kinds_have_keys_of_their_own(self) -> None:
        for kind in (Note, QuickNote, LongNote, Sweep):
            keyed(kind)
        assert {type(keyed(kind, if_exists="return")) for kind in (QuickNote, LongNote)} == {
            QuickNote,
            LongNote,
        }
        assert Operation.objects.count() == 4

    @pytest.mark.parametrize("if_exists", ["return", "reschedule", "replace"])
    def test_it_needs_a_key(self, if_exists: Any) -> None:
        with pytest.raises(ValueError, match="needs a unique key"):
            Note.schedule(HOUR, if_exists=if_exists)

    def test_another_way(self) -> None:
        with pytest.raises(ValueError, match="if_exists must be one of raise, return"):
            keyed(if_exists="ignore")
        with pytest.raises(ValueError, match="if_exists must be one of raise, return"):
            Note.schedule_many([], if_exists="ignore")  # type: ignore[arg-type]

    @pytest.mark.parametrize("if_exists", WAYS)
    def test_the_callers_transaction_goes_on(self, if_exists: Any) -> None:
        with transaction.atomic():
            keyed(text="first")
            try:
                keyed(if_exists=if_exists, text="second")
            except OperationExists:
                pass
            Note.dispatch(text="third")
        texts = {"replace": ["first", "second", "third"]}.get(if_exists, ["first", "third"])
        assert everything() == texts

    def test_a_replacement_that_is_refused_leaves_the_old_one(self) -> None:
        """Both or none."""
        first = RankUp(rank="x", should_run_at=clock.now() + HOUR, user_id=1)
        first.unique_key = "key"
        with pytest.raises(IntegrityError), transaction.atomic():
            first.save()
            connection.check_constraints()
        user = _user()
        first = RankUp.schedule(HOUR, **KEY, user=user)
        with pytest.raises(ValueError, match="rank"), transaction.atomic():
            RankUp.schedule(HOUR, **KEY, user=user, rank=_Refused(), if_exists="replace")
        assert stored(first).cancelled_at is None

    def test_one_that_ends_while_it_is_looked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It was in the way of the INSERT, and is gone when somebody asks for it."""
        from operator_app.models import scheduling

        first = keyed()
        real = scheduling._explain_conflict

        def gone(operation: Operation, alias: str, error: IntegrityError) -> None:
            write(first, cancelled_at=clock.now(), active_key=None)
            real(operation, alias, error)

        monkeypatch.setattr(scheduling, "_explain_conflict", gone)
        assert keyed(if_exists="return").pk != first.pk

    def test_one_that_ends_while_it_is_changed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from operator_app.models import uniqueness

        first = keyed()
        real = uniqueness.give_way

        def gone(holder: Operation, *arguments: Any) -> Any:
            write(first, cancelled_at=clock.now(), active_key=None)
            return real(holder, *arguments)

        monkeypatch.setattr(uniqueness, "give_way", gone)
        assert keyed(if_exists="reschedule").pk != first.pk


class TestPolicy:
    """A key that follows from the operation."""

    @pytest.fixture(autouse=True)
    def _unique_texts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        policy = Policy(unique=lambda note: note.text or None)
        monkeypatch.setattr(Note, "policy", policy)

    def test_the_key(self) -> None:
        assert Note.dispatch(text="x").unique_key == "x"
        assert Note(text="y", should_run_at=clock.now()).unique_key is None
        one = Note(text="y", should_run_at=clock.now())
        one.save()
        assert stored(one).unique_key == "y"

    def test_none(self) -> None:
        assert Note.dispatch().unique_key is None and Note.dispatch().unique_key is None

    def test_one_that_was_named_counts(self) -> None:
        assert Note.dispatch(text="x", unique_key="mine").unique_key == "mine"

    def test_if_exists(self) -> None:
        first = Note.dispatch(text="x")
        with pytest.raises(OperationExists):
            Note.dispatch(text="x")
        assert Note.dispatch(text="x", if_exists="return").pk == first.pk
        assert Note.dispatch(if_exists="return").unique_key is None

    def test_many(self) -> None:
        now = clock.now()
        given = [Note(text=text, should_run_at=now) for text in ("x", "y", "x", "", "")]
        with pytest.raises(OperationExists, match="at position 2"):
            Note.schedule_many(given)
        found = Note.schedule_many(given, if_exists="return")
        assert found[0] is found[2] and Note.objects.count() == 4

    def test_what_is_no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Note, "policy", Policy(unique=lambda note: 7))  # type: ignore[arg-type,return-value]
        with pytest.raises(ValueError, match="A unique key is a non-empty string"):
            Note.dispatch()
        with pytest.raises(TypeError, match=r"Policy\.unique must be a callable"):
            Policy(unique="text")  # type: ignore[arg-type]


class TestScheduleMany:
    """Many at once."""

    @staticmethod
    def notes(*texts: str) -> list[Note]:
        """Each has its text as its key; in the order of time."""
        now = clock.now() + HOUR
        made = []
        for number, text in enumerate(texts):
            note = Note(text=text.upper(), should_run_at=now + number * HOUR)
            note.unique_key = text.lower()
            made.append(note)
        return made

    def test_return(self) -> None:
        (b,) = Note.schedule_many(self.notes("b"))
        given = self.notes("a", "b", "c", "a")
        found = Note.schedule_many(given, if_exists="return")
        assert [each.text for each in found] == ["A", "B", "C", "A"]
        assert found[1].pk == b.pk and found[0] is found[3] is given[0]
        assert everything() == ["A", "B", "C"]

    def test_reschedule(self) -> None:
        (b,) = Note.schedule_many(self.notes("b"))
        given = self.notes("a", "b", "c", "a")
        found = Note.schedule_many(given, if_exists="reschedule")
        assert found[1].pk == b.pk and found[1].should_run_at == given[1].should_run_at
        assert found[0] is found[3] and stored(found[0]).should_run_at == given[3].should_run_at
        assert everything() == ["A", "B", "C"]

    def test_replace(self) -> None:
        (b,) = Note.schedule_many(self.notes("b"))
        given = self.notes("a", "b", "a")
        found = Note.schedule_many(given, if_exists="replace")
        assert found[0] is found[2] is given[2] and found[1] is given[1]
        assert stored(b).cancelled_at is not None
        assert Note.objects.count() == 2

    def test_raise(self) -> None:
        Note.schedule_many(self.notes("b"))
        given = self.notes("a", "b")
        with pytest.raises(OperationExists) as caught:
            Note.schedule_many(given)
        assert caught.value.operation is not None
        assert all(each.pk is None and each._state.adding for each in given)
        assert everything() == ["B"]

    @pytest.mark.parametrize("if_exists", ["reschedule", "replace"])
    def test_one_that_was_claimed_stops_all(
        self, if_exists: Any, operator: OperatorProcess
    ) -> None:
        first = Note.dispatch(unique_key="b", text="B")
        claim_all(operator)
        given = self.notes("a", "b")
        with pytest.raises(OperationExists, match="has been claimed"):
            Note.schedule_many(given, if_exists=if_exists)
        assert all(each.pk is None and each._state.adding for each in given)
        assert everything() == ["B"] and stored(first).cancelled_at is None

    def test_the_callers_transaction_goes_on(self) -> None:
        with transaction.atomic():
            Note.schedule_many(self.notes("a", "b"))
            Note.schedule_many(self.notes("b", "c"), if_exists="return")
            Note.schedule_many(self.notes("c", "d"), if_exists="replace")
        assert sorted(Note.objects.values_list("unique_key", flat=True)) == ["a", "b", "c", "d"]

    def test_somebody_is_faster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the look for who has the keys and the INSERT."""
        from operator_app.models import uniqueness

        real, done = uniqueness._holders, []

        def holders(*arguments: Any) -> Any:
            found = real(*arguments)
            if not done:
                done.append(Note.dispatch(unique_key="a", text="faster"))
            return found

        monkeypatch.setattr(uniqueness, "_holders", holders)
        found = Note.schedule_many(self.notes("a", "b"), if_exists="return")
        assert [each.text for each in found] == ["faster", "B"]
        assert everything() == ["B", "faster"]

    def test_the_cost(self, django_assert_max_num_queries: Any) -> None:
        Note.schedule_many(self.notes(*map(str, range(0, 200, 2))))
        with django_assert_max_num_queries(320):
            found = Note.schedule_many(self.notes(*map(str, range(200))), if_exists="return")
        assert len({each.pk for each in found}) == 200


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    """Several at the same moment."""

    @pytest.mark.parametrize("if_exists", ["return", "reschedule", "replace"])
    def test_eight_threads(self, if_exists: Any) -> None:
        """One active operation, and nobody is refused."""
        barrier = threading.Barrier(8)

        def schedule() -> Any:
            barrier.wait(30)
            return [keyed(if_exists=if_exists).pk for _ in range(5)]

        threads = [Thread(schedule) for _ in range(8)]
        seen = {pk for thread in threads for pk in thread.result(60)}
        (active,) = Note.objects.pending()
        assert active.pk in seen
        if if_exists != "replace":
            assert seen == {active.pk}

    @pytest.mark.parametrize("if_exists", ["return", "reschedule", "replace"])
    def test_the_same_keys_in_different_orders(self, if_exists: Any) -> None:
        """Who loses a deadlock tries again, and nobody hears of it."""
        keys = [*"abcdefgh"]
        barrier = threading.Barrier(4)

        def schedule(turn: int) -> int:
            barrier.wait(30)
            for _ in range(5):
                mine = [*keys[turn:], *keys[:turn]][:: 1 if turn % 2 else -1]
                given = TestScheduleMany.notes(*mine)
                Note.schedule_many(given, if_exists=if_exists)
            return turn

        threads = [Thread(lambda turn=turn: schedule(turn)) for turn in range(4)]  # type: ignore[misc]
        assert [thread.result(90) for thread in threads] == [0, 1, 2, 3]
        active = Note.objects.pending().values_list("unique_key", flat=True)
        assert sorted(active) == keys

    def test_one_who_has_lost_a_deadlock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was half done is done anew, with new rows."""
        from operator_app.models import scheduling

        real, lost = scheduling.insert_rows, []

        def insert(kind: Any, members: Any, alias: str) -> None:
            real(kind, members, alias)
            if not lost:
                lost.append([each.pk for each in members])
                raise OperationalError(1213, "Deadlock found")

        monkeypatch.setattr(scheduling, "insert_rows", insert)
        given = TestScheduleMany.notes("a", "b")
        assert Note.schedule_many(given) == given
        assert lost and set(Note.objects.values_list("pk", flat=True)) == {e.pk for e in given}

    def test_a_key_whose_transaction_is_rolled_back(self) -> None:
        """Whoever has waited for it gets it."""
        with transaction.atomic():
            keyed(text="first")
            transaction.set_rollback(True)
        assert in_thread(lambda: keyed(if_exists="return", text="second").text) == "second"
        assert Note.objects.get().text == "second"


def _user() -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create(username="ann")


class _Refused:
    """No rank."""

    def __str__(self) -> str:
        raise ValueError("no rank")
