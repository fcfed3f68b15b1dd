"""The recurrence: a schedule that makes operations."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import DEFAULT_DB_ALIAS, models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.cron import parse
from operator_app.models import announcements, arguments, kinds
from operator_app.recurring import DAY, Rhythm, zone_of
from operator_app.validation import QUEUE_MAX_LENGTH, check_queue

if TYPE_CHECKING:
    from operator_app.models.operation import Operation

NAME_LENGTH: Final = 255
GONE: Final = "its declaration is gone from the code"
"""Why a recurrence from code is disabled that the code does not declare any more."""

_RHYTHM: Final = ("expression", "time_zone", "start_at", "end_at", "enabled")
"""The columns by which the next slot is found."""
_LOADED: Final = "_loaded_rhythm"


class RecurrenceQuerySet(models.QuerySet["Recurrence"]):
    """Adjectives and verbs of recurrences."""

    def enabled(self) -> RecurrenceQuerySet:
        """Those that make operations."""
        return self.filter(enabled=True)

    def due(self, now: datetime) -> RecurrenceQuerySet:
        """Those with a slot that nobody has seen to, in the order of these."""
        return self.enabled().filter(next_run_at__lte=now).order_by("next_run_at", "pk")

    def enable(self) -> int:
        """Let the disabled ones go on, from now: what would have been meanwhile is never made.
        Return how many. A SELECT, and an UPDATE for each.
        """
        return self._switch(enabled=True, reason="")

    def disable(self, reason: str = "") -> int:
        """Let the enabled ones make no more operations; return how many. A SELECT, and an UPDATE
        for each.

        Args:
            reason: why, for people.
        """
        return self._switch(enabled=False, reason=reason)

    def _switch(self, *, enabled: bool, reason: str) -> int:
        changed = list(self.filter(enabled=not enabled))
        for recurrence in changed:
            recurrence.enabled, recurrence.disabled_reason = enabled, reason
            recurrence.save(update_fields=["enabled", "disabled_reason"])
        return len(changed)


class Recurrence(models.Model):
    """When operations of a kind are made, again and again; edited by people, or declared in code.

    For each slot, a moment that the expression names, at most one operation is made, whatever the
    number of operators: see `slots`. Slots follow from each other, and not from when somebody
    looked. A recurrence that is enabled, or whose rhythm is changed, goes on from now.
    """

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(_("name"), max_length=NAME_LENGTH, unique=True)
    kind = models.ForeignKey(
        ContentType, models.CASCADE, verbose_name=_("kind"), related_name="+", db_index=False
    )
    expression = models.CharField(
        _("cron expression"),
        max_length=255,
        help_text=_(
            "Minute, hour, day of the month, month, day of the week; the second before them, if "
            "there are six. Or @hourly, @daily, @weekly, @monthly, @yearly."
        ),
    )
    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        default=timezone.get_default_timezone_name,
        help_text=_("Where the clock hangs that the expression speaks of, as Europe/Berlin."),
    )
    fields = models.JSONField(
        _("fields"),
        default=dict,
        blank=True,
        encoder=DjangoJSONEncoder,
        help_text=_(
            "Values for the columns of the new operation, as JSON; of a foreign key, the primary "
            "key."
        ),
    )
    queue = models.CharField(
        _("queue"),
        max_length=QUEUE_MAX_LENGTH,
        blank=True,
        help_text=_("By default that of the kind's policy."),
    )
    priority = models.SmallIntegerField(
        _("priority"),
        null=True,
        blank=True,
        help_text=_("By default that of the kind's policy."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    disabled_reason = models.CharField(
        _("why it is disabled"), max_length=255, blank=True, editable=False
    )
    start_at = models.DateTimeField(_("start"), null=True, blank=True)
    end_at = models.DateTimeField(_("end"), null=True, blank=True)
    jitter = models.FloatField(
        _("jitter"),
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(365 * DAY)],
        help_text=_("Seconds by which operations are spread at random after their slot."),
    )
    missed = models.CharField(
        _("missed slots"),
        max_length=8,
        default="once",
        choices=[
            ("skip", _("skip them")),
            ("once", _("make the last one of them")),
            ("all", _("make all of them")),
        ],
        help_text=_("What becomes of slots for which no operator lived to make an operation."),
    )
    window = models.FloatField(
        _("window"),
        default=DAY,
        validators=[MinValueValidator(0.0)],
        help_text=_("Seconds after which a missed or queued slot is dropped."),
    )
    overlap = models.CharField(
        _("overlap"),
        max_length=8,
        default="allow",
        choices=[
            ("allow", _("allow both")),
            ("skip", _("skip the slot")),
            ("queue", _("wait until the other one has ended")),
        ],
        help_text=_("What becomes of a slot while the operation of an earlier one has not ended."),
    )
    next_run_at = models.DateTimeField(_("next"), null=True, editable=False)
    """The first slot that nobody has seen to; null if there is none, or it is disabled."""
    last_slot = models.DateTimeField(_("last slot"), null=True, editable=False)
    """The last slot that was seen to."""
    from_code = models.BooleanField(_("from code"), default=False, editable=False)
    """Declared by `recurrences` of the kind, which `migrate` brings here."""

    objects: ClassVar[RecurrenceQuerySet] = RecurrenceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("recurrence")
        verbose_name_plural = _("recurrences")
        indexes = [models.Index(fields=["enabled", "next_run_at"], name="operator_app_recurring")]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def from_db(cls, db: str | None, field_names: Any, values: Any, **kwargs: Any) -> Recurrence:
        """Build an instance and remember its rhythm, to know later whether that was changed."""
        found = super().from_db(db, field_names, values, **kwargs)
        found._remember()
        return found

    def clean(self) -> None:
        """Check all that is said against the expression's grammar, the zones and the kind.

        One query for each foreign key in `fields`.

        Raises:
            ValidationError: by field, with everything that is wrong.
        """
        problems: dict[str, Any] = {}
        for name, check in (("expression", parse), ("time_zone", zone_of)):
            try:
                check(getattr(self, name))
            except ValueError as error:
                problems[name] = str(error)
        if self.queue:
            try:
                check_queue(self.queue)
            except ValueError as error:
                problems["queue"] = str(error)
        if self.start_at and self.end_at and self.end_at <= self.start_at:
            problems["end_at"] = "The end is not after the start."
        if self.kind_id is not None:
            if (model := self.model) is None:
                problems["kind"] = f"{self.kind_label} is no kind of operations that is installed."
            else:
                try:
                    self.values_for(model)
                except (TypeError, ValueError, ValidationError) as error:
                    problems["fields"] = as_sentences(error)
        if problems:
            raise ValidationError(problems)

    def save(self, *args: Any, **options: Any) -> None:
        """Write the row; where its rhythm is another one than was loaded, the next slot is the
        first one from now on. What operators write is left as it stands. They hear of it after the
        commit.

        Raises:
            ValueError: if the expression or the time zone is wrong; nothing is written.
        """
        alias = options.get("using") or router.db_for_write(type(self), instance=self)
        parse(self.expression)
        zone_of(self.time_zone)
        if self.enabled:
            self.disabled_reason = ""
        is_other = self._state.adding or self._rhythm() != self.__dict__.get(_LOADED)
        if is_other:
            self.next_run_at = self.next_after(clock.now(alias)) if self.enabled else None
        if not self._state.adding:
            written = options.get("update_fields")
            names = self._users_columns() if written is None else set(written)
            options["update_fields"] = names | ({"next_run_at"} if is_other else set())
        super().save(*args, **options)
        self._remember()
        announcements.announce(alias, clock.now(alias))

    @property
    def model(self) -> type[Operation] | None:
        """The class of its kind; None if this process does not know it. Cached by Django."""
        return kinds.model_of(self.kind_id, self._alias)

    @property
    def kind_label(self) -> str:
        """ "app.Model" of its kind."""
        return kinds.label_of(self.kind_id, self._alias)

    @property
    def rhythm(self) -> Rhythm:
        """When it recurs. No queries."""
        ends = [None if each is None else aware(each) for each in (self.start_at, self.end_at)]
        return Rhythm(parse(self.expression), zone_of(self.time_zone), *ends)

    @property
    def words(self) -> str:
        """When it recurs, for people."""
        return parse(self.expression).in_words()

    def next_times(self, count: int = 5) -> list[datetime]:
        """Return the next slots, on the clock of its zone; also of a disabled one. No queries."""
        return self.rhythm.upcoming(aware(clock.now(self._alias)), count)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first slot after a moment, as it is stored; None if there is none."""
        for slot in self.rhythm.all_after(aware(moment)):
            # Without time zones an hour that comes twice has one name, which was used up.
            if (found := stored(slot)) > moment:
                return found
        return None

    def run_now(self) -> Operation:
        """Make an operation now, besides those of the slots; also of a disabled one.

        Queries as `make_operation()`, and one INSERT more.

        Raises:
            ValueError, TypeError, ValidationError: if `fields` do not fit the kind.
            OperationExists: if the kind's policy makes it unique, and another one has not ended.
        """
        from operator_app.models.slots import make_by_hand

        return make_by_hand(self)

    def values_for(self, model: type[Operation]) -> dict[str, Any]:
        """Return `fields` as values of a kind's columns, each checked.

        One query for each foreign key.

        Raises:
            TypeError: for a column that the kind does not have, or if this is no object.
            ValidationError: for values that do not fit, or are missing, by field.
        """
        if not isinstance(self.fields, dict):
            raise TypeError("The fields are one JSON object, with the names of columns.")
        arguments.check_fields(model, self.fields)
        values: dict[str, Any] = {}
        problems: dict[str, Any] = {}
        for field in model._meta.concrete_fields:
            name = field.name if field.name in self.fields else field.attname
            if name not in self.fields:
                continue
            try:
                values[field.attname] = field.clean(self.fields[name], None)
            except ValidationError as error:
                problems[name] = error
        if not problems:
            operation = model(**values)
            for name in missing(operation):
                problems[name] = ValidationError("The kind needs a value for it.")
        if problems:
            raise ValidationError(problems)
        return values

    def _users_columns(self) -> set[str]:
        """The names of all columns that were loaded, but for those that operators write."""
        loaded = [field for field in self._meta.concrete_fields if field.attname in self.__dict__]
        names = {field.name for field in loaded if not field.primary_key}
        return names - {"next_run_at", "last_slot"}

    def _rhythm(self) -> tuple[Any, ...]:
        return tuple(self.__dict__.get(name) for name in _RHYTHM)

    def _remember(self) -> None:
        self.__dict__[_LOADED] = self._rhythm()

    @property
    def _alias(self) -> str:
        return self._state.db or DEFAULT_DB_ALIAS


