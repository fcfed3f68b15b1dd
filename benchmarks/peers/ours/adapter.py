"""Schedules operations: `schedule()` one by one, `schedule_many()` in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from benchmarks.peers.adapter import serve
from benchmarks.peers.django_adapter import DjangoAdapter


class OurAdapter(DjangoAdapter):
    emptied = ("ours_tick", "operator_app_operationjob", "operator_app_operation")

    def enqueue(self, number: int) -> None:
        from benchmarks.peers.ours.models import Tick

        Tick.dispatch(number=number)

    def enqueue_many(self, numbers: Sequence[int]) -> None:
        from benchmarks.peers.ours.models import Tick
        from operator_app import clock

        now = clock.now()
        Tick.schedule_many([Tick(should_run_at=now, number=number) for number in numbers])

    def schedule(self, number: int, when: datetime) -> None:
        from benchmarks.peers.ours.models import Tick

        Tick.schedule(when, number=number)

    def fill(self, count: int, when: datetime) -> None:
        from operator_app.models import Operation

        self.schedule(-1, when)
        self.copy(Operation, count - 1)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO ours_tick (operation_ptr_id, number) SELECT id, -1 "
                "FROM operator_app_operation WHERE id NOT IN "
                "(SELECT operation_ptr_id FROM ours_tick)"
            )
        self.analyze("ours_tick")

    def busy(self) -> bool:
        return self.has_row(
            "SELECT 1 FROM operator_app_operation WHERE started_run_at IS NOT NULL "
            "AND finished_run_at IS NULL AND failed_run_at IS NULL AND cancelled_at IS NULL LIMIT 1"
        )


if __name__ == "__main__":
    serve(OurAdapter())
