"""How many operations wait in each lane."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation
from operator_app.models.depths import AT_ONCE, Depth, depths
from operator_app.models.lanes import Lane
from tests.kinds.models import Note, Sweep
from tests.models.tools import HOUR, write

pytestmark = pytest.mark.django_db


def counted(cap: int = 10) -> dict[tuple[str, int], Depth]:
    lanes = Operation.all_objects.lanes()
    found = depths(lanes, clock.now(), "default", cap)
    assert list(found) == lanes
    return {(lane.queue, lane.priority): depth for lane, depth in found.items()}


def test_each_lane_is_counted_for_itself() -> None:
    for _ in range(3):
        Note.dispatch(queue="a")
    Note.schedule(HOUR, queue="a")
    Note.schedule(HOUR, queue="A")
    Sweep.dispatch(queue="a'%s", priority=-3)
    for column in ("finished_run_at", "failed_run_at", "cancelled_at"):
        write(Note.dispatch(queue="a"), started_run_at=clock.now(), **{column: clock.now()})
    write(Note.dispatch(queue="a"), started_run_at=clock.now())
    assert counted() == {("a", 0): (3, 1), ("A", 0): (0, 1), ("a'%s", -3): (1, 0)}


def test_the_moment_itself_is_due() -> None:
    now = clock.now().replace(microsecond=5)
    Note.schedule(now)
    (lane,) = Operation.all_objects.lanes()
    assert depths([lane], now, "default", 9)[lane] == (1, 0)
    assert depths([lane], now - timedelta(microseconds=1), "default", 9)[lane] == (0, 1)


def test_the_cap() -> None:
    for _ in range(5):
        Note.dispatch(queue="a")
    assert counted(4) == {("a", 0): (5, 0)}
    assert counted(3) == {("a", 0): (4, 0)}


def test_the_cost(django_assert_num_queries: Any) -> None:
    """Of none, of what one statement counts, and of what takes a second one."""
    Note.dispatch(queue="a")
    (lane,) = Operation.all_objects.lanes()
    for number, queries in ((0, 0), (AT_ONCE, 1), (AT_ONCE + 1, 2)):
        lanes = [Lane("a", priority, lane.kind_id, lane.next_at) for priority in range(number)]
        with django_assert_num_queries(queries):
            found = depths(lanes, clock.now(), "default", 10)
        assert len(found) == number
        assert number == 0 or found[lanes[0]] == (1, 0)