def missing(operation: Operation) -> list[str]:
    """Return the names of the kind's own columns that need a value and have none."""
    engine = {field.name for field in kinds.base()._meta.local_fields}
    return [
        field.name
        for field in operation._meta.concrete_fields
        if field.name not in engine
        and not field.null
        and not field.primary_key
        and not field.generated
        and getattr(operation, field.attname) is None
    ]


def aware(moment: datetime) -> datetime:
    """Return a moment from the database with its zone, which it lacks with USE_TZ=False."""
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def stored(moment: datetime) -> datetime:
    """Return an aware moment as the ORM wants it."""
    return clock.from_epoch(moment.timestamp())


def as_json(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields as they are after a round trip through the database."""
    found: dict[str, Any] = json.loads(json.dumps(fields, cls=DjangoJSONEncoder))
    return found


def as_sentences(error: Exception) -> list[str]:
    """Return what an error says, with the field that each sentence is about."""
    if not isinstance(error, ValidationError):
        return [str(error)]
    if not hasattr(error, "error_dict"):
        return error.messages
    return [f"{name}: {' '.join(each.messages)}" for name, each in _by_field(error)]


def _by_field(error: ValidationError) -> list[tuple[str, ValidationError]]:
    return [(name, ValidationError(errors)) for name, errors in error.error_dict.items()]
