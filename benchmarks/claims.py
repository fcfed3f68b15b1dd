"""Does a claim stay flat? `python -m benchmarks.claims [--rows 1000000] [--database NAME ...]`

Times finding the lanes, and claiming a batch and giving it back, as the table fills up: eighty
lanes with a few due rows, then many future, many due and many finished rows in them. Each figure is
the median of several rounds, and stands beside its ratio to the first of its column: ratios of one
run on one machine are what can be compared. Exits with 1 if one of them is above `FLAT`.

The databases are those of the tests (see `tests/databases.py`); each run makes one of its own, and
drops it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Any, NamedTuple

from benchmarks import runs

QUEUES = ["default", "mail", "ranks", "reports", "chores"]
PRIORITIES = [-3, 0, 1, 5]
KINDS = 4
LaneOf = tuple[str, int, int]
"""A queue, a priority, and the id of a kind."""
FINISHED = 5
"""How many times more finished rows there are than of each other sort."""
BATCH = 100
ROUNDS = 7
CHUNK = 10_000
FLAT = 3.0
"""How many times longer something may take in a full table than in an empty one, to count as flat.
Without the index, or with one that a claim cannot use, it is hundreds of times."""


class Filling(NamedTuple):
    """What is added to the table: so many rows, spread over a span of time and over lanes."""

    count: int
    start: datetime
    span: timedelta
    columns: dict[str, Any] = {}
    """What is set besides."""
    lanes: Sequence[LaneOf] = ()
    """By default all that there are."""


def main() -> int:
    """Measure each database that is found, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each sort")
    parser.add_argument("--database", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    if runs.is_child():
        return measure(options.rows)
    return runs.on_each_database(
        "benchmarks.claims",
        options.database,
        f"{options.rows:,} rows of each sort",
        f"--rows={options.rows}",
    )


def measure(rows: int) -> int:
    """Fill the table step by step, and measure after each; return 1 if it was not flat."""
    with runs.database():
        from operator_app import clock

        now = clock.now()
        print(f"  {'':28}{'lanes':>10}{'':>8}{'claim':>10}{'':>8}")
        baseline: tuple[float, float] | None = None
        worst = 1.0
        for title, filling in steps(rows, now):
            fill(filling)
            figures = timed(find_lanes), timed(claim_and_release)
            baseline = baseline or figures
            worst = max(
                worst, *(figure / base for figure, base in zip(figures, baseline, strict=True))
            )
            cells = (
                f"{1000 * figure:>8.2f}ms{figure / base:>7.2f}x"
                for figure, base in zip(figures, baseline, strict=True)
            )
            print(f"  {title:28}{''.join(cells)}", flush=True)
        print(f"  at most {worst:.2f}x: {'flat' if worst <= FLAT else 'NOT flat'}")
        return int(worst > FLAT)


def steps(rows: int, now: datetime) -> Iterator[tuple[str, Filling]]:
    """Yield what is added to the table, with a title."""
    day = timedelta(days=1)
    ended = {"started_run_at": now, "finished_run_at": now}
    yield "a few due, 80 lanes", Filling(20_000, now - 3 * day, day)
    yield "many future", Filling(rows, now + day, 30 * day)
    yield "many due, too", Filling(rows, now - 2 * day, day)
    yield "more finished, too", Filling(FINISHED * rows, now - 9 * day, day, ended)


def fill(filling: Filling) -> None:
    """Insert rows; not into the kinds' own tables, which no claim reads.

    Those above the first `CHUNK` are copies of these, which the database makes by itself.
    """
    from django.db import transaction
    from django.db.models import Max

    from operator_app import clock
    from operator_app.models import Operation, kinds
    from tests.bulk import copy_block

    known = sorted(kinds.known_kinds("default"))[:KINDS]
    lanes = filling.lanes or list(product(QUEUES, PRIORITIES, known))
    fields = [field for field in Operation._meta.local_concrete_fields if not field.primary_key]
    count, chunk, rows = filling.count, min(filling.count, CHUNK), Operation._base_manager
    first = (rows.aggregate(last=Max("pk"))["last"] or 0) + 1
    made = []
    for number in range(chunk):
        queue, priority, kind_id = lanes[number % len(lanes)]
        # The golden ratio spreads them evenly in each lane, however many lanes there are.
        moment = filling.start + filling.span * ((number * 0.6180339887) % 1)
        where = {"kind_id": kind_id, "queue": queue, "priority": priority}
        times = {"should_run_at": moment, "created_at": clock.now()}
        made.append(Operation(**where, **times, **filling.columns))
    with transaction.atomic():
        rows.all()._batched_insert(made, fields, None)
    for done in range(chunk, count, chunk):
        copy_block(Operation, first, first + min(chunk, count - done) - 1)
    runs.settle(Operation._meta.db_table)


def timed(work: Callable[[], None]) -> float:
    """Return the median time of a few rounds, after one that warms up."""
    work()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def find_lanes() -> None:
    """Find the lanes, as every round of an operator does."""
    from operator_app.models import Operation

    assert len(Operation.all_objects.lanes()) == len(QUEUES) * len(PRIORITIES) * KINDS


def claim_and_release() -> None:
    """Find the lanes, claim a batch and give it back, so that the table stays as it is."""
    from operator_app import clock
    from operator_app.models import Operation, OperatorProcess

    now = clock.now()
    process, _ = OperatorProcess.objects.get_or_create(
        hostname="bench",
        defaults={
            "pid": os.getpid(),
            "capacity": BATCH,
            "started_at": now,
            "heartbeat_at": now,
            "alive_until": now,
        },
    )
    operations = Operation.all_objects
    claimed = operations.claim(process, operations.lanes(), limit=BATCH, now=now)
    assert len(claimed) == BATCH
    held = operations.filter(pk__in=[operation.pk for operation in claimed])
    held.update(started_run_at=None, operator=None)


if __name__ == "__main__":
    sys.exit(main())
