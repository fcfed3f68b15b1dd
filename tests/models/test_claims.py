"""In by claim: exact order, no row twice, whatever else goes on."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import Min

from operator_app import clock
from operator_app.models import Operation, OperatorProcess, states, takes
from operator_app.models.firsts import Due
from operator_app.models.lanes import Lane
from operator_app.models.specific import Taken
from operator_app.models.takes import Share
from tests.kinds.models import Note, QuickNote, Report, Shout, Sweep
from tests.models.tools import (
    HOUR,
    Make,
    Thread,
    claim_all,
    ids,
    in_thread,
    queries,
    stored,
    write,
)

pytestmark = pytest.mark.django_db

SQLITE = connection.vendor == "sqlite"
second = timedelta(seconds=1)

IN_STEPS = "in steps"
WAYS = [IN_STEPS] if connection.vendor == "mysql" else ["by one statement", IN_STEPS]


@pytest.fixture(autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How rows are taken: by one statement where there is RETURNING; in steps elsewhere, and on old
    versions of SQLite.
    """
    way = str(request.param)
    if way == IN_STEPS:
        monkeypatch.setattr(takes, "_tells_updates", lambda alias: False)
    return way


only_in_steps = pytest.mark.parametrize("way", [IN_STEPS], indirect=True)


COLUMN = {
    "started": "started_run_at",
    "finished": "finished_run_at",
    "failed": "failed_run_at",
    "cancelled": "cancelled_at",
}


def random_rows(seed: int, now: Any) -> list[Operation]:
    """Insert rows with few values in each column, so that shared lanes and ties are common; return
    them as they were drawn, which is not the order of their ids.
    """
    rng = random.Random(seed)
    drawn = []
    for _ in range(rng.randrange(5, 40)):
        state = rng.choice(["pending"] * 6 + list(COLUMN))
        drawn.append(
            rng.choice([Sweep, Shout, Note])(
                queue=rng.choice("ab"),
                priority=rng.choice([-32768, 0, 32767]),
                should_run_at=now + rng.randint(-2, 1) * second,
                **({COLUMN[state]: now} if state in COLUMN else {}),
            )
        )
    return Operation.schedule_many(drawn)


def expected_order(operations: list[Operation], now: Any) -> list[int]:
    due = [
        row
        for row in operations
        if row.should_run_at <= now
        and not any(getattr(row, column) for column in states.PENDING_COLUMNS)
    ]
    return ids(sorted(due, key=lambda row: (-row.priority, row.should_run_at, row.pk)))


# Order and limit


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("seed", range(6))
def test_a_single_claimer_gets_the_exact_order(
    seed: int, limit: int, operator: OperatorProcess
) -> None:
    """Claim by claim, across lanes and for any limit: priority, then time, then id, as a naive sort
    has it; within a claim too, since that is the order in which jobs are handed over.
    """
    now = clock.now()
    expected = expected_order(random_rows(seed, now), now)
    claims_made = []
    while claimed := ids(claim_all(operator, limit=limit, now=now)):
        claims_made.append(claimed)
    wanted = [expected[start : start + limit] for start in range(0, len(expected), limit)]
    assert [sorted(claim) for claim in claims_made] == [sorted(claim) for claim in wanted]
    assert claims_made == wanted


def test_equal_lanes_that_are_due_at_the_same_time_go_by_id(operator: OperatorProcess) -> None:
    """Where two lanes are due at the same moment, the lower id is first, whatever the queue."""
    now = clock.now()
    first, second_ = Sweep.schedule_many(
        [Sweep(queue=queue, should_run_at=now) for queue in ("b", "a")]
    )
    assert ids(claim_all(operator, limit=1, now=now)) == [first.pk]
    assert ids(claim_all(operator, limit=1, now=now)) == [second_.pk]


@pytest.mark.parametrize("limit", [650, 1000])
def test_more_lanes_than_a_statement_may_name(limit: int, operator: OperatorProcess) -> None:
    """A queue for each customer, and all become due at once: SQLite names 500 in a statement."""
    now = clock.now()
    rows = Sweep.schedule_many(
        [Sweep(queue=f"customer-{number % 700}", should_run_at=now) for number in range(720)]
    )
    assert ids(claim_all(operator, limit=limit, now=now)) == ids(rows)[:limit]


