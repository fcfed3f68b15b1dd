"""How soon does an abort end what runs? `python -m benchmarks.aborts`

Starts a real operator and, again and again, an operation that goes on for ever: one that looks, on
a thread; one that waits, on the event loop; one that computes, in a child process. Each is asked to
abort at a random moment, and the time is taken from the call of `abort()` until another connection
sees the outcome, which it looks for every 5 ms. Exits with 1 if one took longer than `PROMISED`.

Seconds and no ratios: nearly all of it is waiting for the operator's next look (`Watch`, twice a
second), which no machine makes shorter.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks import runs

if TYPE_CHECKING:
    from operator_app.models import Operation

PROMISED = 1.0
"""Seconds from the request to the outcome, for operations that heed it at once."""
SPREAD = 1.0
"""The request is made at a random moment of so many seconds: two turns of the operator's watch."""
PATIENCE = 60.0
"""Seconds after which something is wrong."""
INTERVAL = 0.005


def main() -> int:
    """Measure each database that is found, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="aborts of each sort")
    parser.add_argument("--database", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    if runs.is_child():
        return measure(options.rounds)
    return runs.on_each_database(
        "benchmarks.aborts",
        options.database,
        f"{options.rounds} aborts of each sort",
        f"--rounds={options.rounds}",
    )


def measure(rounds: int) -> int:
    """Abort operations of each sort in turn; return 1 if one of them took too long."""
    with runs.database() as name, runs.operator(name, "--queue", "aborts"):
        from benchmarks.models import Computing, Looking, Waiting

        sorts: dict[str, type[Operation]] = {
            "a thread that looks": Looking,
            "the event loop": Waiting,
            "a child process": Computing,
        }
        took: dict[str, list[float]] = {title: [] for title in sorts}
        for _ in range(rounds):
            for title, kind in sorts.items():
                took[title].append(abort_one(kind))
    print(f"  {'from abort() to the outcome':28}{'min':>8}{'median':>8}{'max':>8}")
    for title, times in took.items():
        figures = (min(times), statistics.median(times), max(times))
        print(f"  {title:28}{''.join(f'{figure:>7.2f}s' for figure in figures)}", flush=True)
    worst = max(max(times) for times in took.values())
    print(f"  at most {worst:.2f} s: {'kept' if worst <= PROMISED else 'NOT kept'}")
    return int(worst > PROMISED)


def abort_one(kind: type[Operation]) -> float:
    """Run an operation, ask it to abort, and return how many seconds that took."""
    pk = kind.dispatch().pk
    rows = kind.all_objects.filter(pk=pk)
    wait_for(rows.filter(begun_run_at__isnull=False).exists)
    time.sleep(random.uniform(0, SPREAD))
    start = time.perf_counter()
    assert rows.abort("enough").abort_requested == 1
    wait_for(rows.cancelled().exists)
    took = time.perf_counter() - start
    assert rows.get().jobs.get().outcome == "aborted"
    return took


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; it is looked at every `INTERVAL`."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened for {PATIENCE:g} s")
        time.sleep(INTERVAL)


if __name__ == "__main__":
    sys.exit(main())
