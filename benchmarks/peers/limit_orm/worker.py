"""Claims jobs, runs them and records that they have ended, a hundred at a time."""

from __future__ import annotations

import time

import django

django.setup()

from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks.peers.limit_orm.models import Job  # noqa: E402
from benchmarks.peers.marks import mark  # noqa: E402

BATCH = 100


def claim() -> list[Job]:
    """Take the next jobs: a query and an update in one transaction."""
    now = timezone.now()
    pending = Job.objects.filter(started__isnull=True, due__lte=now).order_by("due", "id")
    if connection.features.has_select_for_update_skip_locked:
        pending = pending.select_for_update(skip_locked=True)
    with transaction.atomic():
        jobs = list(pending[:BATCH])
        Job.objects.filter(pk__in=[job.pk for job in jobs]).update(started=now)
    return jobs


def main() -> None:
    """Go on until killed."""
    while True:
        jobs = claim()
        for job in jobs:
            mark(job.number)
        if jobs:
            ended = Job.objects.filter(pk__in=[job.pk for job in jobs])
            ended.update(finished=timezone.now())
        else:
            time.sleep(0.01)


if __name__ == "__main__":
    main()