@pytest.mark.parametrize("seed", range(8))
def test_lanes_are_the_groups_of_pending_rows(seed: int) -> None:
    """`lanes()` equals what GROUP BY says of the pending rows, with the first time of each."""
    random_rows(seed, clock.now())
    groups = (
        Operation.all_objects.pending()
        .values_list("queue", "priority", "kind_id")
        .annotate(first=Min("should_run_at"))
    )
    with queries() as seen:
        found = Operation.all_objects.all().lanes()
    assert sorted(found) == sorted(Lane(*group) for group in groups)
    assert len(found) == len(set(found)) and len(seen) == 1


def test_without_pending_rows_there_are_no_lanes() -> None:
    """An empty table, and one with ended and started rows only, has no lanes."""
    assert Operation.all_objects.all().lanes() == []
    write(Note.dispatch(), finished_run_at=clock.now())
    write(Note.dispatch(), started_run_at=clock.now())
    assert Operation.all_objects.all().lanes() == []


@pytest.mark.parametrize("other", ["Mail", "mail ", "máil"])
def test_queues_are_told_apart_exactly(other: str, operator: OperatorProcess) -> None:
    """Queues that differ in case, accents or trailing spaces are different lanes on every database,
    and an operator of the one is not given work of the other; or such a name is refused.
    """
    Sweep.dispatch(queue="mail")
    try:
        Sweep.dispatch(queue=other)
    except ValueError:
        return
    lanes = Operation.all_objects.all().lanes()
    assert {lane.queue for lane in lanes} == {"mail", other}
    mine = [lane for lane in lanes if lane.queue == "mail"]
    claimed = Operation.all_objects.claim(operator, mine, limit=9, now=clock.now())
    assert [row.queue for row in claimed] == ["mail"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_claims_nothing(limit: int, operator: OperatorProcess) -> None:
    """No free slot, no claim, no query."""
    Note.dispatch()
    lanes = Operation.all_objects.all().lanes()
    with queries() as seen:
        assert Operation.all_objects.claim(operator, lanes, limit=limit, now=clock.now()) == []
    assert seen == []


def test_only_the_lanes_given_are_claimed_from(operator: OperatorProcess) -> None:
    """Queues, kinds and priorities that were left out stay as they are."""
    mine, *others = (
        Note.dispatch(queue="a"),
        Note.dispatch(queue="b"),
        QuickNote.dispatch(queue="a", priority=0),
        Note.dispatch(queue="a", priority=1),
    )
    lane = Lane("a", 0, mine.kind_id, mine.should_run_at)
    claimed = Operation.all_objects.claim(operator, [lane], limit=9, now=clock.now())
    assert ids(claimed) == [mine.pk]
    assert all(stored(row).started_run_at is None for row in others)


def test_a_lane_whose_rows_are_gone_gives_nothing(operator: OperatorProcess) -> None:
    """A lane that somebody else emptied meanwhile is passed over, and the others fill the limit."""
    gone, there = Note.dispatch(queue="a"), Note.dispatch(queue="b")
    lanes = Operation.all_objects.all().lanes()
    gone.delete()
    claimed = Operation.all_objects.claim(operator, lanes, limit=2, now=clock.now())
    assert ids(claimed) == [there.pk]


def test_with_nothing_due_a_claim_costs_nothing(operator: OperatorProcess) -> None:
    """Lanes whose first row is in the future are dropped before any query."""
    Note.schedule(HOUR)
    with queries() as seen:
        lanes = Operation.all_objects.all().lanes()
        assert Operation.all_objects.claim(operator, lanes, limit=5, now=clock.now()) == []
    assert len(seen) == 1 and lanes[0].next_at > clock.now()


@pytest.mark.parametrize("column", states.PENDING_COLUMNS)
def test_what_has_started_or_ended_is_not_claimed(column: str, operator: OperatorProcess) -> None:
    """Not even through a lane looked up before."""
    note = Note.dispatch()
    lanes = Operation.all_objects.all().lanes()
    write(note, **{column: clock.now()})
    before = Operation.all_objects.values().get()
    assert Operation.all_objects.claim(operator, lanes, limit=5, now=clock.now()) == []
    assert Operation.all_objects.values().get() == before


# What a claim writes


def test_what_a_claim_writes(operator: OperatorProcess) -> None:
    """Start, operator, attempts + 1, and no abort request; the instances say the same."""
    note = Note.dispatch(text="x")
    write(note, attempts=4, abort_requested_at=clock.now(), failures=1, crashes=2, stops=3)
    before = Operation.all_objects.values().get()
    now = clock.now()
    (claimed,) = claim_all(operator, now=now)
    after = Operation.all_objects.values().get()
    changed = {name: value for name, value in after.items() if before[name] != value}
    assert changed == {
        "started_run_at": now,
        "operator_id": operator.pk,
        "attempts": 5,
        "abort_requested_at": None,
    }
    assert type(claimed) is Note
    assert {name: getattr(claimed, name) for name in changed} == changed
    assert claimed.operator == operator


def test_a_claim_is_one_update_whatever_its_size(operator: OperatorProcess, way: str) -> None:
    """The cost grows with the lanes that contribute, not with the rows."""
    now = clock.now()
    counts = []
    for number in (2, 60):
        Sweep.schedule_many([Sweep(should_run_at=now) for _ in range(number)])
        with queries() as seen:
            assert len(claim_all(operator, limit=number, now=now)) == number
        statements = [sql for sql in seen if "SAVEPOINT" not in sql]
        assert sum("UPDATE" in sql and "SET" in sql for sql in statements) == 1
        counts.append(len(statements))
    # The lanes, the rows and the update in one or in two, the instances.
    assert counts == ([4, 4] if way == IN_STEPS else [3, 3])


# Races, told one step at a time


@only_in_steps
def test_the_guard_of_the_update_is_enough(
    operator: OperatorProcess, make_operator: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any row lock, what others claimed, ended or deleted in between is not taken."""
    other = make_operator()
    notes = [Note.dispatch(text=str(n)) for n in range(6)]
    now = clock.now()

    def unlocked(share: Share, due: Due) -> list[Taken]:
        found = [Taken(note.should_run_at, note.pk, note.kind_id) for note in notes]
        write(notes[0], started_run_at=now, operator=other, attempts=1)
        write(notes[1], finished_run_at=now)
        write(notes[2], cancelled_at=now)
        write(notes[3], started_run_at=now, attempts=1)
        notes[4].delete()
        return found

    monkeypatch.setattr(takes, "_first", unlocked)
    claimed = claim_all(operator, now=now)
    assert ids(claimed) == [notes[5].pk]
    assert stored(notes[0]).operator_id == other.pk
    assert stored(notes[3]).operator_id is None and stored(notes[1]).attempts == 0


@only_in_steps
def test_a_claim_that_loses_every_row_returns_nothing(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If others were quicker everywhere, the claim is empty and so is its mark."""
    note, first = Note.dispatch(), takes._first

    def unlocked(share: Share, due: Due) -> list[Taken]:
        found = first(share, due)
        write(note, finished_run_at=clock.now())
        return found

    monkeypatch.setattr(takes, "_first", unlocked)
    assert claim_all(operator) == []
    assert stored(note).operator_id is None


# Races, for real: several connections


def claim_in_a_loop(
    make_operator: Make, limit: int, barrier: threading.Barrier
) -> Callable[[], Any]:
    def work() -> list[int]:
        operator = make_operator()
        mine: list[int] = []
        barrier.wait(20)
        while claimed := claim_all(operator, limit=limit):
            assert len(claimed) <= limit
            mine += ids(claimed)
        return mine

    return work


@pytest.mark.django_db(transaction=True)
def test_two_claimers_never_share_a_row(make_operator: Make) -> None:
    """Two connections that claim as fast as they can take every row once."""
    now = clock.now()
    rng = random.Random(7)
    made = Operation.schedule_many(
        [
            kind(should_run_at=now - rng.randrange(5) * second, priority=rng.randrange(3))
            for kind in (Sweep, Note, Shout)
            for _ in range(60)
        ]
    )
    barrier = threading.Barrier(2)
    threads = [Thread(claim_in_a_loop(make_operator, limit, barrier)) for limit in (3, 4)]
    first, second_ = (thread.result() for thread in threads)
    assert not set(first) & set(second_)
    left = claim_all(make_operator())  # a claimer may see only rows that the other holds, and stop
    assert sorted([*first, *second_, *ids(left)]) == sorted(ids(made))
    assert set(Operation.objects.values_list("attempts", flat=True)) == {1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(SQLITE, reason="SQLite has no row locks: one writer at a time")
def test_locked_rows_are_passed_over_without_waiting(make_operator: Make) -> None:
    """A third connection that holds the first rows holds up nobody; they are claimed after it."""
    now = clock.now()
    made = Sweep.schedule_many([Sweep(should_run_at=now) for _ in range(60)])
    held = ids(made[:5])
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            list(Operation.all_objects.filter(pk__in=held).select_for_update())
            holding.set()
            assert done.wait(30)

    third = Thread(hold)
    assert holding.wait(20)
    barrier = threading.Barrier(2)
    threads = [Thread(claim_in_a_loop(make_operator, limit, barrier)) for limit in (4, 7)]
    first, second_ = (thread.result(20) for thread in threads)
    assert not set(first) & set(second_) and not {*first, *second_} & set(held)
    done.set()
    third.result()
    left = claim_all(make_operator())
    assert sorted([*first, *second_, *ids(left)]) == sorted(ids(made))
    assert set(held) <= set(ids(left))


@pytest.mark.django_db(transaction=True)
def test_a_row_of_a_long_transaction_is_found_after_its_commit(make_operator: Make) -> None:
    """A row inserted with an old time and committed late is claimed, though newer ones were."""
    operator = make_operator()
    inserted, commit = threading.Event(), threading.Event()

    def insert_slowly() -> int:
        with transaction.atomic():
            note = Note.schedule(-HOUR, text="late")
            inserted.set()
            assert commit.wait(30)
        return note.pk

    Sweep.dispatch()
    writer = Thread(insert_slowly)
    assert inserted.wait(20)
    assert len(Operation.all_objects.all().lanes()) == 1
    if not SQLITE:  # there the writer holds the lock that a claim waits for
        assert len(claim_all(operator)) == 1
    commit.set()
    late = writer.result()
    claimed = ids(claim_all(operator))
    assert late in claimed
    if SQLITE:
        assert claimed[0] == late, "it is the older one"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not SQLITE, reason="the lock of a whole file is SQLite's")
@pytest.mark.parametrize("mode", ["IMMEDIATE", "DEFERRED"])
def test_on_sqlite_a_claim_waits_for_a_writer(mode: str, make_operator: Make) -> None:
    """While another connection writes, a claim waits for the lock; it does not fail."""
    operator = make_operator()
    note = Note.dispatch()
    written, asking = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Sweep.dispatch()
            written.set()
            assert asking.wait(30)

    def tell(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith(("BEGIN", "WITH lane_0")):
            asking.set()
        return execute(sql, *rest)

    def work() -> list[int]:
        connection.ensure_connection()
        connection.transaction_mode = mode  # type: ignore[attr-defined]
        lanes = Operation.all_objects.all().lanes()
        with connection.execute_wrapper(tell):
            return ids(Operation.all_objects.claim(operator, lanes, limit=5, now=clock.now()))

    writer = Thread(hold)
    assert written.wait(20)
    claimer = Thread(work)
    assert claimer.result() == [note.pk]
    writer.result()


@only_in_steps
@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not SQLITE, reason="the lock of a whole file is SQLite's")
def test_on_sqlite_nobody_writes_between_the_steps_of_a_claim(
    make_operator: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim takes the write lock at its start, in a project with deferred transactions too: a
    write in between would make it fail at once, without waiting.
    """
    operator = make_operator()
    note = Note.dispatch()
    mark = takes._mark

    def write_now() -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 0")
        Sweep.dispatch()

    def interrupted(*arguments: Any) -> Any:
        with pytest.raises(OperationalError, match="locked"):
            in_thread(write_now)
        return mark(*arguments)

    monkeypatch.setattr(takes, "_mark", interrupted)

    def work() -> list[int]:
        connection.ensure_connection()
        connection.transaction_mode = "DEFERRED"  # type: ignore[attr-defined]
        return ids(claim_all(operator))

    assert in_thread(work) == [note.pk]


def test_a_report_of_another_queue_is_its_own_lane(operator: OperatorProcess) -> None:
    """Each operation goes to its own queue: an operator of one queue leaves the others."""
    report, note = Report.dispatch(), Note.dispatch()
    lanes = [lane for lane in Operation.all_objects.all().lanes() if lane.queue == "reports"]
    claimed = Operation.all_objects.claim(operator, lanes, limit=5, now=clock.now())
    assert ids(claimed) == [report.pk] and stored(note).state == "due"
