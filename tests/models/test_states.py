"""The states: a partition of all rows, in SQL and in Python alike."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationQuerySet
from tests.kinds.models import Note, QuickNote, Sweep
from tests.models.tools import HOUR, Make

pytestmark = pytest.mark.django_db

STATES = ["scheduled", "due", "running", "stuck", "finished", "failed", "cancelled"]
ADJECTIVES_WITH_NOW = ["scheduled", "due", "running", "stuck"]
GONE = 9_999_999


def rows() -> OperationQuerySet[Operation]:
    return Operation.all_objects.all()


def test_every_row_is_in_the_one_state_it_names(make_operator: Make) -> None:
    """Over the product of times, endings and operators, each row satisfies exactly one adjective,
    and that is its `state`; at any `now`.
    """
    now = clock.now()
    moments = [now - 2 * HOUR, now - timedelta(minutes=1), now, now + timedelta(minutes=1)]
    operators = [
        None,
        make_operator(alive_until=now + timedelta(seconds=30)).pk,
        make_operator(alive_until=now).pk,
        make_operator(alive_until=now - timedelta(seconds=1)).pk,
        make_operator(alive_until=now + 9 * HOUR, lost_at=now).pk,
        GONE,
    ]
    endings = [None, "finished_run_at", "failed_run_at", "cancelled_at"]
    cases = []
    for should, started, operator, times_out, ended in product(
        moments, [None, *moments], operators, [None, *moments], endings
    ):
        if operator is not None and started is None:
            continue  # refused by the database
        if should != moments[0] and (started is not None or ended is not None):
            continue  # `should_run_at` counts only while pending
        if ended is not None and (times_out is not None or started not in (None, now)):
            continue
        case = {
            "should_run_at": should,
            "started_run_at": started,
            "operator_id": operator,
            "times_out_at": times_out,
        }
        cases.append(case | ({ended: now} if ended else {}))
    operations = Sweep.schedule_many([Sweep(**case) for case in cases])
    assert len(operations) > 150

    for moment in (now, now + timedelta(seconds=30), now + 3 * HOUR):
        found = {}
        for name in STATES:
            arguments = [moment] if name in ADJECTIVES_WITH_NOW else []
            adjective = getattr(rows(), name)(*arguments)
            found[name] = set(adjective.values_list("pk", flat=True))
        with clock.at(moment):
            for operation in rows():
                mine = [name for name in STATES if operation.pk in found[name]]
                facts = {k: v for k, v in vars(operation).items() if k.endswith(("_at", "_id"))}
                assert mine == [operation.state], (moment, facts)


@pytest.mark.parametrize("name", ADJECTIVES_WITH_NOW)
def test_adjectives_take_the_time_from_the_clock_by_default(name: str, make_operator: Make) -> None:
    """Without an argument an adjective means now, as the clock tells it."""
    now = clock.now()
    living = make_operator(alive_until=now + 2 * HOUR)
    Sweep.schedule(HOUR)
    Sweep.schedule_many([Sweep(should_run_at=now, started_run_at=now, operator_id=living.pk)])
    for moment in (now, now + HOUR, now + 3 * HOUR):
        with clock.at(moment):
            implicit = list(getattr(rows(), name)().order_by("pk"))
        assert implicit == list(getattr(rows(), name)(moment).order_by("pk"))


def test_pending_and_started_are_unions_of_states(make_operator: Make) -> None:
    """Pending is scheduled or due; started is running or stuck."""
    now = clock.now()
    pending = [Sweep.schedule(HOUR).pk, Sweep.dispatch().pk]
    many = Sweep.schedule_many(
        [
            Sweep(should_run_at=now, started_run_at=now),
            Sweep(should_run_at=now, started_run_at=now, operator_id=GONE),
            Sweep(should_run_at=now, started_run_at=now, finished_run_at=now),
        ]
    )
    assert sorted(row.pk for row in rows().pending()) == pending
    assert {row.pk for row in rows().started()} == {many[0].pk, many[1].pk}


def test_adjectives_chain_and_ask_nothing_by_themselves(
    django_assert_num_queries: object,
) -> None:
    """A chain of adjectives is one query, made when it is looked at."""
    Note.dispatch(text="a")
    QuickNote.dispatch()
    with django_assert_num_queries(0):  # type: ignore[operator]
        chain = Operation.objects.due().of_kind(Note).filter(queue="notes")
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert len(chain) == 1


def test_an_operation_started_by_hand_is_running_for_its_time() -> None:
    """By hand, an operation is running for an hour, or until its own timeout, then stuck."""
    now = clock.now()
    plain, timed = Sweep.schedule_many(
        [
            Sweep(should_run_at=now, started_run_at=now),
            Sweep(should_run_at=now, started_run_at=now, times_out_at=now + 2 * HOUR),
        ]
    )
    after = now + HOUR + timedelta(seconds=1)
    assert rows().running(now).count() == 2
    assert {row.pk for row in rows().stuck(after)} == {plain.pk}
    assert {row.pk for row in rows().running(after)} == {timed.pk}
