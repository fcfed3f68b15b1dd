"""One table."""

from __future__ import annotations

from django.db import models


class Job(models.Model):
    """A number, and when it is due, started and finished."""

    number = models.IntegerField()
    due = models.DateTimeField()
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index("due", "id", name="pending", condition=models.Q(started__isnull=True))
        ]
