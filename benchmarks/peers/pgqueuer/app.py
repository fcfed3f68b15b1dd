"""What `pgq run` is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job

from benchmarks.peers.adapter import url
from benchmarks.peers.marks import mark


@asynccontextmanager
async def create() -> AsyncIterator[PgQueuer]:
    """Connect, and say what the job does."""
    connection = await asyncpg.connect(url())
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint("tick")
    async def tick(job: Job) -> None:
        mark(int(job.payload))

    try:
        yield queuer
    finally:
        await connection.close()
