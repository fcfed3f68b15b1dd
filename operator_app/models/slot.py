"""The slots of recurrences: what became of each moment that one of them names."""

from __future__ import annotations

from typing import ClassVar, Final

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from operator_app.models.indexes import PartialIndex
from operator_app.models.operation import Operation
from operator_app.models.recurrence import Recurrence

MADE: Final = "made"
QUEUED: Final = "queued"
SKIPPED: Final = "skipped"
BY_HAND: Final = "by hand"


class RecurrenceSlot(models.Model):
    """A slot that was seen to. That there is but one row for a slot is what keeps any number of
    operators from making two operations for it: it is written in the transaction of the operation.
    """

    id = models.BigAutoField(primary_key=True)
    recurrence = models.ForeignKey(
        Recurrence, models.CASCADE, verbose_name=_("recurrence"), related_name="slots"
    )
    slot = models.DateTimeField(_("slot"))
    state = models.CharField(
        _("state"),
        max_length=8,
        choices=[
            (MADE, _("made")),
            (QUEUED, _("queued")),
            (SKIPPED, _("skipped")),
            (BY_HAND, _("by hand")),
        ],
    )
    reason = models.CharField(_("reason"), max_length=255, blank=True)
    # Without a constraint the number stays when the operation is gone, and nobody waits for a lock.
    operation = models.OneToOneField(
        Operation,
        models.DO_NOTHING,
        verbose_name=_("operation"),
        related_name="+",
        null=True,
        db_constraint=False,
    )
    created_at = models.DateTimeField(_("created"))

    objects: ClassVar[models.Manager[RecurrenceSlot]] = models.Manager()

    class Meta:
        verbose_name = _("slot")
        verbose_name_plural = _("slots")
        constraints = [
            models.UniqueConstraint(fields=["recurrence", "slot"], name="operator_app_slot_once")
        ]
        indexes = [
            PartialIndex(
                fields=["recurrence", "slot"],
                name="operator_app_slot_queued",
                where=Q(state=QUEUED),
                plain_fields=["state", "recurrence", "slot"],
            )
        ]

    def __str__(self) -> str:
        return f"{self.recurrence_id} {self.slot:%Y-%m-%d %H:%M:%S}"
