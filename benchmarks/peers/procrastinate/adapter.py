"""Defers jobs: `defer()` one by one, `batch_defer()` in bulk, over a synchronous connector."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from procrastinate import SyncPsycopgConnector

from benchmarks.peers.adapter import serve, url
from benchmarks.peers.postgresql_adapter import PostgresqlAdapter
from benchmarks.peers.procrastinate.app import make


class ProcrastinateAdapter(PostgresqlAdapter):
    emptied = ("procrastinate_jobs", "procrastinate_events")
    running = "SELECT 1 FROM procrastinate_jobs WHERE status = 'doing' LIMIT 1"

    def __init__(self) -> None:
        super().__init__()
        self.app = make(SyncPsycopgConnector(conninfo=url()))
        self.app.open()
        self.tick = self.app.tasks["tick"]

    def prepare(self) -> None:
        self.app.schema_manager.apply_schema()

    def enqueue(self, number: int) -> None:
        self.tick.defer(number=number)

    def enqueue_many(self, numbers: Sequence[int]) -> None:
        self.tick.batch_defer(*({"number": number} for number in numbers))

    def schedule(self, number: int, when: datetime) -> None:
        self.tick.configure(schedule_at=when).defer(number=number)

    def fill(self, count: int, when: datetime) -> None:
        self.schedule(-1, when)
        self.copy("procrastinate_jobs", "id", count - 1)


if __name__ == "__main__":
    serve(ProcrastinateAdapter())
