"""How much memory does an operator take, and keep? `python -m benchmarks.memory`

Starts a real operator with its defaults, and reads its resident memory: idle, after some thousand
operations that do nothing, and after ten times as many. Exits with 1 if an idle one takes more than
`IDLE`, or if the last figure is more than `GROWTH` above the one before it. One line besides: what
Django itself takes, with the same settings and a connection.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import drain, runs

IDLE = 60.0
"""MiB that an operator with nothing to do may take."""
GROWTH = 1.1
SETTLED = 2.0
"""Seconds after which it has done what it does at its start, or after the last operation."""
PATIENCE = 300.0
_DJANGO = (
    "import django; django.setup(); from django.db import connection; "
    "connection.ensure_connection(); "
    "print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
)


def main() -> int:
    """Measure each database that is found, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--operations", type=int, default=10_000, help="and ten times as many")
    parser.add_argument("--database", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    if runs.is_child():
        return measure(options.operations)
    return runs.on_each_database(
        "benchmarks.memory",
        options.database,
        f"{options.operations:,} operations and ten times as many",
        f"--operations={options.operations}",
    )


def measure(count: int) -> int:
    """Read the memory three times; return 1 if it was too much."""
    with runs.database() as name, runs.operator(name) as process:
        from operator_app.models import OperatorProcess

        wait_until(OperatorProcess.objects.exists)
        idle = settled(process.pid)
        drain_all(count)
        few = settled(process.pid)
        drain_all(10 * count - count)
        many = settled(process.pid)
    django = subprocess.run(
        [sys.executable, "-c", _DJANGO], capture_output=True, text=True, check=True
    )
    rows = {
        "Django alone": int(django.stdout) / 1024,
        "idle": idle,
        f"after {count:,}": few,
        f"after {10 * count:,}": many,
    }
    for title, figure in rows.items():
        print(f"  {title:28}{figure:>9,.1f} MiB")
    kept = idle <= IDLE and many <= GROWTH * few
    print(f"  {many / few:.2f}x from the one to the other: {'kept' if kept else 'NOT kept'}")
    return int(not kept)


def drain_all(count: int) -> None:
    """Add so many operations, and wait until they have been run."""
    from benchmarks.models import Nothing

    drain.add(count)
    wait_until(lambda: not Nothing.objects.filter(finished_run_at=None).exists())


def settled(pid: int) -> float:
    """Return the resident memory of a process that has come to rest, in MiB."""
    time.sleep(SETTLED)
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something.

    Raises:
        RuntimeError: if it takes longer than `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"still waiting after {PATIENCE:g} s, process {os.getpid()}")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
