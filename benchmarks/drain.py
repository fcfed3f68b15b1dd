"""How fast does a full table drain? `python -m benchmarks.drain [--operations 20000]`

Fills the table with operations that do nothing and have one column, and lets real operators run
them: one with its defaults, one with a single thread, and two under one parent. The rate is taken
from the first claim to the last ending, by the rows themselves; beside it stands its ratio to the
batched limit (`benchmarks/limit.py`) on the same database in the same round. The figures are the
medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import limit, runs

WAYS: dict[str, list[str]] = {
    "defaults": [],
    "--threads 1": ["--threads", "1"],
    "--processes 2 --threads 1": ["--processes", "2", "--threads", "1"],
}
PATIENCE = 300.0
"""Seconds after which something is wrong."""


def main() -> int:
    """Measure each database that is found, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--operations", type=int, default=20_000, help="to drain in each round")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are printed")
    parser.add_argument("--way", action="append", choices=WAYS, help="only this one")
    parser.add_argument("--database", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    if runs.is_child():
        return measure(options.operations, options.rounds, options.way or list(WAYS))
    return runs.on_each_database(
        "benchmarks.drain",
        options.database,
        f"{options.operations:,} operations, {options.rounds} rounds",
        f"--operations={options.operations}",
        f"--rounds={options.rounds}",
        *[f"--way={way}" for way in options.way or WAYS],
    )


def measure(count: int, rounds: int, ways: list[str]) -> int:
    """Drain again and again, in turn with the limit."""
    rates: dict[str, list[float]] = {way: [] for way in ["the batched limit", *ways]}
    with runs.database() as name:
        for _ in range(rounds):
            refill(count)
            rates["the batched limit"].append(limit.drain(count))
            for way in ways:
                refill(count)
                rates[way].append(drain(name, WAYS[way], count))
    base = statistics.median(rates["the batched limit"])
    print(f"  {'operations per second':28}{'min':>9}{'median':>9}{'max':>9}{'ratio':>8}")
    for way, figures in rates.items():
        middle = statistics.median(figures)
        cells = "".join(f"{figure:>9,.0f}" for figure in (min(figures), middle, max(figures)))
        print(f"  {way:28}{cells}{middle / base:>7.2f}x", flush=True)
    return 0


def remove() -> None:
    """Delete what was added."""
    from benchmarks.models import Nothing
    from operator_app.models import Operation, OperationJob
    from operator_app.models.among import Among

    ids = list(Nothing._base_manager.values_list("pk", flat=True))
    OperationJob.objects.all().delete()
    Nothing._base_manager.all()._raw_delete(using="default")
    Operation._base_manager.filter(Among(ids))._raw_delete(using="default")


def refill(count: int) -> None:
    """Replace what is there by so many."""
    remove()
    add(count)


def add(count: int) -> None:
    """Add so many operations that do nothing, and are due."""
    from benchmarks.models import Nothing
    from operator_app import clock
    from operator_app.models import Operation

    now = clock.now()
    Nothing.schedule_many([Nothing(should_run_at=now, number=n) for n in range(count)])
    runs.settle(Operation._meta.db_table)


def drain(name: str, options: list[str], count: int) -> float:
    """Let operators run all that was added; return operations per second."""
    from django.db.models import Max, Min

    from benchmarks.models import Nothing

    environment = os.environ | {"OPERATOR_TEST_NAME": name}
    command = [sys.executable, "-m", "django", "operator", *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            rows = Nothing._base_manager.filter(finished_run_at__isnull=False)
            deadline = time.monotonic() + PATIENCE
            while rows.count() < count:
                if time.monotonic() > deadline or process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"{rows.count()} of {count} have run: {log.read()[-2000:]}")
                time.sleep(0.2)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
    span: dict[str, Any] = rows.aggregate(first=Min("started_run_at"), last=Max("finished_run_at"))
    return count / float((span["last"] - span["first"]).total_seconds())


if __name__ == "__main__":
    sys.exit(main())
