"""What the harness asks of a contender, and how: lines of JSON on standard input and output.

Each contender has a program of its own in its own environment, which makes an `Adapter` and hands
it to `serve()`. It is the client side only: workers are started by the harness, with the commands
in `contenders.py`. Needs the standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any


class Adapter:
    """Enqueues jobs of one contender. A job has one argument, its number."""

    def prepare(self) -> None:
        """Make the tables in an empty database."""
        raise NotImplementedError

    def clear(self) -> None:
        """Remove all jobs."""
        raise NotImplementedError

    def enqueue(self, number: int) -> None:
        """Enqueue one job, due now; committed on return."""
        raise NotImplementedError

    def enqueue_many(self, numbers: Sequence[int]) -> None:
        """Enqueue jobs, due now, with the contender's call for many if it has one."""
        for number in numbers:
            self.enqueue(number)

    def schedule(self, number: int, when: datetime) -> None:
        """Enqueue one job for a time in the future; committed on return."""
        raise NotImplementedError

    def fill(self, count: int, when: datetime) -> None:
        """Have so many jobs wait for a time far away."""
        raise NotImplementedError

    def busy(self) -> bool:
        """Whether a job has begun whose end is not recorded yet."""
        raise NotImplementedError


class Client:
    """Turns requests into calls of an adapter."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    def prepare(self) -> None:
        self.adapter.prepare()

    def clear(self) -> None:
        self.adapter.clear()

    def enqueue(self, number: int) -> int:
        """Enqueue one job; return the moment right after, in nanoseconds."""
        self.adapter.enqueue(number)
        return time.time_ns()

    def enqueue_for(self, seconds: float, size: int) -> tuple[int, float]:
        """Enqueue one by one, or `size` at a time, until the time is up; return count, seconds.

        One more is enqueued before the clock starts, as it may have to connect first.
        """
        self.adapter.enqueue(-1)
        numbers = range(size)
        count = 0
        start = time.perf_counter()
        while (took := time.perf_counter() - start) < seconds:
            if size == 1:
                self.adapter.enqueue(count)
            else:
                self.adapter.enqueue_many(numbers)
            count += size
        return count, took

    def enqueue_many(self, count: int, size: int) -> None:
        for start in range(0, count, size):
            self.adapter.enqueue_many(range(start, min(start + size, count)))

    def schedule(self, moments: list[int]) -> int:
        """Enqueue a job for each moment; return when that was done. All in nanoseconds."""
        for number, moment in enumerate(moments):
            self.adapter.schedule(number, at(moment))
        return time.time_ns()

    def fill(self, count: int, moment: int) -> None:
        self.adapter.fill(count, at(moment))

    def busy(self) -> bool:
        return self.adapter.busy()


def at(moment: int) -> datetime:
    """Turn nanoseconds since 1970 into an aware datetime."""
    return datetime.fromtimestamp(moment / 1e9, tz=timezone.utc)


def place() -> dict[str, Any]:
    """Where the jobs are to be: host, port, user, password and name; or a path; or a URL."""
    found: dict[str, Any] = json.loads(os.environ["BENCH_PLACE"])
    return found


def url() -> str:
    """Return the place as PostgreSQL's and Redis's clients want it."""
    where = place()
    scheme = where["vendor"]
    who = f"{where['user']}:{where['password']}@" if where["user"] else ""
    return f"{scheme}://{who}{where['host']}:{where['port']}/{where['name']}"


def is_best() -> bool:
    """Whether the best settings are asked for, not the defaults."""
    return os.environ.get("BENCH_VARIANT") == "best"


def serve(adapter: Adapter) -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    client = Client(adapter)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": getattr(client, request.pop("do"))(**request)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
