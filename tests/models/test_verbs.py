"""The verbs: what each writes, what it leaves, and that it says what has happened."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, connection
from django.utils import timezone

from operator_app import clock
from operator_app.exceptions import OperationExists
from operator_app.models import Changed, Operation, OperationJob, OperatorProcess, verbs
from operator_app.outcomes import Failed
from operator_app.signals import operation_ended
from tests.kinds.models import LongNote, Note, QuickNote, RankUp, Sweep, Tagged
from tests.models.tools import (
    HOUR,
    Make,
    Thread,
    claim_all,
    claimed_job,
    in_thread,
    nothing,
    queries,
    raises,
    scripted,
    stored,
    write,
)

pytestmark = pytest.mark.django_db


def columns(operation: Operation) -> dict[str, Any]:
    return Operation.all_objects.filter(pk=operation.pk).values().get()


def changed_columns(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {name: after[name] for name in before if before[name] != after[name]}


def lose(process: OperatorProcess) -> None:
    """Declare an operator lost."""
    OperatorProcess.objects.filter(pk=process.pk).update(lost_at=clock.now())


def fail(operation: Operation, operator: OperatorProcess) -> None:
    job = claimed_job(operation, operator)
    job.end_as(Failed("broken"))
    assert Operation.all_objects.record([job])


# Changed


def test_changed_is_a_number_that_knows_its_parts() -> None:
    changed = Changed.of(cancelled=2, deleted=0, left=3)
    assert changed == 2 and changed + 1 == 3 and f"{changed} {changed:d} %d" % changed == "2 2 2"
    assert (changed.cancelled, changed.left, changed.deleted, changed.retried) == (2, 3, 0, 0)
    assert repr(changed) == "Changed(cancelled=2, left=3)"
    assert not Changed.of(left=7) and not Changed.of(key_taken=1)
    copy = pickle.loads(pickle.dumps(changed))
    assert copy == 2 and copy.left == 3 and isinstance(copy, Changed)
    with pytest.raises(TypeError, match="no part stopped"):
        Changed.of(stopped=1)


# cancel


def test_cancel_writes_these_columns_and_no_other(operator: OperatorProcess) -> None:
    note = Note.schedule(HOUR, unique_key="k")
    before = columns(note)
    moment = clock.now()
    with clock.at(moment):
        changed = Operation.objects.filter(pk=note.pk).cancel("too late")
    assert repr(changed) == "Changed(cancelled=1)"
    assert changed_columns(before, columns(note)) == {
        "cancelled_at": moment,
        "reason": "too late",
        "active_key": None,
    }
    assert not Note.objects.filter(pk=note.pk).exists() and Note.all_objects.get(pk=note.pk)
    assert Note.dispatch(unique_key="k").pk, "the key is free"
    assert claim_all(operator, limit=10) and stored(note).attempts == 0


def test_cancel_leaves_what_is_not_pending(operator: OperatorProcess) -> None:
    started, over, gone = Note.dispatch(), Note.dispatch(), Note.dispatch()
    claimed_job(started, operator)
    write(over, finished_run_at=clock.now(), started_run_at=clock.now(), operator=None)
    write(gone, cancelled_at=clock.now(), started_run_at=None, operator=None)
    waits = Note.schedule(HOUR)
    before = [columns(each) for each in (started, over, gone)]
    changed = Note.all_objects.all().cancel()
    assert (changed, changed.cancelled, changed.left) == (1, 1, 3)
    assert [columns(each) for each in (started, over, gone)] == before
    assert stored(waits).state == "cancelled"


def test_cancel_with_delete_takes_the_child_rows_along(django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("ada")
    kinds = [Note.dispatch(), LongNote.dispatch(), Sweep.dispatch(), Tagged.dispatch()]
    kinds.append(RankUp.schedule(HOUR, user=user))
    OperationJob.objects.create(operation=kinds[0], number=1, started_at=clock.now())
    changed = Operation.objects.all().cancel(delete=True)
    assert (changed, changed.deleted, changed.cancelled) == (5, 5, 0)
    assert not Operation.all_objects.exists() and not OperationJob.objects.exists()
    assert not LongNote._base_manager.exists() and not RankUp._base_manager.exists()


def test_cancel_with_delete_leaves_what_runs(operator: OperatorProcess) -> None:
    started = Note.dispatch()
    claimed_job(started, operator)
    waits = Note.schedule(HOUR)
    changed = Operation.objects.all().cancel(delete=True)
    assert (changed.deleted, changed.left) == (1, 1)
    assert not Operation.all_objects.filter(pk=waits.pk).exists()
    assert stored(started).started_run_at


def test_abort_asks_what_is_claimed(operator: OperatorProcess) -> None:
    """It writes the wish and its reason, and no other column; what is not claimed is left."""
    running = Sweep.dispatch()
    claimed_job(running, operator)
    pending, over = Sweep.dispatch(), Sweep.dispatch()
    Operation.all_objects.filter(pk=over.pk).cancel()
    before = {each.pk: columns(each) for each in (running, pending, over)}
    changed = Operation.all_objects.all().abort("wrong customer")
    assert (changed, changed.abort_requested, changed.left) == (1, 1, 2)
    after = columns(running)
    assert set(changed_columns(before[running.pk], after)) == {"abort_requested_at", "reason"}
    assert after["reason"] == "wrong customer"
    assert columns(pending) == before[pending.pk] and columns(over) == before[over.pk]


def test_the_first_wish_stands(operator: OperatorProcess) -> None:
    """Asking again changes nothing, and says so."""
    operation = Sweep.dispatch()
    claimed_job(operation, operator)
    assert Operation.objects.all().abort("first") == 1
    before = columns(operation)
    changed = Operation.objects.all().abort("second")
    assert (changed, changed.left) == (0, 1)
    assert columns(operation) == before


@pytest.mark.parametrize("delete", [False, True])
def test_cancel_with_abort(operator: OperatorProcess, delete: bool) -> None:
    """What is pending is cancelled or deleted, what is claimed is asked to end."""
    running = Sweep.dispatch()
    claimed_job(running, operator)
    pending = Sweep.dispatch()
    changed = Operation.objects.all().cancel("enough", abort=True, delete=delete)
    assert (changed, changed.abort_requested, changed.left) == (2, 1, 0)
    assert changed.deleted == int(delete) and changed.cancelled == int(not delete)
    assert stored(running).abort_requested_at is not None
    assert Operation.all_objects.filter(pk=pending.pk).exists() is not delete


def test_cancel_by_id(operator: OperatorProcess) -> None:
    """One, if it is there."""
    one, other = Sweep.dispatch(), Sweep.dispatch()
    assert Operation.objects.cancel_by_id(one.pk, "enough") == 1
    assert stored(one).reason == "enough" and stored(other).state == "due"
    assert Operation.objects.cancel_by_id(one.pk) == 0
    assert Operation.objects.cancel_by_id(999_999_999) == 0
    claimed_job(other, operator)
    assert Operation.objects.cancel_by_id(other.pk) == 0
    assert Operation.objects.cancel_by_id(other.pk, abort=True).abort_requested == 1
    third = Sweep.dispatch()
    assert Operation.objects.filter(pk=one.pk).cancel_by_id(third.pk) == 0
    assert Operation.objects.cancel_by_id(third.pk, delete=True).deleted == 1


def test_a_long_or_odd_reason_is_stored() -> None:
    note = Note.dispatch()
    Note.objects.filter(pk=note.pk).cancel("x\x00" + "é" * 400)
    assert 200 < len(stored(note).reason) <= 255


# retry


def test_retry_writes_these_columns_and_no_other(operator: OperatorProcess) -> None:
    note = Note.dispatch(unique_key="k")
    fail(note, operator)
    write(note, crashes=2, stops=1, begun_run_at=clock.now(), times_out_at=clock.now())
    write(note, abort_requested_at=clock.now())
    row = columns(note)
    assert row["failures"] == 1 and row["active_key"] is None and row["operator_id"]
    moment = clock.now() + timedelta(seconds=1)
    with clock.at(moment):
        changed = Operation.objects.failed().retry()
    assert repr(changed) == "Changed(retried=1)"
    after = columns(note)
    assert {name: after[name] for name in changed_columns(row, after)} == {
        **dict.fromkeys(("failed_run_at", "started_run_at", "begun_run_at", "operator_id")),
        **dict.fromkeys(("times_out_at", "abort_requested_at")),
        **dict.fromkeys(("failures", "crashes", "stops"), 0),
        "reason": "",
        "should_run_at": moment,
        "active_key": after["active_key"],
    }
    assert after["active_key"], "taken again"
    assert after["attempts"] == 1, "only grows"


def test_a_retried_operation_keeps_its_history_and_gets_new_numbers(
    operator: OperatorProcess,
) -> None:
    broken = scripted(raises(ValueError("no")))
    for _ in range(2):
        for _ in range(3):
            write(broken, should_run_at=clock.now())
            job = claimed_job(broken, operator)
            job.run()
            Operation.all_objects.record([job])
        assert stored(broken).state == "failed" and stored(broken).failures == 3
        assert Operation.objects.failed().retry() == 1
        assert stored(broken).state == "due" and stored(broken).failures == 0
    assert list(broken.jobs.values_list("number", flat=True).order_by("number")) == [*range(1, 7)]


def test_retry_takes_cancelled_ones_and_leaves_others(operator: OperatorProcess) -> None:
    gone, waits, done, runs = (Note.dispatch() for _ in range(4))
    Note.objects.filter(pk=gone.pk).cancel("no")
    claimed_job(runs, operator)
    write(done, finished_run_at=clock.now())
    Operation.all_objects.filter(pk=waits.pk).update(
        started_run_at=None, operator=None, should_run_at=clock.now() + HOUR
    )
    before = [columns(each) for each in (waits, done, runs)]
    changed = Operation.all_objects.all().retry()
    assert (changed, changed.retried, changed.left, changed.key_taken) == (1, 1, 3, 0)
    assert [columns(each) for each in (waits, done, runs)] == before
    assert stored(gone).state == "due" and stored(gone).reason == ""
    assert Note.objects.filter(pk=gone.pk).exists()


def test_retry_skips_one_whose_key_is_taken(operator: OperatorProcess) -> None:
    first = Note.dispatch(unique_key="k")
    fail(first, operator)
    second = Note.dispatch(unique_key="k")
    fail(second, operator)
    other = Note.dispatch(unique_key="other")
    fail(other, operator)
    fail(Note.dispatch(), operator)
    before = columns(second)
    changed = Operation.objects.failed().retry()
    assert (changed, changed.retried, changed.key_taken, changed.left) == (3, 3, 1, 0)
    assert stored(first).active_key and stored(other).active_key, "the older one has its key"
    assert columns(second) == before
    with pytest.raises(IntegrityError):
        write(second, active_key=stored(first).active_key)


# run_now, reschedule


def test_run_now_and_reschedule_touch_pending_ones_only(operator: OperatorProcess) -> None:
    runs, over, due = Note.dispatch(), Note.dispatch(), Note.dispatch()
    claim_all(operator)
    write(over, finished_run_at=clock.now())
    Operation.all_objects.filter(pk=due.pk).update(started_run_at=None, operator=None)
    late = Note.schedule(HOUR)
    before = [columns(each) for each in (runs, over, due, late)]
    moment = clock.now()
    with clock.at(moment):
        changed = Operation.objects.all().run_now()
    assert (changed, changed.rescheduled, changed.left) == (1, 1, 3)
    after = [columns(each) for each in (runs, over, due, late)]
    assert before[:3] == after[:3], "one that is due keeps its place"
    assert changed_columns(before[3], after[3]) == {"should_run_at": moment}

    with clock.at(moment):
        changed = Operation.objects.all().reschedule(timedelta(days=2))
    assert (changed.rescheduled, changed.left) == (2, 2)
    assert stored(due).should_run_at == stored(late).should_run_at == moment + timedelta(days=2)
    assert [columns(each) for each in (runs, over)] == before[:2]
    wanted = clock.now() + HOUR
    assert Note.objects.filter(pk=late.pk).reschedule(wanted).rescheduled == 1
    assert stored(late).should_run_at == wanted


@pytest.mark.parametrize("when", ["tomorrow", 60, None])
def test_reschedule_refuses_what_is_no_time(when: Any) -> None:
    note = Note.schedule(HOUR)
    with pytest.raises(TypeError):
        Note.objects.all().reschedule(when)
    assert stored(note).should_run_at == note.should_run_at


def test_reschedule_refuses_a_naive_time(settings: Any) -> None:
    if settings.USE_TZ:
        with pytest.raises(ValueError, match="naive"):
            Note.objects.all().reschedule(timezone.make_naive(clock.now()))


# release


def test_release_gives_back_what_lost_operators_hold(
    operator: OperatorProcess, make_operator: Make
) -> None:
    living = make_operator()
    waiting, begun, asked, healthy, by_hand = (Note.dispatch() for _ in range(5))
    for each in (waiting, begun, asked):
        write(each, started_run_at=clock.now(), operator=operator, attempts=1)
    write(healthy, started_run_at=clock.now(), operator=living, attempts=1)
    write(by_hand, started_run_at=clock.now() - 3 * HOUR, attempts=1)
    write(begun, begun_run_at=clock.now())
    write(asked, abort_requested_at=clock.now())
    everything = (waiting, begun, asked, healthy, by_hand)
    assert Operation.objects.all().release().left == 5, "its operator was not declared lost"
    lose(operator)
    before = {each.pk: columns(each) for each in everything}
    moment = clock.now()
    with clock.at(moment):
        changed = Operation.objects.all().release()
    assert (changed, changed.released, changed.aborted, changed.left) == (3, 2, 1, 2)

    after = {each.pk: columns(each) for each in everything}
    assert after[healthy.pk] == before[healthy.pk] and after[by_hand.pk] == before[by_hand.pk]
    given_back = {"started_run_at": None, "operator_id": None}
    assert changed_columns(before[waiting.pk], after[waiting.pk]) == given_back
    assert changed_columns(before[begun.pk], after[begun.pk]) == {
        **given_back,
        "begun_run_at": None,
        "should_run_at": moment + timedelta(seconds=5),
    }
    ended = changed_columns(before[asked.pk], after[asked.pk])
    assert ended.keys() - {"active_key"} == {"cancelled_at", "reason"}
    jobs = OperationJob.objects.order_by("operation")
    assert [job.outcome for job in jobs] == ["released", "released", "aborted"]
    assert {job.operator for job in jobs} == {"host:1"}
    assert "gave no heartbeat" in jobs[0].message


def test_fail_ends_what_lost_operators_hold(operator: OperatorProcess, make_operator: Make) -> None:
    """As on_stuck="fail" does: what a living operator holds is let alone, and so is what was asked
    to abort, which is cancelled."""
    living = make_operator()
    held, asked, healthy, by_hand, due = (Note.dispatch() for _ in range(5))
    for each in (held, asked):
        write(each, started_run_at=clock.now(), operator=operator, attempts=1)
    write(healthy, started_run_at=clock.now(), operator=living, attempts=1)
    write(by_hand, started_run_at=clock.now() - 3 * HOUR, attempts=1)
    write(asked, abort_requested_at=clock.now())
    assert Operation.objects.filter(pk=held.pk).fail().left == 1, "it was not declared lost"
    lose(operator)
    changed = Operation.objects.all().fail("the disk is gone")
    assert (changed, changed.failed, changed.aborted, changed.left) == (3, 2, 1, 2)
    for each in (held, by_hand):
        row = stored(each)
        assert row.state == "failed" and row.reason == "the disk is gone" and row.crashes == 1
    assert [stored(each).state for each in (asked, healthy, due)] == ["cancelled", "running", "due"]
    job = OperationJob.objects.get(operation=held.pk)
    assert (job.outcome, job.operator) == ("failed", "host:1")
    assert job.exception_class == "operator_app.exceptions.OperatorLost"


def test_fail_says_why_and_is_fenced(operator: OperatorProcess) -> None:
    note = Note.dispatch()
    write(note, started_run_at=clock.now(), operator=987654, attempts=1)
    assert Operation.objects.fail() == 1
    assert stored(note).reason == "failed by hand: its operator process is gone"
    assert Operation.objects.fail().left == 1
    assert async_to_sync(Operation.objects.filter(pk=note.pk).afail)().left == 1


def test_release_of_a_gone_operator_tells_receivers(
    operator: OperatorProcess, django_capture_on_commit_callbacks: Any
) -> None:
    note, heard = Note.dispatch(), []
    write(note, started_run_at=clock.now(), operator=operator, attempts=1)
    OperatorProcess.objects.all().delete()

    def receiver(sender: Any, outcome: Any, **kwargs: Any) -> None:
        heard.append((sender, outcome.name))

    operation_ended.connect(receiver)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            assert Note.objects.filter(pk=note.pk).release() == 1
    finally:
        operation_ended.disconnect(receiver)
    assert heard == [(Note, "released")]


# All of them


def test_every_queryset_can_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass, a proxy, a join, a slice, values, specific, distinct, a union."""
    for _ in range(3):
        LongNote.schedule(HOUR, text="a", body="b")
        Sweep.schedule(HOUR)
        QuickNote.schedule(HOUR)
    assert LongNote.objects.filter(body="b", text="a").reschedule(HOUR) == 3
    assert Sweep.objects.all().reschedule(HOUR) == 3
    assert QuickNote.objects.run_now() == 3
    assert LongNote.objects.order_by("-pk")[:2].cancel() == 2
    assert Operation.objects.specific().order_by("-pk").reschedule(HOUR) == 7
    assert Operation.objects.values("queue").distinct().reschedule(HOUR) == 7
    assert Operation.objects.select_related("operator").defer("queue").reschedule(HOUR) == 7
    assert Operation.objects.all().union(Sweep.objects.none()).reschedule(HOUR) == 7
    assert Operation.objects.none().cancel() == 0
    assert Operation.objects.filter(pk=0).retry() == 0


