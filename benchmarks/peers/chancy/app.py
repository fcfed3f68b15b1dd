"""The app that its workers are started with, and the job for its executor."""

from __future__ import annotations

from chancy import Chancy, Queue, job

from benchmarks.peers.adapter import is_best, url
from benchmarks.peers.marks import mark

chancy = Chancy(url())

QUEUE = (
    Queue(
        "default",
        executor=Chancy.Executor.Async,
        concurrency=1_000,
        polling_interval=1,
        eager_polling=True,
    )
    if is_best()
    else Queue("default")
)


@job()
def sync_tick(*, number: int) -> None:
    """Leave a mark."""
    mark(number)


@job()
async def async_tick(*, number: int) -> None:
    """Leave a mark."""
    mark(number)


tick = async_tick if is_best() else sync_tick
