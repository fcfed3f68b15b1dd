"""Word to operators that something is due: said once for a transaction, and only if it is news."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from operator_app import clock
from operator_app.models import Operation, OperatorProcess, announcements
from operator_app.outcomes import Released, Retried, Stopped
from tests.databases import Address
from tests.kinds.models import Note
from tests.models.tools import claimed_job, living_operator, queries, write
from tests.processes import poll
from tests.work.models import Tick

pytestmark = pytest.mark.django_db(transaction=True)

on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="NOTIFY is its")
second = timedelta(seconds=1)


class Undo(Exception):
    """To roll back."""


@pytest.fixture
def calls() -> Iterator[list[int]]:
    """One entry for each call in this process."""
    calls: list[int] = []

    def call() -> None:
        calls.append(1)

    announcements.subscribe("default", call)
    yield calls
    announcements.unsubscribe("default", call)


class Notices:
    """What another session has heard."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.words: list[str] = []

    def __call__(self) -> int:
        """How many notices so far."""
        self.words += [notice.payload for notice in self._session.notifies(timeout=0)]
        return len(self.words)


@pytest.fixture
def notices(transactional_db: None) -> Iterator[Notices]:
    """How many notices another session has heard so far, and which."""
    import psycopg

    address = Address.of("postgresql")
    session = psycopg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        dbname=str(connection.settings_dict["NAME"]),
        autocommit=True,
    )
    session.execute(f"LISTEN {announcements.CHANNEL}")
    yield Notices(session)
    session.close()


def said(statements: list[str]) -> int:
    return sum("pg_notify" in statement for statement in statements)


class TestOnceForATransaction:
    """Here by the calls within the process, on every database."""

    def test_outside_of_a_transaction_each_time(self, calls: list[int]) -> None:
        """After the commit of each."""
        Tick.dispatch()
        assert len(calls) == 1
        Note.dispatch(text="hello")  # Of two tables, so Django opens a transaction.
        assert len(calls) == 2

    def test_after_the_commit(self, calls: list[int]) -> None:
        """Once, however much was scheduled."""
        with transaction.atomic():
            for _ in range(50):
                Tick.dispatch()
            assert calls == []
        assert len(calls) == 1
        with transaction.atomic():
            Tick.dispatch()
        assert len(calls) == 2

    def test_never_after_a_rollback(self, calls: list[int]) -> None:
        """And what was rolled back is not taken for said afterwards."""
        with suppress(Undo), transaction.atomic():
            Tick.dispatch()
            raise Undo
        assert calls == []
        with transaction.atomic():
            Tick.dispatch()
        assert len(calls) == 1

    def test_a_savepoint_that_is_rolled_back(self, calls: list[int]) -> None:
        """Takes its word with it."""
        with transaction.atomic(), suppress(Undo), transaction.atomic():
            Tick.dispatch()
            raise Undo
        assert calls == []
        with transaction.atomic():
            with suppress(Undo), transaction.atomic():
                Tick.dispatch()
                raise Undo
            Tick.dispatch()
        assert len(calls) == 1

    def test_a_listener_that_fails_harms_nobody(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The operation is committed, and its caller hears of nothing."""
        monkeypatch.setitem(announcements._listeners, "default", (lambda: 1 / 0,))
        Tick.dispatch()
        assert Operation.objects.count() == 1

    def test_who_has_gone_is_not_called(self, calls: list[int]) -> None:
        """Nor is one that was never there missed."""
        for call in announcements._listeners["default"]:
            announcements.unsubscribe("default", call)
            announcements.unsubscribe("default", call)
        Tick.dispatch()
        assert calls == []


class TestWhatIsNews:
    """What may be due before operators look by themselves."""

    @pytest.fixture
    def future(self) -> Tick:
        return Tick.schedule(timedelta(hours=1))

    @pytest.fixture
    def operator(self) -> OperatorProcess:
        return living_operator()

    def test_what_is_due_soon(self, calls: list[int], settings: Any) -> None:
        """Within the time that an operator which listens sleeps at most."""
        Tick.schedule(timedelta(seconds=4))
        assert len(calls) == 1
        Tick.schedule(timedelta(seconds=6))
        Tick.schedule_many([Tick(should_run_at=clock.now() + 60 * second) for _ in range(3)])
        assert len(calls) == 1
        settings.OPERATOR = {"POLL_INTERVAL": 60}
        Tick.schedule(timedelta(seconds=50))
        assert len(calls) == 2

    def test_many(self, calls: list[int]) -> None:
        """The earliest of them counts."""
        moments = [clock.now() + delay * second for delay in (90, 1, 70)]
        Tick.schedule_many([Tick(should_run_at=moment) for moment in moments])
        assert len(calls) == 1
        Tick.schedule_many([])
        assert len(calls) == 1

    def test_with_a_unique_key(self, calls: list[int]) -> None:
        """Which takes a savepoint of the engine's own."""
        with transaction.atomic():
            Tick.schedule(timedelta(0), unique_key="a")
            Tick.schedule(timedelta(0), unique_key="b")
        assert len(calls) == 1

    def test_what_is_run_by_hand(self, calls: list[int]) -> None:
        """Is not for operators."""
        Tick.dispatch_now()
        assert calls == []

    def test_saved(self, future: Tick, calls: list[int]) -> None:
        """An operation that was moved, by hand or in the admin."""
        future.should_run_at = clock.now() + timedelta(minutes=30)
        future.save()
        assert calls == []
        future.should_run_at = clock.now()
        future.save()
        assert len(calls) == 1

    def test_verbs(self, future: Tick, calls: list[int]) -> None:
        """Each that lets an operation be due soon, if it has found one."""
        rows = Operation.objects.filter(pk=future.pk)
        assert rows.reschedule(timedelta(minutes=30)) == 1 and calls == []
        assert rows.reschedule(timedelta(seconds=2)) == 1 and len(calls) == 1
        assert rows.run_now() == 1 and len(calls) == 2
        assert rows.run_now() == 0 and len(calls) == 2
        assert rows.cancel() == 1 and len(calls) == 2
        assert Operation.all_objects.retry() == 1 and len(calls) == 3
        assert Operation.all_objects.retry() == 0 and len(calls) == 3

    def test_release(self, operator: OperatorProcess, calls: list[int]) -> None:
        """What a lost operator held is due at its old time."""
        operation = Tick.dispatch()
        claimed_job(operation, operator)
        OperatorProcess.objects.update(lost_at=clock.now())
        calls.clear()
        assert Operation.objects.release() == 1
        assert len(calls) == 1

    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            (Retried(delay=0.5), 1),
            (Retried(delay=50), 0),
            (Stopped(delay=2), 1),
            (Stopped(delay=60), 0),
            (Released(), 1),
        ],
    )
    def test_outcomes(
        self, operator: OperatorProcess, calls: list[int], outcome: Any, expected: int
    ) -> None:
        """Other operators hear of what this one gives back."""
        operation = Tick.dispatch()
        job = claimed_job(operation, operator)
        calls.clear()
        job.end_as(outcome)
        assert Operation.all_objects.record([job]) == [job]
        assert len(calls) == expected


