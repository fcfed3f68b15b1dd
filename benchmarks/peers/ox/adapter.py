"""Enqueues tasks: `enqueue()` one by one, `enqueue_many()` in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from benchmarks.peers.adapter import serve
from benchmarks.peers.django_adapter import DjangoAdapter

MAKE_UUID = {"postgresql": "gen_random_uuid()", "sqlite": "lower(hex(randomblob(16)))"}


class OxAdapter(DjangoAdapter):
    emptied = ("django_ox_oxtask",)

    def __init__(self) -> None:
        super().__init__()
        from benchmarks.peers.ox.tasks import tick

        self.tick = tick

    def enqueue(self, number: int) -> None:
        self.tick.enqueue(number)

    def enqueue_many(self, numbers: Sequence[int]) -> None:
        from django_ox.bulk import enqueue_many

        enqueue_many(self.tick, [((number,), {}) for number in numbers])

    def schedule(self, number: int, when: datetime) -> None:
        self.tick.using(run_after=when).enqueue(number)

    def fill(self, count: int, when: datetime) -> None:
        from django_ox.models import OxTask

        self.schedule(-1, when)
        self.copy(OxTask, count - 1, {"id": MAKE_UUID[self.vendor]})

    def busy(self) -> bool:
        return self.has_row("SELECT 1 FROM django_ox_oxtask WHERE status = 'RUNNING' LIMIT 1")


if __name__ == "__main__":
    serve(OxAdapter())
