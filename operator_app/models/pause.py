"""Pauses: work that stays due, and is not begun."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from operator_app import clock, log, signals
from operator_app.models import announcements, arguments, hooks, kinds
from operator_app.models.fields import ExactCharField
from operator_app.models.lanes import Lane
from operator_app.reports import REASON_LIMIT, shortened, text_of
from operator_app.validation import QUEUE_MAX_LENGTH, check_queue

if TYPE_CHECKING:
    from operator_app.models.circuit import Circuit
    from operator_app.models.operation import Operation

EVERYTHING: Final = "everything"
SCOPE_LENGTH: Final = 100


class PauseQuerySet(models.QuerySet["Pause"]):
    """Adjectives and verbs of pauses."""

    def active(self, now: datetime) -> PauseQuerySet:
        """Those that have not run out."""
        return self.filter(Q(until__isnull=True) | Q(until__gt=now))

    def of(self, *, queue: str = "", kind: type[Operation] | None = None) -> PauseQuerySet:
        """Those of exactly this queue, kind, kind in one queue, or of everything: one at most, and
        with a kind that of its circuit breaker besides.

        Raises:
            TypeError: if `kind` is none.
        """
        kind_id = None if kind is None else kinds.content_type(kinds.checked(kind), self.db).pk
        scopes = [scope_of(queue, kind_id)]
        if kind_id is not None and not queue:
            scopes.append(scope_of("", kind_id, from_breaker=True))
        return self.filter(scope__in=scopes)

    def pause(
        self,
        *,
        queue: str = "",
        kind: type[Operation] | None = None,
        until: datetime | timedelta | None = None,
        reason: str = "",
        by: str = "",
    ) -> Pause:
        """Pause a queue, a kind, a kind in one queue, or everything. What is running goes on; what
        was claimed and has not begun is given back. A pause of the same that is there is changed.

        One SELECT, one INSERT or UPDATE, and on PostgreSQL a NOTIFY.

        Args:
            queue: whose operations; by default those of all queues.
            kind: which operations, exactly of this class; by default those of all kinds.
            until: when it ends by itself, or how long it lasts; by default it does not.
            reason: why, for people.
            by: who wants it, for people.

        Raises:
            ValueError, TypeError: for a bad queue, kind or time; nothing is written.
        """
        alias = self.db
        moment = None if until is None else arguments.moment(until, alias)
        if moment is not None and moment <= clock.now(alias):
            raise ValueError(f"A pause until {moment} would be over already.")
        if queue:
            check_queue(queue)
        kind_type = None if kind is None else kinds.content_type(kinds.checked(kind), alias)
        values = {
            "queue": queue,
            "kind": kind_type,
            "until": moment,
            "reason": shortened(text_of(reason), REASON_LIMIT),
            "paused_by": shortened(text_of(by), REASON_LIMIT),
            "created_at": clock.now(alias),
        }
        scope = scope_of(queue, None if kind_type is None else kind_type.pk)
        pause, _ = self.update_or_create(scope=scope, defaults=values)
        return pause

    def resume(self, *, queue: str = "", kind: type[Operation] | None = None) -> int:
        """End the pause of a queue, a kind, a kind in one queue, or everything; return how many
        have ended. With a kind, what its circuit breaker has paused is ended, too: then two may
        have been.

        Queries as `delete()`.
        """
        return self.of(queue=queue, kind=kind).delete()[0]

    def delete(self) -> tuple[int, dict[str, int]]:
        """End these pauses, close their circuits, and tell the operators. A SELECT, an UPDATE and a
        DELETE, and on PostgreSQL a NOTIFY.
        """
        alias = self.db
        with transaction.atomic(using=alias):
            pauses = list(self)
            done = super().delete()
            _tell_of_end(pauses, alias)
        return done

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class Pause(models.Model):
    """Operations that it covers are not begun: they stay due until it ends."""

    id = models.BigAutoField(primary_key=True)
    scope = ExactCharField(max_length=SCOPE_LENGTH, unique=True, editable=False)
    """What is paused, in one word: there is one pause of the same."""
    queue = ExactCharField(
        _("queue"),
        max_length=QUEUE_MAX_LENGTH,
        blank=True,
        help_text=_("Of which queue operations are paused; empty for all queues."),
    )
    kind = models.ForeignKey(
        ContentType,
        models.CASCADE,
        verbose_name=_("kind"),
        related_name="+",
        null=True,
        blank=True,
        db_index=False,
        help_text=_("Operations of which kind are paused; empty for all kinds."),
    )
    until = models.DateTimeField(
        _("until"),
        null=True,
        blank=True,
        help_text=_("When it ends by itself; empty if it does not."),
    )
    reason = models.CharField(_("reason"), max_length=REASON_LIMIT, blank=True)
    paused_by = models.CharField(
        _("paused by"), max_length=REASON_LIMIT, blank=True, editable=False
    )
    from_breaker = models.BooleanField(default=False, editable=False)
    """Whether it is that of an open circuit, which ends when a trial succeeds."""
    created_at = models.DateTimeField(_("since"), editable=False)

    objects: ClassVar[PauseQuerySet] = PauseQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("pause")
        verbose_name_plural = _("pauses")

    def __str__(self) -> str:
        return self.what

    def clean(self) -> None:
        """Check the queue, and that the same is not paused already.

        Raises:
            ValidationError: by field.
        """
        if self.queue:
            try:
                check_queue(self.queue)
            except ValueError as error:
                raise ValidationError({"queue": str(error)}) from None
        scope = scope_of(self.queue, self.kind_id, from_breaker=self.from_breaker)
        same = Pause.objects.using(self._alias).filter(scope=scope)
        if same.exclude(pk=self.pk).exists():
            raise ValidationError("The same is paused already: change that pause.")

    def save(self, *args: Any, **options: Any) -> None:
        """Write it, and tell the operators."""
        alias = options.get("using") or self._alias
        self.scope = scope_of(self.queue, self.kind_id, from_breaker=self.from_breaker)
        since: datetime | None = self.created_at
        if since is None:
            self.created_at = clock.now(alias)
        super().save(*args, **options)
        announcements.announce(alias, clock.now(alias))

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """End it, and tell the operators."""
        alias, gone = self._alias, copy(self)
        with transaction.atomic(using=alias):
            done = super().delete(*args, **options)
            _tell_of_end([gone], alias)
        return done

    def is_active(self, now: datetime) -> bool:
        """Whether it has not run out. No queries."""
        return self.until is None or self.until > now

    def covers(self, queue: str, kind_id: int) -> bool:
        """Whether operations of this queue and kind are paused by it. No queries."""
        return self.queue in ("", queue) and self.kind_id in (None, kind_id)

    def covers_lane(self, lane: Lane) -> bool:
        """Whether operations of a lane are paused by it. No queries."""
        return self.covers(lane.queue, lane.kind_id)

    @property
    def what(self) -> str:
        """What is paused, for people."""
        queue = f"the queue {self.queue!r}" if self.queue else ""
        kind = "" if self.kind_id is None else kinds.label_of(self.kind_id, self._alias)
        return f"{kind} in {queue}" if queue and kind else queue or kind or EVERYTHING

    @property
    def sentence(self) -> str:
        """What is paused, until when, and why, for people; without a full stop."""
        until = "" if self.until is None else f" until {clock.local(self.until):%Y-%m-%d %H:%M:%S}"
        by = f" by {self.paused_by}" if self.paused_by else ""
        why = f" ({self.reason})" if self.reason else ""
        what = self.what if self.kind_id is not None else self.what[0].upper() + self.what[1:]
        return f"{what} is paused{until}{by}{why}"

    @property
    def open_circuit(self) -> Circuit | None:
        """The circuit that it keeps open, if it is one's. One query, unless it was selected."""
        return getattr(self, "circuit", None) if self.from_breaker else None

    @property
    def _alias(self) -> str:
        return self._state.db or DEFAULT_DB_ALIAS


def scope_of(queue: str, kind_id: int | None, *, from_breaker: bool = False) -> str:
    """Return what is paused, in one word. A kind may be paused by a person and by its circuit
    breaker, of which each ends by itself.
    """
    word = "circuit" if from_breaker else "kind"
    parts = [f"{word} {kind_id}"] if kind_id is not None else []
    parts += [f"queue {queue}"] if queue else []
    return " ".join(parts) or EVERYTHING


def _tell_of_end(pauses: Sequence[Pause], alias: str) -> None:
    """Tell the operators that pauses have ended; and whoever wants to know it, of the circuits."""
    announcements.announce(alias, clock.now(alias))
    for pause in pauses:
        if pause.from_breaker:
            facts = {"action": "circuit_closed", "kind": pause.what}
            log.once_committed(alias, logging.WARNING, "%s goes on.", pause.what, **facts)
            hooks.circuit_changed(signals.circuit_closed, pause, alias)
