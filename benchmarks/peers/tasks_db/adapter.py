"""Enqueues tasks one by one; there is no call for many."""

from __future__ import annotations

from datetime import datetime

from benchmarks.peers.adapter import serve
from benchmarks.peers.django_adapter import DjangoAdapter

MAKE_UUID = {"postgresql": "gen_random_uuid()", "sqlite": "lower(hex(randomblob(16)))"}


class TasksDbAdapter(DjangoAdapter):
    emptied = ("django_tasks_database_dbtaskresult",)

    def __init__(self) -> None:
        super().__init__()
        from benchmarks.peers.tasks_db.tasks import tick

        self.tick = tick

    def enqueue(self, number: int) -> None:
        self.tick.enqueue(number)

    def schedule(self, number: int, when: datetime) -> None:
        self.tick.using(run_after=when).enqueue(number)

    def fill(self, count: int, when: datetime) -> None:
        from django_tasks_db.models import DBTaskResult

        self.schedule(-1, when)
        self.copy(DBTaskResult, count - 1, {"id": MAKE_UUID[self.vendor]})

    def busy(self) -> bool:
        return self.has_row(
            "SELECT 1 FROM django_tasks_database_dbtaskresult WHERE status = 'RUNNING' LIMIT 1"
        )


if __name__ == "__main__":
    serve(TasksDbAdapter())
