"""Inserts rows: `create()` one by one, `bulk_create()` in bulk."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.management import call_command
from django.utils import timezone

from benchmarks.peers.adapter import serve
from benchmarks.peers.django_adapter import DjangoAdapter


class OrmAdapter(DjangoAdapter):
    emptied = ("limit_orm_job",)

    def prepare(self) -> None:
        call_command("migrate", verbosity=0, interactive=False, run_syncdb=True)

    def enqueue(self, number: int) -> None:
        from benchmarks.peers.limit_orm.models import Job

        Job.objects.create(number=number, due=timezone.now())

    def enqueue_many(self, numbers: Sequence[int]) -> None:
        from benchmarks.peers.limit_orm.models import Job

        now = timezone.now()
        Job.objects.bulk_create(Job(number=number, due=now) for number in numbers)

    def busy(self) -> bool:
        return self.has_row(
            "SELECT 1 FROM limit_orm_job WHERE started IS NOT NULL AND finished IS NULL LIMIT 1"
        )


if __name__ == "__main__":
    serve(OrmAdapter())
