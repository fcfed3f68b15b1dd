"""The bare minimum of what an operator does: rows claimed and finished in batches through the ORM.

One table, no columns of a kind, no attempts that fail, no fence per row, no threads, no job: what
is left is what Django and the database take.
"""

from __future__ import annotations

import time

BATCH = 500


def drain(count: int) -> float:
    """Claim and finish that many due rows, `BATCH` at a time; return rows per second."""
    from django.db import transaction

    from operator_app import clock
    from operator_app.models import Operation

    rows = Operation._base_manager
    start, done = time.perf_counter(), 0
    while done < count:
        now = clock.now()
        with transaction.atomic():
            due = rows.filter(started_run_at=None, finished_run_at=None, should_run_at__lte=now)
            taken = due.order_by("queue", "priority", "kind", "should_run_at", "id")[:BATCH]
            held = list(taken.select_for_update(skip_locked=True))
            ids = [row.pk for row in held]
            rows.filter(pk__in=ids).update(started_run_at=now)
        with transaction.atomic():
            done += rows.filter(pk__in=ids).update(finished_run_at=clock.now())
    return done / (time.perf_counter() - start)
