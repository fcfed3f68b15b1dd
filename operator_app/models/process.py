"""The processes that run operations: one row each, while they live."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from operator_app.moments import later

KEPT_LOST: Final = 7 * 24 * 3600.0
"""Seconds for which the row of a lost operator is kept, to look at."""


class OperatorProcessQuerySet(models.QuerySet["OperatorProcess"]):
    """Adjectives of operators."""

    def alive(self, now: datetime) -> OperatorProcessQuerySet:
        """Those that have shown a sign of life in time and were not declared lost."""
        return self.filter(lost_at__isnull=True, alive_until__gte=now)

    def expired(self, now: datetime) -> OperatorProcessQuerySet:
        """Those whose last sign of life is too old, and which nobody has declared lost yet."""
        return self.filter(lost_at__isnull=True, alive_until__lt=now)

    def next_expiry(self) -> datetime | None:
        """Return when the next operator is dead if it shows no life until then. One query."""
        living = self.filter(lost_at__isnull=True)
        first: datetime | None = living.aggregate(first=models.Min("alive_until"))["first"]
        return first

    def forget_lost(self, now: datetime) -> int:
        """Delete the rows of operators lost long ago; return how many. One query."""
        return self.filter(lost_at__lt=later(now, -KEPT_LOST)).delete()[0]

    def lost(self, now: datetime) -> OperatorProcessQuerySet:
        """Those that were declared lost, or whose last sign of life is too old."""
        return self.filter(models.Q(lost_at__isnull=False) | models.Q(alive_until__lt=now))


def successor(identity: uuid.UUID) -> uuid.UUID:
    """Return the identity under which an operator goes on that was taken for dead as `identity`, so
    that a parent, which knows the first one, can find it.
    """
    return uuid.uuid5(identity, "taken for dead")


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

    def declare_lost(self, now: datetime) -> bool:
        """Record that this operator is dead; False if it has shown life, or others did so. One
        UPDATE.
        """
        same = OperatorProcess.objects.using(self._state.db).filter(pk=self.pk)
        return bool(same.expired(now).update(lost_at=now))

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
