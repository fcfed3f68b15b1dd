"""Does a drain stay as fast in a full table? `python -m benchmarks.scale [--rows 1000000]`

Lets a real operator drain operations that do nothing, first from a table that holds nothing else,
then as it fills up: with many that are not due, five times as many that have finished, many that
are due in five queues that it does not serve, at four priorities, with pending ones of 200 kinds,
with many due ones of a kind that it does not know, and with many of a kind that is paused. Each
figure is the median of the rounds, and stands beside its ratio to the first. Exits with 1 if one of
them is below `KEPT`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import product

from benchmarks import claims, drain, runs
from benchmarks.claims import Filling

SERVED = "default"
OTHERS = [f"elsewhere {number}" for number in range(5)]
"""Queues that the operator does not serve."""
PRIORITIES = [-3, 0, 1, 5]
KINDS = 200
KEPT = 0.8
"""The least share of the speed in an empty table that counts as the same."""


def main() -> int:
    """Measure each database that is found, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each sort")
    parser.add_argument("--operations", type=int, default=20_000, help="to drain in each round")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are printed")
    parser.add_argument("--database", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    if runs.is_child():
        return measure(options.rows, options.operations, options.rounds)
    return runs.on_each_database(
        "benchmarks.scale",
        options.database,
        f"{options.rows:,} rows of each sort, {options.operations:,} drained",
        f"--rows={options.rows}",
        f"--operations={options.operations}",
        f"--rounds={options.rounds}",
    )


def measure(rows: int, count: int, rounds: int) -> int:
    """Fill the table step by step, and drain after each; return 1 if that got slower."""
    with runs.database() as name:
        first = rate = drained(name, count, rounds)
        lowest = 1.0
        print(f"  {'operations per second':28}{'median':>9}{'ratio':>8}")
        print(f"  {'nothing else':28}{rate:>9,.0f}{1:>7.2f}x", flush=True)
        for title, filling in fillings(rows):
            claims.fill(filling)
            rate = drained(name, count, rounds)
            lowest = min(lowest, rate / first)
            print(f"  {title:28}{rate:>9,.0f}{rate / first:>7.2f}x", flush=True)
        print(f"  at least {lowest:.2f}x: {'kept' if lowest >= KEPT else 'NOT kept'}")
        return int(lowest < KEPT)


def fillings(rows: int) -> Iterator[tuple[str, Filling]]:
    """Yield what is added to the table, one after the other, with a title."""
    from benchmarks.models import Nothing, Waiting
    from operator_app import clock
    from operator_app.models import Pause, kinds

    now, day = clock.now(), timedelta(days=1)
    kind_id = kinds.content_type(Nothing, "default").pk
    mine = [(SERVED, priority, kind_id) for priority in PRIORITIES]
    others = [(*lane, kind_id) for lane in product(OTHERS, PRIORITIES)]
    ended = {"started_run_at": now, "finished_run_at": now}
    many = [(SERVED, 0, kind_id) for kind_id in other_kinds()]
    yield "many future, too", Filling(rows, now + day, day, lanes=mine)
    yield "more finished, too", Filling(claims.FINISHED * rows, now - 2 * day, day, ended, mine)
    yield "many due elsewhere, too", Filling(rows, now - 2 * day, day, lanes=others)
    yield f"{KINDS} kinds, too", Filling(10 * KINDS, now + day, day, lanes=many)
    yield "many due, not for it, too", Filling(rows, now - 2 * day, day, lanes=many[:1])
    paused = Pause.objects.pause(kind=Waiting)
    lane = (SERVED, 0, paused.kind_id)
    yield "many due and paused, too", Filling(rows, now - 2 * day, day, lanes=[lane])


def other_kinds() -> list[int]:
    """Return the ids of kinds whose classes are unknown here, as those of another deployment."""
    from django.contrib.contenttypes.models import ContentType

    made = [ContentType(app_label="elsewhere", model=f"kind{n}") for n in range(KINDS)]
    ContentType.objects.bulk_create(made)
    found = ContentType.objects.filter(app_label="elsewhere")
    return list(found.values_list("pk", flat=True))


def drained(name: str, count: int, rounds: int) -> float:
    """Return the median rate of draining so many operations that are added for it."""
    rates = []
    for _ in range(rounds):
        drain.add(count)
        rates.append(drain.drain(name, [f"--queue={SERVED}"], count))
        drain.remove()
    return statistics.median(rates)


if __name__ == "__main__":
    sys.exit(main())