@on_postgresql
class TestNotify:
    """The word that other processes hear."""

    def test_it_rides_on_the_insert(self, notices: Notices, django_assert_num_queries: Any) -> None:
        """No statement of its own, so in autocommit mode no transaction of its own either."""
        before = Tick.schedule(timedelta(hours=1))  # From here on the kind's id is known.
        with django_assert_num_queries(1), queries() as made:
            operation = Tick.dispatch()
        assert said(made) == 1
        assert operation.pk == Operation.objects.exclude(pk=before.pk).get().pk
        poll(lambda: notices() == 1, 10, "the notice to be heard")

    def test_a_kind_of_two_tables(self, notices: Notices) -> None:
        """The INSERT into the common table carries it."""
        Note.schedule(timedelta(hours=1))  # From here on the kind's id is known.
        with queries() as made:
            Note.dispatch(text="hello")
        assert (len(made), said(made)) == (1, 1)
        poll(lambda: notices() == 1, 10, "the notice to be heard")

    def test_it_names_the_lane(self, notices: Notices) -> None:
        """Of what is due now, so that it can be claimed without a look."""
        tick = Tick.dispatch(queue="mail", priority=-3)
        Tick.schedule(timedelta(seconds=2), queue="mail")
        Tick.dispatch(queue="two words")
        poll(lambda: notices() == 3, 10, "the notices to be heard")
        assert notices.words == [f"{tick.kind_id} -3 mail", "", ""]

    def test_each_lane_once_in_a_transaction(self, notices: Notices) -> None:
        """Together with what is undone: the database forgets that, too."""
        with transaction.atomic():
            with suppress(Undo), transaction.atomic():
                Tick.dispatch(queue="a")
                Tick.dispatch(queue="b")
                raise Undo
            for _ in range(3):
                last = Tick.dispatch(queue="a")
                Tick.dispatch(queue="c")
        poll(lambda: notices() == 2, 10, "the notices to be heard")
        assert notices.words == [f"{last.kind_id} 0 a", f"{last.kind_id} 0 c"]

    def test_what_is_due_later_adds_nothing(self, notices: Notices) -> None:
        """Who hears of a lane looks at all of them right after."""
        with transaction.atomic():
            tick = Tick.dispatch(queue="a")
            Tick.schedule(timedelta(seconds=2), queue="b")
        with transaction.atomic():
            Tick.schedule(timedelta(seconds=2), queue="b")
            Tick.dispatch(queue="a")
        poll(lambda: notices() == 2, 10, "the notices to be heard")
        assert notices.words == [f"{tick.kind_id} 0 a", ""]

    def test_of_many_lanes_none_is_named(self, notices: Notices) -> None:
        """From the ninth on it is something, and that is all there is to say."""
        with transaction.atomic():
            for number in range(20):
                Tick.dispatch(queue=f"q{number}")
        poll(lambda: notices() == 9, 10, "the notices to be heard")
        assert [word == "" for word in notices.words] == [False] * 8 + [True]

    def test_many_of_one_lane_are_named(self, notices: Notices) -> None:
        """Those of several are not."""
        now = clock.now()
        Tick.schedule_many([Tick(should_run_at=now, queue="a") for _ in range(3)])
        Tick.schedule_many([Tick(should_run_at=now, queue=queue) for queue in "ab"])
        poll(lambda: notices() == 2, 10, "the notices to be heard")
        assert [word[-2:] for word in notices.words] == [" a", ""]

    def test_once_for_a_thousand(self, notices: Notices) -> None:
        """In one transaction, one by one or together."""
        with queries() as made, transaction.atomic():
            for _ in range(1_000):
                Tick.dispatch()
        assert said(made) == 1
        with queries("INSERT") as made:
            Tick.schedule_many([Tick(should_run_at=clock.now()) for _ in range(1_000)])
        assert (len(made), said(made)) == (1, 1)
        poll(lambda: notices() == 2, 10, "both notices to be heard")
        assert len(set(Operation.objects.values_list("pk", flat=True))) == 2_000

    def test_said_again_after_a_rollback_to_a_savepoint(self, notices: Notices) -> None:
        """The database has forgotten the first one."""
        with queries() as made, transaction.atomic():
            with suppress(Undo), transaction.atomic():
                Tick.dispatch()
                raise Undo
            Tick.dispatch()
            Tick.dispatch()
        assert said(made) == 2
        poll(lambda: notices() == 1, 10, "the notice to be heard")

    def test_nothing_is_said_of_what_is_due_later(self) -> None:
        """Operators look before."""
        with queries() as made:
            Tick.schedule(timedelta(seconds=6))
            Operation.objects.all().reschedule(timedelta(seconds=7))
        assert said(made) == 0

    def test_verbs_say_it_in_their_transaction(self, notices: Notices) -> None:
        """Once for each chunk."""
        Tick.schedule(timedelta(hours=1))
        with queries() as made:
            assert Operation.objects.all().run_now() == 1
        assert said(made) == 1
        poll(lambda: notices() == 1, 10, "the notice to be heard")

    def test_a_project_may_switch_it_off(self, settings: Any) -> None:
        """Neither INSERT nor UPDATE says a word."""
        settings.OPERATOR = {"NOTIFY": False}
        with queries() as made:
            Tick.dispatch()
            Tick.schedule_many([Tick(should_run_at=clock.now())])
            write(Tick.schedule(timedelta(hours=1)), priority=3)
            Operation.objects.all().run_now()
        assert said(made) == 0


@pytest.mark.skipif("connection.vendor == 'postgresql'", reason="it has NOTIFY")
def test_elsewhere_it_costs_no_query(calls: list[int], django_assert_num_queries: Any) -> None:
    """SQLite is watched, MySQL is looked at: nothing is said."""
    Tick.schedule(timedelta(hours=1))  # From here on the kind's id is known.
    with django_assert_num_queries(1):
        Tick.dispatch()
    assert len(calls) == 1


def test_a_transaction_by_hand(transactional_db: None, calls: list[int]) -> None:
    """Nobody tells when it ends, so what is scheduled in it is found by the next look."""
    connection.set_autocommit(False)
    try:
        Tick.dispatch()
        connection.commit()
    finally:
        connection.set_autocommit(True)
    assert Operation.objects.count() == 1
