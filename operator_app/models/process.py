"""The processes that run operations: one row each, while they live."""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import Final

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.models.riding import riding
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
    kinds = models.JSONField(_("kinds"), null=True)
    """The ids of the content types of the kinds that it knows; null if it did not say, as operators
    of an earlier version.
    """
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

    def serves(self, queue: str) -> bool:
        """Whether it takes operations from this queue. No queries."""
        return not self.queues or queue in self.queues

    def knows(self, kind_id: int) -> bool:
        """Whether it has the class of this kind, as far as it has said. No queries."""
        return self.kinds is None or kind_id in self.kinds

    def is_alive(self, now: datetime) -> bool:
        """Whether it counts as living at `now`. No queries."""
        return self.lost_at is None and self.alive_until >= now

    def was_lost_long_ago(self, now: datetime) -> bool:
        """Whether its row has been kept for long enough. No queries."""
        return self.lost_at is not None and self.lost_at < later(now, -KEPT_LOST)

    def declare_lost(self, now: datetime) -> bool:
        """Record that this operator is dead; False if it has shown life, or others did so. One
        UPDATE.
        """
        same = OperatorProcess.objects.using(self._state.db).filter(pk=self.pk)
        return bool(same.expired(now).update(lost_at=now))

    def beat(
        self,
        now: datetime,
        *,
        timeout: float,
        draining: bool = False,
        call: tuple[str, str] | None = None,
    ) -> bool:
        """Record a sign of life, good for `timeout` seconds. One UPDATE.

        Args:
            now: the database's time.
            timeout: for how many seconds it is good.
            draining: whether the operator is leaving.
            call: a channel and a text to NOTIFY along with it, on PostgreSQL. The database's time
                is confirmed then, too (see `clock.confirm`), without a further query unless it has
                jumped: then the sign of life is recorded anew.

        Returns:
            False if the row is gone or was declared lost: the process must not go on as this one.
        """
        if call is None:
            return self._beat(now, timeout, draining)
        alias = self._state.db or DEFAULT_DB_ALIAS
        told: list[float] = []
        channel, text = call
        extra = f"{clock.EPOCH_OF_POSTGRESQL}, (SELECT pg_notify('{channel}', '{text}'))"
        asked = time.monotonic()
        with riding(
            connections[alias],
            ["UPDATE"],
            self._meta.db_table,
            lambda: extra,
            lambda cursor: told.extend(float(row[0]) for row in cursor.fetchall()),
        ):
            held = self._beat(now, timeout, draining)
        if told and not clock.confirm(alias, told[0], asked, time.monotonic()):
            held = self._beat(clock.now(alias), timeout, draining)
        return held

    def _beat(self, now: datetime, timeout: float, draining: bool) -> bool:
        until = later(now, timeout)
        held = OperatorProcess.objects.using(self._state.db).filter(
            pk=self.pk, lost_at__isnull=True
        )
        fields = {"heartbeat_at": now, "alive_until": until, "draining": draining}
        if not held.update(**fields):
            return False
        self.heartbeat_at, self.alive_until, self.draining = now, until, draining
        return True
