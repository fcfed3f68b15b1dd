"""Enqueues jobs: `enqueue()` one by one, `enqueue_many()` in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from redis import Redis
from rq import Queue
from rq.registry import StartedJobRegistry

from benchmarks.peers.adapter import Adapter, serve, url
from benchmarks.peers.marks import mark


class RqAdapter(Adapter):
    def __init__(self) -> None:
        self.redis = Redis.from_url(url())
        self.queue = Queue(connection=self.redis)
        self.started = StartedJobRegistry(queue=self.queue)

    def prepare(self) -> None:
        """Nothing: Redis has no tables."""

    def clear(self) -> None:
        self.redis.flushdb()

    def enqueue(self, number: int) -> None:
        self.queue.enqueue(mark, number)

    def enqueue_many(self, numbers: Sequence[int]) -> None:
        self.queue.enqueue_many([Queue.prepare_data(mark, (number,)) for number in numbers])

    def schedule(self, number: int, when: datetime) -> None:
        self.queue.enqueue_at(when, mark, number)

    def busy(self) -> bool:
        return self.started.get_job_count(cleanup=False) > 0


if __name__ == "__main__":
    serve(RqAdapter())
