"""What is measured, and how: the same for every contender.

Times are taken by the jobs themselves (`marks.py`) and compared on the wall clock of the machine.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.peers import marks
from benchmarks.peers.contenders import Contender, Variant
from benchmarks.peers.places import Place
from benchmarks.peers.processes import Client, PeerError, Workers, workers

BATCH = 1_000
"""Jobs in one call when they are enqueued in bulk."""
DAY = 86_400 * 10**9
START = 60.0
"""Seconds that a worker may take until its first job begins."""
LOOK = 0.005
"""Seconds between two looks at the marks, or at whether all is recorded."""
SETTLING = 8.0
"""Seconds after the first job in which a worker may still do what belongs to its start. It is more
than one that PostgreSQL's backends take to report their counts."""


@dataclass(frozen=True)
class Budget:
    """How long each measurement takes at most, in seconds, and how many samples it wants."""

    enqueue: float = 2.0
    drain: float = 4.0
    jobs: int = 100_000
    latency: float = 10.0
    samples: int = 200
    lead: float = 2.0
    """How far ahead the first job is scheduled."""
    late: float = 40.0
    """How long to wait for what is scheduled; one contender looks every 30 seconds."""
    idle: float = 10.0
    future: tuple[int, ...] = (0, 100_000, 1_000_000)

    @classmethod
    def quick(cls) -> Budget:
        """One to see whether all works; its figures are rough."""
        return cls(
            enqueue=1,
            drain=2,
            jobs=20_000,
            latency=4,
            samples=50,
            late=8,
            idle=5,
            future=(0, 10_000),
        )


@dataclass
class Trial:
    """A contender on its own database, with one variant of its workers."""

    contender: Contender
    variant: Variant
    binaries: Path
    place: Place
    client: Client
    environment: dict[str, str]
    folder: Path
    log: IO[str]

    @property
    def marks(self) -> Path:
        """The file of the marks; a new one for each measurement."""
        return Path(self.environment["BENCH_MARKS"])

    def workers(self) -> Any:
        """Return the workers as a context manager, with no marks made so far."""
        self.marks.unlink(missing_ok=True)
        command = [
            part.format(bin=self.binaries, url=self.place.url()) for part in self.variant.command
        ]
        return workers(command, self.variant.processes, self.environment, self.folder, self.log)

    def wait_for_marks(self, count: int, patience: float, running: Workers) -> bool:
        """Wait until so many jobs have begun; return whether they did in time."""
        deadline = time.monotonic() + patience
        while marks.count(self.marks) < count:
            if time.monotonic() > deadline:
                return False
            running.check()
            time.sleep(LOOK)
        return True


def enqueue(trial: Trial, budget: Budget) -> dict[str, float | None]:
    """Jobs enqueued in a second: one by one, each committed; and in bulk."""
    trial.client.ask("clear")
    count, took = trial.client.ask("enqueue_for", seconds=budget.enqueue, size=1)
    figures: dict[str, float | None] = {"one": count / took, "many": None}
    if trial.contender.bulk:
        trial.client.ask("clear")
        count, took = trial.client.ask("enqueue_for", seconds=budget.enqueue, size=BATCH)
        figures["many"] = count / took
    return figures


def size(trial: Trial, budget: Budget) -> int:
    """How many jobs to drain so that it takes about `budget.drain` seconds; found by trying."""
    count = 100
    while True:
        rate = drain(trial, count, budget.drain)
        wanted = int(rate * budget.drain)
        if wanted < 5 * count or count >= budget.jobs:
            return max(20, min(wanted, budget.jobs))
        count = min(10 * count, wanted, budget.jobs)


