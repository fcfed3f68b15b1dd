"""The task."""

from __future__ import annotations

from benchmarks.peers.marks import mark


def tick(number: int) -> None:
    """Leave a mark."""
    mark(number)
