"""The tally: what has happened to operations of one kind in one queue, in a span of time."""

from __future__ import annotations

from typing import ClassVar, Final

from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils.translation import gettext_lazy as _

from operator_app.models.fields import ExactCharField

COUNTED: Final = (
    "finished",
    "stopped",
    "cancelled",
    "retried",
    "failed",
    "aborted",
    "released",
    "crashed",
)
"""What is counted: attempts by their outcome, and those whose operator died, once more."""


class Tally(models.Model):
    """How many attempts ended how, how long they ran and how late they began.

    Operators write these beside what they record, so that nobody has to count operations to say how
    many there were: see `models/tallies.py`. A statistic, and no more: what an operator has counted
    since it wrote last is lost if it is killed, and what is run by hand is not counted.
    """

    id = models.BigAutoField(primary_key=True)
    start = models.DateTimeField(_("start"))
    """When the span begins: that of the end of attempts, to be exact of their record."""
    seconds = models.PositiveIntegerField(_("seconds"))
    """How long the span is."""
    kind = models.ForeignKey(
        ContentType,
        models.DO_NOTHING,
        verbose_name=_("kind"),
        related_name="+",
        db_constraint=False,  # A kind may go, and what it did stays done.
        db_index=False,
    )
    queue = ExactCharField(_("queue"), max_length=64)
    finished = models.PositiveIntegerField(_("finished"), default=0)
    stopped = models.PositiveIntegerField(_("stopped"), default=0)
    cancelled = models.PositiveIntegerField(_("cancelled"), default=0)
    retried = models.PositiveIntegerField(_("retried"), default=0)
    failed = models.PositiveIntegerField(_("failed"), default=0)
    aborted = models.PositiveIntegerField(_("aborted"), default=0)
    released = models.PositiveIntegerField(_("released"), default=0)
    crashed = models.PositiveIntegerField(_("crashed"), default=0)
    durations = models.JSONField(_("durations"), default=dict)
    """How long they ran: a stored `Histogram`."""
    delays = models.JSONField(_("delays"), default=dict)
    """How long after `should_run_at` they began: a stored `Histogram`."""

    objects: ClassVar[models.Manager[Tally]] = models.Manager()

    class Meta:
        verbose_name = _("tally")
        verbose_name_plural = _("tallies")
        # Not for people: nobody needs a permission for it.
        default_permissions = ()
        indexes = [models.Index(fields=["seconds", "start"], name="operator_app_tally_spans")]

    def __str__(self) -> str:
        return f"{self.seconds} s from {self.start.isoformat(' ', 'seconds')}"
