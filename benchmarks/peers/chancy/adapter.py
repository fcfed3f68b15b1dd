"""Pushes jobs: `sync_push()` one by one, `sync_push_many()` in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from benchmarks.peers.adapter import serve
from benchmarks.peers.chancy.app import QUEUE, chancy, tick
from benchmarks.peers.postgresql_adapter import PostgresqlAdapter


class ChancyAdapter(PostgresqlAdapter):
    emptied = ("chancy_jobs",)
    running = "SELECT 1 FROM chancy_jobs WHERE state = 'running' LIMIT 1"

    def prepare(self) -> None:
        async def migrate() -> None:
            async with chancy:
                await chancy.migrate()
                await chancy.declare(QUEUE, upsert=True)

        asyncio.run(migrate())

    def enqueue(self, number: int) -> None:
        chancy.sync_push(tick.job.with_kwargs(number=number))

    def enqueue_many(self, numbers: Sequence[int]) -> None:
        jobs = [tick.job.with_kwargs(number=number) for number in numbers]
        for _ in chancy.sync_push_many(jobs):
            pass

    def schedule(self, number: int, when: datetime) -> None:
        chancy.sync_push(tick.job.with_kwargs(number=number).with_scheduled_at(when))

    def fill(self, count: int, when: datetime) -> None:
        self.schedule(-1, when)
        self.copy("chancy_jobs", "id", count - 1, "gen_random_uuid()")


if __name__ == "__main__":
    serve(ChancyAdapter())
