"""The task."""

from __future__ import annotations

from django.tasks import task

from benchmarks.peers.marks import mark


@task()
def tick(number: int) -> None:
    """Leave a mark."""
    mark(number)
