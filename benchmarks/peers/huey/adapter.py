"""Enqueues tasks one by one; there is no call for many."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from benchmarks.peers import copies
from benchmarks.peers.adapter import Adapter, place, serve
from benchmarks.peers.huey.app import huey, tick


class HueyAdapter(Adapter):
    def __init__(self) -> None:
        self.vendor = place()["vendor"]
        self.storage: Any = huey.storage

    def prepare(self) -> None:
        """Nothing: huey has made its tables on import."""

    def clear(self) -> None:
        self.storage.flush_all()

    def enqueue(self, number: int) -> None:
        tick(number)

    def schedule(self, number: int, when: datetime) -> None:
        tick.schedule((number,), eta=when)

    def fill(self, count: int, when: datetime) -> None:
        # A call puts the task into the queue, from where a worker would move it here.
        huey.add_schedule(tick.s(-1, eta=when))
        table = "huey_schedule" if self.vendor == "postgresql" else "schedule"
        columns = ["queue", "data", "timestamp"]
        with self.storage.db(commit=True) as cursor:
            cursor.execute(copies.insert(self.vendor, table, columns, count - 1))
            assert cursor.rowcount == count - 1
        with self.storage.db(commit=True) as cursor:
            cursor.execute(f"ANALYZE {table}")

    def busy(self) -> bool:
        return False  # a task leaves the queue as it begins, and no trace when it ends


if __name__ == "__main__":
    serve(HueyAdapter())
