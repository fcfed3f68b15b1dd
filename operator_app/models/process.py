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

DRAIN: Final = "drain"
STOP: Final = "stop"
"""What an operator may be asked for."""

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

    # Verbs. Each is one UPDATE, of those that live and are not asked for as much already; returns
    # how many. An operator hears it with its next heartbeat.

    def drain(self, *, by: str = "") -> int:
        """Ask them to claim nothing more, to finish what they run however long it takes, and then
        to leave. `by`: who asks, for people.
        """
        return self._ask(DRAIN, by, self.filter(asked=""))

    def stop(self, *, by: str = "") -> int:
        """Ask them to leave as on SIGTERM, within their grace; also those that drain."""
        return self._ask(STOP, by, self.exclude(asked=STOP))

    def resume(self) -> int:
        """Let those that drain, and have not left, go on."""
        return self._ask("", "", self.filter(asked=DRAIN))

    def _ask(self, what: str, by: str, those: OperatorProcessQuerySet) -> int:
        now = clock.now(self.db)
        who = by[: self.model._meta.get_field("asked_by").max_length]
        when = now if what else None
        return those.alive(now).update(asked=what, asked_by=who, asked_at=when)


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
    rss = models.BigIntegerField(_("memory"), null=True)
    """How many bytes of memory it took at its last heartbeat; null if it does not say."""
    # With defaults of the database, too: operators of an earlier version insert rows without them.
    asked = models.CharField(_("asked to"), max_length=8, default="", db_default="", blank=True)
    """What a person wants of it: `DRAIN`, `STOP`, or nothing."""
    asked_by = models.CharField(
        _("asked by"), max_length=150, default="", db_default="", blank=True
    )
    asked_at = models.DateTimeField(_("asked"), null=True)

    objects = OperatorProcessQuerySet.as_manager()

    class Meta:
        verbose_name = _("operator")
        verbose_name_plural = _("operators")
        permissions = [("stop_operatorprocess", "Can drain and stop operator")]

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
        rss: int | None = None,
        call: tuple[str, str] | None = None,
    ) -> bool:
        """Record a sign of life, good for `timeout` seconds, and hear what is asked for: see
        `asked`. One UPDATE; a SELECT and an UPDATE more where that has changed.

        Args:
            now: the database's time.
            timeout: for how many seconds it is good.
            draining: whether the operator is leaving; one that is asked to is.
            rss: how much memory it takes, in bytes.
            call: a channel and a text to NOTIFY along with it, on PostgreSQL. The database's time
                is confirmed then, too (see `clock.confirm`), without a further query unless it has
                jumped: then the sign of life is recorded anew.

        Returns:
            False if the row is gone or was declared lost: the process must not go on as this one.
        """
        if call is None:
            return self._beat(now, timeout, draining, rss)
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
            held = self._beat(now, timeout, draining, rss)
        if told and not clock.confirm(alias, told[0], asked, time.monotonic()):
            held = self._beat(clock.now(alias), timeout, draining, rss)
        return held

    def _beat(self, now: datetime, timeout: float, draining: bool, rss: int | None) -> bool:
        def write(rows: OperatorProcessQuerySet) -> bool:
            leaves = draining or bool(self.asked)
            until = later(now, timeout)
            fields = {"heartbeat_at": now, "alive_until": until, "draining": leaves, "rss": rss}
            if not rows.update(**fields):
                return False
            self.heartbeat_at, self.alive_until, self.draining, self.rss = now, until, leaves, rss
            return True

        held = self._held()
        # A beat that hits no row has heard something: a question of its own it never asks.
        return write(held.filter(asked=self.asked)) or (self._hear() and write(held))

    def settle(self) -> bool:
        """Leave now, having drained; False if somebody has called that off meanwhile. One UPDATE,
        and a SELECT if so.
        """
        if self._held().filter(asked=DRAIN).update(asked=STOP):
            self.asked = STOP
            return True
        return not self._hear() or self.asked == STOP

    def _held(self) -> OperatorProcessQuerySet:
        rows = OperatorProcess.objects.using(self._state.db)
        return rows.filter(pk=self.pk, lost_at__isnull=True)

    def _hear(self) -> bool:
        """Read what is asked for; False if the row is gone or was declared lost."""
        told = self._held().values_list("asked", "asked_by", "asked_at").first()
        if told is None:
            return False
        self.asked, self.asked_by, self.asked_at = told
        return True
