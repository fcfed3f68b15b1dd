"""The circuit: what is known of the failures of a kind that has a circuit breaker."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.models import kinds
from operator_app.models.pause import Pause
from operator_app.moments import in_words


class CircuitQuerySet(models.QuerySet["Circuit"]):
    """Adjectives of circuits."""

    def open(self) -> CircuitQuerySet:
        """Those whose kind is paused."""
        return self.filter(pause__isnull=False)

    def to_try(self, now: datetime) -> CircuitQuerySet:
        """Open ones that have cooled down, and of which no operation is being tried. A trial counts
        as long as its claim lasts: one whose operator died is over when it is rescued.
        """
        claimed = kinds.operations(self.db).started()
        trial = claimed.filter(pk=OuterRef("trial"), attempts=OuterRef("trial_number"))
        return self.open().filter(~Exists(trial), retry_at__lte=now)


class Circuit(models.Model):
    """How operations of a kind have failed lately; and while it is open, when the next is tried.

    It is open as long as its pause is there: who ends the pause closes the circuit.
    """

    id = models.BigAutoField(primary_key=True)
    kind = models.OneToOneField(
        ContentType, models.CASCADE, verbose_name=_("kind"), related_name="+"
    )
    failed_at = models.JSONField(default=list)
    """When operations have failed, in seconds since the epoch, oldest first; as far as it matters.
    Empty while it is open."""
    pause = models.OneToOneField(
        Pause, models.SET_NULL, verbose_name=_("pause"), related_name="circuit", null=True
    )
    cooldown = models.FloatField(_("cool-down"), default=0.0)
    """Seconds from the last failure to the next trial."""
    retry_at = models.DateTimeField(_("next trial"), null=True)
    """When the next operation may be tried."""
    trial = models.BigIntegerField(null=True)
    """The operation that is being tried, by its id: a number, so that whoever deletes an operation
    does not have to look here."""
    trial_number = models.PositiveIntegerField(null=True)
    """The claim under which it is tried."""

    objects: ClassVar[CircuitQuerySet] = CircuitQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("circuit")
        verbose_name_plural = _("circuits")

    def __str__(self) -> str:
        return f"the circuit of {kinds.label_of(self.kind_id, self._state.db or 'default')}"

    def outlook(self, now: datetime) -> str:
        """Return how an open one goes on, for people; without a full stop. No queries."""
        if self.trial is not None:
            return f"operation #{self.trial} is being tried"
        if self.retry_at is None or self.retry_at <= now:
            return "the next operation that is due is tried"
        left = in_words((self.retry_at - now).total_seconds())
        return f"one is tried in {left}, at {clock.local(self.retry_at):%H:%M:%S}"
