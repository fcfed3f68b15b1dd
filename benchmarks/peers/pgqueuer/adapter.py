"""Enqueues with `Queries.enqueue()`, which takes one job or lists, over asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timezone

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from benchmarks.peers.adapter import serve, url
from benchmarks.peers.postgresql_adapter import PostgresqlAdapter


class PgqueuerAdapter(PostgresqlAdapter):
    emptied = ("pgqueuer", "pgqueuer_log")
    running = "SELECT 1 FROM pgqueuer WHERE status = 'picked' LIMIT 1"

    def __init__(self) -> None:
        super().__init__()
        self.run = asyncio.Runner().run
        self.queries = Queries(AsyncpgDriver(self.run(asyncpg.connect(url()))))

    def prepare(self) -> None:
        self.run(self.queries.install())

    def enqueue(self, number: int) -> None:
        self.run(self.queries.enqueue("tick", str(number).encode()))

    def enqueue_many(self, numbers: Sequence[int]) -> None:
        count = len(numbers)
        payloads = [str(number).encode() for number in numbers]
        self.run(self.queries.enqueue(["tick"] * count, payloads, [0] * count))

    def schedule(self, number: int, when: datetime) -> None:
        delay = when - datetime.now(timezone.utc)
        self.run(self.queries.enqueue("tick", str(number).encode(), execute_after=delay))

    def fill(self, count: int, when: datetime) -> None:
        self.schedule(-1, when)
        self.copy("pgqueuer", "id", count - 1)


if __name__ == "__main__":
    serve(PgqueuerAdapter())
