"""Where do the milliseconds of a prompt start go? `python -m benchmarks.stages [--rounds 300]`

The way of an operation that is due now, from the commit that made it to its `run()`, in an operator
that is idle but for this: who hands it on, and when. PostgreSQL, where all of that is a chain of
wake-ups; on the others most of it is waiting for a look.

Milliseconds, medians and 95th percentiles of each stage. The operator writes down the time at the
places named in `STAGES`, which costs it about a microsecond each.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import runs
from benchmarks.latency import PAUSE, WARM_UP, wait_for_lines

OPERATOR = "--operator"
"""The argument with which this module is the operator that is watched."""

STAGES = {
    "called": "the INSERT, from the call of dispatch()",
    "heard": "NOTIFY reaches the listening thread, after the commit",
    "woken": "the listening thread wakes the main one",
    "asked": "the main thread decides what to claim",
    "claimed": "the claim: one statement, and its commit",
    "loaded": "its row is read, as the user's class",
    "submitted": "it is handed to a runner",
    "begun": "a thread of the runner begins run()",
}
"""What lies between a mark and the one before it."""


def main() -> int:
    """Watch an operator on PostgreSQL; or be it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300, help="operations")
    parser.add_argument(OPERATOR, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.operator:
        return serve()
    if runs.is_child():
        return measure(options.rounds)
    about = f"{options.rounds} operations, one by one"
    return runs.on_each_database(
        "benchmarks.stages", ["postgresql"], about, f"--rounds={options.rounds}"
    )


def measure(rounds: int) -> int:
    """Dispatch operations one by one, and print what each stage took."""
    with tempfile.TemporaryDirectory() as folder, runs.database() as name:
        from benchmarks.models import STARTS, Timed

        starts = Path(folder) / "starts"
        starts.touch()
        os.environ[STARTS] = str(starts)
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stages", OPERATOR],
            env=os.environ | {"OPERATOR_TEST_NAME": name},
        )
        try:
            ways = []
            for _ in range(WARM_UP + rounds):
                time.sleep(random.uniform(*PAUSE))
                called = time.time()
                pk = Timed.dispatch().pk
                marks = {"call": called, "called": time.time()}
                ways.append(marks | wait_for_lines(starts, [pk], json.loads)[pk])
        finally:
            process.terminate()
            process.wait(runs.ENDING)
    show(ways[WARM_UP:])
    return 0


def serve() -> int:
    """Be an operator that writes down when an operation came by."""
    import django

    django.setup()
    from benchmarks.models import STARTS, Timed
    from operator_app.duties import Dispatch
    from operator_app.models import claims, specific
    from operator_app.process import Operator
    from operator_app.runners import ThreadRunner
    from operator_app.wakeups import Wakeup

    marks: dict[str, float] = {}
    starts = Path(os.environ[STARTS])

    def run(operation: Any) -> None:
        way = json.dumps({**marks, "begun": time.time()})
        with starts.open("a") as file:
            file.write(f"{operation.pk} {way}\n")

    def mark(owner: Any, name: str, *, before: str = "", after: str = "") -> None:
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            if before:
                marks[before] = time.time()
            result = function(*args, **kwargs)
            if after and result is not False:
                marks[after] = time.time()
            return result

        setattr(owner, name, marked)

    Timed.run = run  # type: ignore[method-assign]
    mark(Dispatch, "hear", before="heard")
    mark(Wakeup, "sleep", after="woken")
    mark(claims, "take", before="asked", after="claimed")
    mark(specific, "load_claimed", after="loaded")
    mark(ThreadRunner, "submit", after="submitted")
    Operator(queues=["latency"]).run()
    return 0


def show(ways: list[dict[str, float]]) -> None:
    """Print what each stage took, and all of them since the commit."""
    moments = ["call", *STAGES]
    print(f"  {'ms':58}{'p50':>8}{'p95':>8}")
    for before, mark in itertools.pairwise(moments):
        _line(STAGES[mark], [way[mark] - way[before] for way in ways])
    _line("all of it, since the commit", [way["begun"] - way["called"] for way in ways])


def _line(title: str, seconds: list[float]) -> None:
    ordered = sorted(1000 * each for each in seconds)
    p50, p95 = (ordered[math.ceil(len(ordered) * part) - 1] for part in (0.5, 0.95))
    print(f"  {title:58}{p50:>8.2f}{p95:>8.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
