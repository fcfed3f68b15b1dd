"""Enqueues tasks one by one, there is no call for many; a time makes a `Schedule` instead."""

from __future__ import annotations

from datetime import datetime

from django.db import connection

from benchmarks.peers.adapter import serve
from benchmarks.peers.django_adapter import DjangoAdapter

TICK = "benchmarks.peers.q2.tasks.tick"


class Q2Adapter(DjangoAdapter):
    emptied = ("django_q_ormq", "django_q_task", "django_q_schedule")

    def __init__(self) -> None:
        super().__init__()
        from django_q.tasks import async_task, schedule

        self.async_task, self.schedule_task = async_task, schedule

    def enqueue(self, number: int) -> None:
        self.async_task(TICK, number)

    def schedule(self, number: int, when: datetime) -> None:
        self.schedule_task(TICK, number, schedule_type="O", next_run=when)

    def fill(self, count: int, when: datetime) -> None:
        from django_q.models import Schedule

        self.schedule(-1, when)
        self.copy(Schedule, count - 1)

    def busy(self) -> bool:
        # Broker rows are deleted once the monitor has saved their results.
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_q_ormq LIMIT 1")
            return cursor.fetchone() is not None


if __name__ == "__main__":
    serve(Q2Adapter())