def drain(trial: Trial, count: int, seconds: float, *, future: int = 0) -> float:
    """Jobs in a second, from when the first begins until all are recorded as ended.

    All are there before the workers start. What is not done after three times `seconds` is left:
    then it is the rate up to there.
    """
    trial.client.ask("clear")
    if future:
        trial.client.ask("fill", count=future, moment=time.time_ns() + DAY)
    trial.client.ask("enqueue_many", count=count, size=BATCH)
    with trial.workers() as running:
        if not trial.wait_for_marks(1, START, running):
            raise PeerError(f"no job began within {START:g} s")
        first = marks.read(trial.marks)[0][1]
        if trial.wait_for_marks(count, 3 * seconds, running):
            while trial.client.ask("busy") and time.time_ns() - first < 6e9 * seconds:
                time.sleep(LOOK)
        elapsed = (time.time_ns() - first) / 1e9
    done = len({number for number, _ in marks.read(trial.marks)})
    return min(done, count) / elapsed


def latency(trial: Trial, budget: Budget) -> dict[str, float]:
    """Milliseconds from the commit of a job that is due now to its begin, on an idle worker."""
    trial.client.ask("clear")
    enqueued: dict[int, int] = {}
    with trial.workers() as running:
        warm_up(trial, running)
        deadline = time.monotonic() + budget.latency
        for number in range(budget.samples):
            time.sleep(random.uniform(0.02, 0.06))
            enqueued[number] = trial.client.ask("enqueue", number=number)
            # The warm-up has left one mark.
            if not trial.wait_for_marks(number + 2, START, running):
                raise PeerError(f"a job did not begin within {START:g} s")
            if time.monotonic() > deadline:
                break
    begun = dict(marks.read(trial.marks))
    return spread([max(0, begun[number] - moment) for number, moment in enqueued.items()])


def lateness(trial: Trial, budget: Budget) -> dict[str, float]:
    """Milliseconds from the time that a job was scheduled for to its begin."""
    trial.client.ask("clear")
    with trial.workers() as running:
        warm_up(trial, running)
        start = time.time_ns() + int(budget.lead * 1e9)
        due = [start + number * 20_000_000 for number in range(budget.samples)]
        ready = trial.client.ask("schedule", moments=due)
        remaining = (due[-1] - time.time_ns()) / 1e9
        complete = trial.wait_for_marks(budget.samples + 1, remaining + budget.late, running)
    begun = dict(marks.read(trial.marks))
    late = [begun[n] - due[n] for n in range(budget.samples) if n in begun and due[n] > ready]
    if not late:
        raise PeerError(f"no scheduled job began within {budget.late:g} s")
    figures = spread(late)
    if not complete:
        figures["missing"] = budget.samples + 1 - len(begun)
    return figures


def idle(trial: Trial, budget: Budget) -> dict[str, float | None]:
    """What workers with nothing to do take: queries in a second, memory, processor."""
    trial.client.ask("clear")
    with trial.workers() as running:
        warm_up(trial, running)
        time.sleep(SETTLING)
        queries, usage, start = trial.place.queries(), running.usage(), time.monotonic()
        time.sleep(budget.idle)
        later, after = trial.place.queries(), running.usage()
        took = time.monotonic() - start
    figures: dict[str, float | None] = {
        "queries": None if queries is None or later is None else (later - queries) / took,
        "processes": after.processes,
        "rss": after.rss,
        "pss": after.pss,
        "cpu": 100 * (after.cpu - usage.cpu) / took,
    }
    return figures


def future(trial: Trial, budget: Budget, count: int) -> dict[str, float]:
    """The drain again, with many jobs in the same table that are not due for a day."""
    return {
        str(rows): drain(trial, min(count, 20_000), budget.drain, future=rows)
        for rows in budget.future
    }


def warm_up(trial: Trial, running: Workers) -> None:
    """Have the workers run one job, so that they have connected and imported what they need."""
    trial.client.ask("enqueue", number=-1)
    if not trial.wait_for_marks(1, START, running):
        raise PeerError(f"no job began within {START:g} s")
    time.sleep(0.5)


def spread(nanoseconds: Sequence[int]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds, and of how many."""
    values = sorted(value / 1e6 for value in nanoseconds)
    p99 = values[min(len(values) - 1, round(0.99 * len(values)))]
    return {"p50": statistics.median(values), "p99": p99, "samples": len(values)}


def inherited() -> dict[str, str]:
    """What a contender's processes see of our environment."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ}
