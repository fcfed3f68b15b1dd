"""Sends tasks one by one, there is no call for many."""

from __future__ import annotations

from datetime import datetime

from redis import Redis

from benchmarks.peers.adapter import Adapter, serve, url
from benchmarks.peers.celery.app import tick


class CeleryAdapter(Adapter):
    def prepare(self) -> None:
        """Nothing: Redis has no tables."""

    def clear(self) -> None:
        Redis.from_url(url()).flushdb()

    def enqueue(self, number: int) -> None:
        tick.delay(number)

    def schedule(self, number: int, when: datetime) -> None:
        tick.apply_async((number,), eta=when)

    def busy(self) -> bool:
        return False  # a task is acknowledged before it begins, and its end is not recorded


if __name__ == "__main__":
    serve(CeleryAdapter())
