"""Recurrences, with real operators: a slot each second, and one of them is killed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from operator_app import clock
from operator_app.models import Operation, Recurrence, RecurrenceSlot, kinds, states
from tests.process.conftest import Start
from tests.process.support import (
    assert_calm,
    assert_each_once,
    assert_once_an_attempt,
    logs,
    ready,
    wait_for_entries,
)
from tests.processes import OperatorUnderTest, poll
from tests.work.models import Tick

SECOND = timedelta(seconds=1)


def each_second() -> Recurrence:
    return Recurrence.objects.create(
        name="each second",
        kind=kinds.content_type(Tick, "default"),
        expression="* * * * * *",
        time_zone="Europe/Berlin",
        missed="all",
    )


def wind_down(*operators: OperatorUnderTest) -> None:
    """Let what was made run, make no more, and let the operators leave."""
    Recurrence.objects.disable("the test is over")
    # In one look: what a killed operator had claimed goes from started back to pending.
    poll(lambda: not Operation.objects.filter(states.NOT_ENDED).exists(), 30, "all to end")
    for operator in operators:
        operator.terminate()
    assert [operator.wait() for operator in operators] == [0] * len(operators)


def slots_of(recurrence: Recurrence) -> list[object]:
    return list(recurrence.slots.order_by("slot").values_list("slot", flat=True))


def wait_for_slots(recurrence: Recurrence, count: int, *, by: Sequence[OperatorUnderTest]) -> None:
    """Wait until operations were made for so many of its slots."""
    poll(lambda: recurrence.slots.count() >= count, 30, lambda: f"{count} slots.\n{logs(*by)}")


def test_each_slot_once_though_an_operator_is_killed(operate: Start) -> None:
    """Three operators, one of which is killed between slots: no slot is left out or made twice, and
    all operations run."""
    operators = [
        operate("--threads", "1", HEARTBEAT={"interval": 0.3, "timeout": 2}) for _ in range(3)
    ]
    ready(*operators)
    recurrence = each_second()
    victim, *others = operators
    wait_for_slots(recurrence, 2, by=operators)
    victim.kill()
    # Slots, and not what has run: of these one may have been run by the victim, too.
    wait_for_slots(recurrence, 6, by=others)
    wind_down(*others)

    slots = slots_of(recurrence)
    assert slots == [slots[0] + n * SECOND for n in range(len(slots))]
    made = list(recurrence.slots.values_list("operation", flat=True))
    assert set(Tick.objects.values_list("pk", flat=True)) == set(made)
    assert_once_an_attempt(made)


def test_a_recurrence_is_noticed_and_made_on_time(operate: Start) -> None:
    """An idle operator hears of a new one, and makes each operation as its slot comes."""
    operator = operate("--threads", "1")
    ready(operator)
    recurrence = each_second()
    wait_for_entries(3, by=[operator])
    wind_down(operator)
    assert_calm(operator)
    made = list(recurrence.slots.order_by("slot").values_list("slot", "created_at"))
    assert all(slot <= created for slot, created in made)
    assert_each_once(RecurrenceSlot.objects.values_list("operation", flat=True))


def test_once_sees_to_what_is_due(operate: Start) -> None:
    """Also an operator that only runs what is due."""
    recurrence = each_second()
    Recurrence.objects.update(next_run_at=clock.now() - timedelta(minutes=10), missed="once")
    operator = operate("--once")
    assert operator.wait() == 0
    assert recurrence.slots.count() >= 1
    assert_each_once(recurrence.slots.values_list("operation", flat=True))


def test_a_frozen_operator_wakes_two_slots_later(operate: Start) -> None:
    """What it would have made has been made."""
    # If it is frozen while it holds the lock of the recurrence, its session is ended after these
    # seconds; and what it had begun is then attempted again. Usually it is thawed before.
    heartbeat = {"interval": 1, "timeout": 10}
    operators = [operate("--threads", "1", HEARTBEAT=heartbeat) for _ in range(2)]
    ready(*operators)
    recurrence = each_second()
    frozen = operators[0]
    wait_for_entries(1, by=operators)
    frozen.freeze()
    wait_for_slots(recurrence, recurrence.slots.count() + 3, by=operators)
    frozen.thaw()
    wait_for_slots(recurrence, recurrence.slots.count() + 2, by=operators)
    wind_down(*operators)
    slots = slots_of(recurrence)
    assert slots == [slots[0] + n * SECOND for n in range(len(slots))]
    assert_once_an_attempt(recurrence.slots.values_list("operation", flat=True))
