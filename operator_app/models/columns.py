"""The engine's columns of an operation, their constraints and indexes."""

from __future__ import annotations

from typing import Final

from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils.translation import gettext_lazy as _

from operator_app.models import states
from operator_app.models.fields import ExactCharField
from operator_app.models.indexes import PartialIndex, PartialUnique
from operator_app.models.process import OperatorProcess
from operator_app.validation import QUEUE_MAX_LENGTH


class EngineColumns(models.Model):
    """What the engine knows of an operation. Timestamps are the only truth: there is no status."""

    id = models.BigAutoField(primary_key=True)
    # No constraint: each insert would lock the one row of its kind. No index: the lanes have it.
    kind = models.ForeignKey(
        ContentType,
        models.PROTECT,
        verbose_name=_("kind"),
        related_name="+",
        editable=False,
        db_index=False,
        db_constraint=False,
    )
    queue = ExactCharField(_("queue"), max_length=QUEUE_MAX_LENGTH, blank=True)
    priority = models.SmallIntegerField(_("priority"), blank=True)
    should_run_at = models.DateTimeField(_("should run at"))
    started_run_at = models.DateTimeField(_("claimed"), null=True, editable=False)
    begun_run_at = models.DateTimeField(_("begun"), null=True, editable=False)
    finished_run_at = models.DateTimeField(_("finished"), null=True, editable=False)
    failed_run_at = models.DateTimeField(_("failed"), null=True, editable=False)
    cancelled_at = models.DateTimeField(_("cancelled"), null=True, editable=False)
    reason = models.CharField(_("reason"), max_length=255, blank=True, editable=False)
    abort_requested_at = models.DateTimeField(_("abort requested"), null=True, editable=False)
    stack_requested_at = models.DateTimeField(_("stack requested"), null=True, editable=False)
    times_out_at = models.DateTimeField(_("times out"), null=True, editable=False)
    attempts = models.PositiveIntegerField(_("claims"), default=0, editable=False)
    failures = models.PositiveIntegerField(_("failures"), default=0, editable=False)
    crashes = models.PositiveIntegerField(_("crashes"), default=0, editable=False)
    stops = models.PositiveIntegerField(_("stops"), default=0, editable=False)
    # No constraint: its check would lock the row of the operator that is beating.
    operator = models.ForeignKey(
        OperatorProcess,
        models.DO_NOTHING,
        verbose_name=_("operator"),
        related_name="+",
        null=True,
        editable=False,
        db_index=False,
        db_constraint=False,
    )
    unique_key = models.CharField(_("unique key"), max_length=255, null=True, editable=False)
    # A digest, since databases do not agree on when two strings are equal.
    active_key = models.CharField(max_length=64, null=True, editable=False)
    created_at = models.DateTimeField(_("created"), editable=False)

    class Meta:
        # Nothing else: a kind without a Meta of its own would inherit it.
        abstract = True


CONSTRAINTS: Final = [
    models.CheckConstraint(condition=states.ONE_ENDING, name="operator_app_one_ending"),
    models.CheckConstraint(condition=states.OPERATOR_STARTED, name="operator_app_operator_started"),
    PartialUnique(fields=["kind", "active_key"], name="operator_app_unique_key"),
]

INDEXES: Final[list[models.Index]] = [
    # The order of a claim: lane by lane, and in a lane by time. See `models.claims`.
    PartialIndex(
        fields=["queue", "priority", "kind", "should_run_at", "id"],
        name="operator_app_pending",
        where=states.PENDING,
        plain_fields=[
            *states.ENDINGS,
            "started_run_at",
            *["queue", "priority", "kind", "should_run_at", "id"],
        ],
    ),
    PartialIndex(
        fields=["operator", "started_run_at"],
        name="operator_app_started",
        where=states.STARTED,
    ),
    PartialIndex(
        fields=["failed_run_at"],
        name="operator_app_failed",
        where=models.Q(failed_run_at__isnull=False),
    ),
    PartialIndex(
        fields=["cancelled_at"],
        name="operator_app_cancelled",
        where=models.Q(cancelled_at__isnull=False),
    ),
    # For the search, which finds ended operations, too. Most have no key, and cost it nothing.
    PartialIndex(
        fields=["unique_key"],
        name="operator_app_keys",
        where=models.Q(unique_key__isnull=False),
        plain_fields=["unique_key"],
    ),
]
