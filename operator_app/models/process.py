"""The processes that run operations: one row each, while they live."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _

from operator_app.moments import later


class OperatorProcessQuerySet(models.QuerySet["OperatorProcess"]):
    """Adjectives of operators."""

    def alive(self, now: datetime) -> OperatorProcessQuerySet:
        """Those that have shown a sign of life in time and were not declared lost."""
        return self.filter(lost_at__isnull=True, alive_until__gte=now)

    def lost(self, now: datetime) -> OperatorProcessQuerySet:
        """Those that were declared lost, or whose last sign of life is too old."""
        return self.filter(models.Q(lost_at__isnull=False) | models.Q(alive_until__lt=now))


class OperatorProcess(models.Model):
    """A process that `manage.py operator` started. Its row is gone when it has ended in order."""

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(_("identity"), default=uuid.uuid4, unique=True, editable=False)
    hostname = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("process id"))
    version = models.CharField(_("version"), max_length=40)
    queues = models.JSONField(_("queues"), default=list)
    """The queues that it serves; empty means all."""
    capacity = models.PositiveIntegerField(_("capacity"))
    """How many operations it runs at once."""
    started_at = models.DateTimeField(_("started"))
    heartbeat_at = models.DateTimeField(_("last heartbeat"))
    alive_until = models.DateTimeField(_("alive until"))
    lost_at = models.DateTimeField(_("lost"), null=True)
    draining = models.BooleanField(_("draining"), default=False)
    """It finishes what it runs and claims nothing new."""

    objects = OperatorProcessQuerySet.as_manager()

    class Meta:
        verbose_name = _("operator")
        verbose_name_plural = _("operators")

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"

    def is_alive(self, now: datetime) -> bool:
        """Whether it counts as living at `now`. No queries."""
        return self.lost_at is None and self.alive_until >= now

    def beat(self, now: datetime, *, timeout: float, draining: bool = False) -> bool:
        """Record a sign of life, good for `timeout` seconds. One UPDATE.

        Returns:
            False if the row is gone or was declared lost: the process must not go on as this one.
        """
        until = later(now, timeout)
        held = OperatorProcess.objects.using(self._state.db).filter(
            pk=self.pk, lost_at__isnull=True
        )
        fields = {"heartbeat_at": now, "alive_until": until, "draining": draining}
        if not held.update(**fields):
            return False
        self.heartbeat_at, self.alive_until, self.draining = now, until, draining
        return True
