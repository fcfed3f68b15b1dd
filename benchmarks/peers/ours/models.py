"""One kind, with one column."""

from __future__ import annotations

from django.db import models

from benchmarks.peers.marks import mark
from operator_app.models import Operation


class Tick(Operation):
    """Leaves a mark."""

    number = models.IntegerField()

    def run(self) -> None:
        """Leave it."""
        mark(self.number)
