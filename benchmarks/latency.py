"""How late does an operation start? `python -m benchmarks.latency [--rounds 200]`

Starts a real operator, idle but for this, and gives it operations one by one. Each writes down when
its `run()` began.

- Due now: the time from the return of `dispatch()`, which is the commit, to the start; and from its
  call, which has the INSERT in it. Each is dispatched at a random moment after the one before has
  started.
- Scheduled: the time from `should_run_at` to the start, all of them scheduled before, at random
  distances.

Exits with 1 if a 99th percentile is above what is promised for the database. Milliseconds and no
ratios: on an idle machine nearly all of it is waiting, for a call, a look or a commit.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from benchmarks import runs

T = TypeVar("T")

PROMISED = {"postgresql": (10.0, 10.0), "sqlite": (30.0, 10.0)}
"""Milliseconds for due now and for scheduled; others look for what is due once a second."""
BY_LOOKING = (1100.0, 10.0)
WARM_UP = 20
"""Operations before the first that counts: each thread opens its connection with its first one."""
PAUSE = (0.03, 0.08)
"""Seconds between the start of one operation and the dispatch of the next."""
AHEAD = 6.0
"""Seconds from now to the first scheduled one: farther than an operator looks by itself."""
PATIENCE = 60.0
"""Seconds after which something is wrong."""


def main() -> int:
    """Measure each database that is found, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200, help="operations of each sort")
    parser.add_argument("--database", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    if runs.is_child():
        return measure(options.rounds)
    return runs.on_each_database(
        "benchmarks.latency",
        options.database,
        f"{options.rounds} operations of each sort",
        f"--rounds={options.rounds}",
    )


def measure(rounds: int) -> int:
    """Time both sorts; return 1 if one was later than promised."""
    with tempfile.TemporaryDirectory() as folder, runs.database() as name:
        from benchmarks.models import STARTS

        starts = Path(folder) / "starts"
        starts.touch()
        os.environ[STARTS] = str(starts)
        with runs.operator(name, "--queue", "latency"):
            due_now(WARM_UP, starts)
            calls, commits = due_now(rounds, starts)
            late = scheduled(rounds, starts)
    from django.db import connection

    for_now, for_later = PROMISED.get(connection.vendor, BY_LOOKING)
    print(f"  {'ms until run() begins':28}{'min':>9}{'p50':>9}{'p99':>9}{'max':>9}")
    show("due now, since the call", calls, None)
    kept = [
        show("due now, since the commit", commits, for_now),
        show("scheduled", late, for_later),
    ]
    return int(not all(kept))


def due_now(rounds: int, starts: Path) -> tuple[list[float], list[float]]:
    """Return how many seconds the starts came after the calls and after the commits."""
    from benchmarks.models import Timed

    since_call, since_commit = [], []
    for _ in range(rounds):
        time.sleep(random.uniform(*PAUSE))
        called = time.time()
        pk = Timed.dispatch().pk
        committed = time.time()
        begun = wait_for(starts, [pk])[pk]
        since_call.append(begun - called)
        since_commit.append(max(0.0, begun - committed))
    return since_call, since_commit


def scheduled(rounds: int, starts: Path) -> list[float]:
    """Return how many seconds the starts came after `should_run_at`."""
    from benchmarks.models import Timed
    from operator_app import clock

    moment: datetime = clock.now() + timedelta(seconds=AHEAD)
    planned = []
    for _ in range(rounds):
        moment += timedelta(seconds=random.uniform(*PAUSE) * 2)
        planned.append(Timed(should_run_at=moment))
    Timed.schedule_many(planned)
    due = {operation.pk: operation.should_run_at.timestamp() for operation in planned}
    time.sleep(AHEAD)
    begun = wait_for(starts, list(due))
    return [begun[pk] - due[pk] for pk in due]


def wait_for(starts: Path, ids: list[int]) -> dict[int, float]:
    """Return when these operations began, once all of them have."""
    return wait_for_lines(starts, ids, float)


def wait_for_lines(starts: Path, ids: list[int], read: Callable[[str], T]) -> dict[int, T]:
    """Return what was written by each of these operations, once all of them have begun."""
    deadline = time.monotonic() + PATIENCE
    while True:
        lines = [line.split(" ", 1) for line in starts.read_text().splitlines()]
        written = {int(pk): text for pk, text in lines}
        if all(pk in written for pk in ids):
            return {pk: read(written[pk]) for pk in ids}
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened for {PATIENCE:g} s")
        time.sleep(0.002 if len(ids) == 1 else 0.25)


def show(title: str, seconds: list[float], promised: float | None) -> bool:
    """Print one line; return whether the promise was kept."""
    ordered = sorted(1000 * each for each in seconds)
    p50, p99 = (ordered[math.ceil(len(ordered) * part) - 1] for part in (0.5, 0.99))
    figures = "".join(f"{each:>9.1f}" for each in (ordered[0], p50, p99, ordered[-1]))
    kept = promised is None or p99 <= promised
    verdict = f"  {'kept' if kept else 'NOT kept'}: {promised:g}" if promised else ""
    print(f"  {title:28}{figures}{verdict}", flush=True)
    return kept


if __name__ == "__main__":
    sys.exit(main())