def test_large_sets_are_changed_in_chunks_of_the_common_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One SELECT, and one UPDATE for each chunk, whatever the selector joins. Where rows can be
    locked, each chunk is, by id, before it is changed.
    """
    monkeypatch.setattr(verbs, "CHUNK", 4)
    LongNote.schedule_many([LongNote(should_run_at=clock.now(), body="b") for _ in range(10)])
    with queries("UPDATE") as updates, queries("SELECT") as selects:
        assert LongNote.objects.filter(body="b").order_by("?").cancel() == 10
    assert len(updates) == 3
    assert all("longnote" not in statement.lower() for statement in updates)
    locks = [statement for statement in selects if " FOR " in statement]
    assert all("ORDER BY" in statement for statement in locks)
    assert len(locks) == (0 if connection.vendor == "sqlite" else 3)
    # Where the state is not in the UPDATE, it was asked for under the lock.
    guards = [statement for statement in updates + selects[1:] if "started_run_at" in statement]
    assert len(guards) == 3 and len(selects) == 1 + len(locks) + 3 * (connection.vendor == "mysql")


def test_the_async_twins_do_the_same() -> None:
    note = Note.schedule(HOUR)
    mine = Note.all_objects.filter(pk=note.pk)

    async def everything() -> list[Changed]:
        return [
            await mine.areschedule(2 * HOUR),
            await mine.arun_now(),
            await mine.acancel("no"),
            await mine.aretry(),
            await mine.arelease(),
            await mine.acancel(delete=True),
        ]

    moved, run, cancelled, retried, released, deleted = async_to_sync(everything)()
    assert moved.rescheduled == run.rescheduled == cancelled.cancelled == 1
    assert retried.retried == deleted.deleted == released.left == 1
    assert not Note.all_objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("delete", [False, True])
def test_cancel_racing_with_claims_says_what_happened(make_operator: Make, delete: bool) -> None:
    """Each operation is either cancelled and never claimed, or claimed and not cancelled."""
    operator, total = make_operator(), 0
    for _ in range(25):
        Note.schedule_many([Note(should_run_at=clock.now()) for _ in range(40)])
        claiming = Thread(lambda: [row.pk for row in claim_all(operator, limit=25)])
        cancelling = Thread(lambda: Operation.objects.all().cancel(delete=delete))
        claimed, changed = claiming.result(), cancelling.result()
        rows = Operation.all_objects
        assert rows.started().count() == len(claimed) == 40 - changed
        hidden = rows.filter(cancelled_at__isnull=False)
        assert hidden.count() == changed.cancelled and not hidden.filter(attempts__gt=0).exists()
        assert changed == changed.deleted + changed.cancelled
        assert Note._base_manager.count() == rows.count()
        total += changed
        rows.all().delete()
    assert total >= 25 * 15


@pytest.mark.django_db(transaction=True)
def test_cancel_and_abort_racing_with_claims_miss_nothing(make_operator: Make) -> None:
    """Each is cancelled and never claimed, or claimed and asked to end: none is in neither."""
    operator, total = make_operator(), 0
    for _ in range(25):
        Note.schedule_many([Note(should_run_at=clock.now()) for _ in range(40)])
        claiming = Thread(lambda: [row.pk for row in claim_all(operator, limit=25)])
        cancelling = Thread(lambda: Operation.objects.all().cancel("enough", abort=True))
        claimed, changed = claiming.result(), cancelling.result()
        rows = Operation.all_objects
        assert changed.cancelled == rows.filter(cancelled_at__isnull=False, attempts=0).count()
        asked = rows.started().filter(abort_requested_at__isnull=False).count()
        assert changed.abort_requested == asked
        assert changed.cancelled + len(claimed) == 40
        # Claimed after the verb had looked is claimed after it had returned.
        assert rows.started().count() == len(claimed)
        total += changed.cancelled
        rows.all().delete()
    assert total >= 25 * 15


@pytest.mark.django_db(transaction=True)
def test_two_people_cancel_and_retry_at_once() -> None:
    """Each row is changed by one of them; nobody deadlocks."""
    Note.schedule_many([Note(should_run_at=clock.now()) for _ in range(200)])
    for verb in ("cancel", "retry", "cancel"):
        twins = [Thread(lambda: getattr(Operation.all_objects.all(), verb)()) for _ in range(3)]  # noqa: B023
        changed = [twin.result() for twin in twins]
        assert sum(changed) == 200 and sum(each.left for each in changed) == 400


@pytest.mark.django_db(transaction=True)
def test_a_key_that_is_taken_while_retry_runs_is_skipped(make_operator: Make) -> None:
    operator = make_operator()
    for _ in range(5):
        note = Note.dispatch(unique_key="k")
        fail(note, operator)
        retrying = Thread(lambda: Operation.objects.failed().retry())
        taking = Thread(lambda: Note.dispatch(unique_key="k"))
        changed = retrying.result()
        try:
            taking.result()
            taken = True
        except OperationExists:
            taken = False
        assert (changed.retried, changed.key_taken) == ((0, 1) if taken else (1, 0))
        assert Operation.all_objects.filter(active_key__isnull=False).count() == 1
        in_thread(lambda: Operation.all_objects.all().delete())


def test_a_script_that_ends_well_is_not_retried(operator: OperatorProcess) -> None:
    done = scripted(nothing)
    job = claimed_job(done, operator)
    job.run()
    Operation.all_objects.record([job])
    assert Operation.all_objects.filter(pk=done.pk).retry() == 0
    assert stored(done).state == "finished"
