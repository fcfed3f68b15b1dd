"""Slots become operations: once for each, in the transaction that writes that it was seen to.

There is no leader. Whoever sees a slot first locks the recurrence's row; others pass it over, and
find the slot seen to when they look again. Should two get at it after all (a clock was set back, a
backup restored), the unique slot refuses the second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models
from django.db.models import Exists, OuterRef

from operator_app import clock, log
from operator_app.exceptions import OperationExists
from operator_app.models import states
from operator_app.models.operation import Operation
from operator_app.models.recurrence import Recurrence, RecurrenceQuerySet, aware, stored
from operator_app.models.slot import BY_HAND, MADE, QUEUED, SKIPPED, RecurrenceSlot
from operator_app.models.transactions import in_transaction, unlocked
from operator_app.moments import in_words, later
from operator_app.recurring import decide_due, spread
from operator_app.reports import REASON_LIMIT, shortened

EARLIER: Final = 20
"""How many of a recurrence's last operations are looked at for one that has not ended."""


class UnfitFieldsError(Exception):
    """The fields of a recurrence do not fit its kind, as this process knows it."""


def look(alias: str, most: int, but: Collection[int] = ()) -> list[Recurrence]:
    """Return the enabled recurrences whose slots come first, each with whether it `waits`: it has
    queued slots. Those that wait come before all others. One query.

    Args:
        alias: the database.
        most: how many.
        but: the ids of those to leave out.
    """
    queued = RecurrenceSlot.objects.using(alias).filter(recurrence=OuterRef("pk"), state=QUEUED)
    rows = Recurrence.objects.using(alias).enabled().annotate(waits=Exists(queued))
    coming = rows.filter(models.Q(next_run_at__isnull=False) | models.Q(waits=True))
    if but:
        coming = coming.exclude(pk__in=but)
    return list(coming.order_by("-waits", "next_run_at", "pk")[:most])


def make_due(recurrence: Recurrence, now: datetime, alias: str) -> list[Operation]:
    """See to the due slots of a recurrence; return the operations that were made.

    In a transaction: one SELECT that locks the row, one for slots that were seen to before, with
    `overlap` one for earlier operations, one for each foreign key in its fields; the INSERTs of
    each operation and of its slot; one UPDATE. None of it if another operator is at it.

    Args:
        recurrence: as it was when somebody looked.
        now: the time.
        alias: the database.

    Raises:
        UnfitFieldsError: if no operation can be made of its fields here, or the database refuses
            it; nothing is written.
    """
    try:
        return in_transaction(alias, lambda: _make_due(recurrence.pk, now, alias))
    except IntegrityError as error:
        rows = Recurrence.objects.using(alias)
        if rows.filter(pk=recurrence.pk, next_run_at=recurrence.next_run_at).exists():
            # What its fields refer to has gone a moment ago, or the kind has a rule of its own.
            raise UnfitFieldsError(f"the database refused it: {str(error).strip()}") from error
        return []  # Somebody else has seen to it.


def make_queued(recurrence: Recurrence, now: datetime, alias: str) -> list[Operation]:
    """Make the operation of the first queued slot, if all earlier ones have ended; return it.

    Queries as `make_due()`.

    Raises:
        UnfitFieldsError: as there.
    """
    return in_transaction(alias, lambda: _make_queued(recurrence.pk, now, alias))


def make_by_hand(recurrence: Recurrence) -> Operation:
    """Make an operation besides those of the slots: see `Recurrence.run_now()`."""
    alias = recurrence._alias
    model = recurrence.model
    if model is None:
        raise TypeError(f"{recurrence.kind_label} is no kind of operations that is installed.")
    values = recurrence.values_for(model)

    def make() -> Operation:
        now = clock.now(alias)
        operation = _operation(recurrence, model, values, now)
        _note(recurrence, now, BY_HAND, now, alias, operation=operation)
        return operation

    return in_transaction(alias, make)


def slot_of(operation: Operation) -> datetime | None:
    """Return the slot that an operation was made for; None if it was made for none. One query."""
    rows = RecurrenceSlot.objects.using(operation._alias).filter(operation_id=operation.pk)
    return rows.values_list("slot", flat=True).first()


def _make_due(pk: int, now: datetime, alias: str) -> list[Operation]:
    recurrence = _locked(Recurrence.objects.using(alias).due(now).filter(pk=pk))
    if recurrence is None or recurrence.next_run_at is None:
        return []
    next_at, rhythm = aware(recurrence.next_run_at), recurrence.rhythm
    due = decide_due(
        rhythm, next_at, aware(now), missed=recurrence.missed, window=recurrence.window
    )
    slots = _unseen(recurrence, [stored(slot) for slot in due.slots], alias)
    made = list(_made(recurrence, slots, now, alias)) if slots else []
    if not recurrence.enabled:
        return made  # Its fields name a row that is gone: it has been disabled.
    last = stored(due.slots[-1]) if due.slots else recurrence.last_slot
    next_run_at = None if due.next_at is None else stored(due.next_at)
    if next_run_at is not None and last is not None and next_run_at <= last:
        # Without time zones, in the hour that comes twice.
        next_run_at = recurrence.next_after(last)
    same = Recurrence.objects.using(alias).filter(pk=pk, next_run_at=recurrence.next_run_at)
    if not same.update(next_run_at=next_run_at, last_slot=last):
        raise IntegrityError("another operator has seen to it")
    return made


def _make_queued(pk: int, now: datetime, alias: str) -> list[Operation]:
    recurrence = _locked(Recurrence.objects.using(alias).enabled().filter(pk=pk))
    if recurrence is None:
        return []
    queued = RecurrenceSlot.objects.using(alias).filter(recurrence=recurrence, state=QUEUED)
    waited = f"it waited for longer than {in_words(recurrence.window)}"
    queued.filter(slot__lt=later(now, -recurrence.window)).update(state=SKIPPED, reason=waited)
    first = queued.order_by("slot").first()
    if first is None or _is_active(recurrence, alias):
        return []
    values = _values(recurrence, alias)
    if values is None:
        return []
    try:
        operation = _operation(recurrence, *values, first.slot)
    except OperationExists:
        return []  # It waits for that one, too.
    RecurrenceSlot.objects.using(alias).filter(pk=first.pk).update(state=MADE, operation=operation)
    return [operation]


def _locked(rows: RecurrenceQuerySet) -> Recurrence | None:
    found = unlocked(rows)
    return found[0] if found else None


def _unseen(recurrence: Recurrence, slots: list[datetime], alias: str) -> list[datetime]:
    """Return those slots that nobody has seen to. One query."""
    rows = RecurrenceSlot.objects.using(alias).filter(recurrence=recurrence, slot__in=slots)
    seen = set(rows.values_list("slot", flat=True)) if slots else set()
    return [slot for slot in slots if slot not in seen]


def _made(
    recurrence: Recurrence, slots: list[datetime], now: datetime, alias: str
) -> Iterator[Operation]:
    """Write what becomes of these slots; yield the operations."""
    values = _values(recurrence, alias)
    if values is None:
        return
    is_exclusive = recurrence.overlap != "allow"
    is_active = is_exclusive and _is_active(recurrence, alias)
    for slot in slots:
        if is_active:
            state = SKIPPED if recurrence.overlap == "skip" else QUEUED
            reason = "the operation of an earlier slot has not ended"
            _note(recurrence, slot, state, now, alias, reason=reason)
            continue
        try:
            operation = _operation(recurrence, *values, slot)
        except OperationExists as error:
            _note(recurrence, slot, SKIPPED, now, alias, reason=shortened(str(error), REASON_LIMIT))
            continue
        _note(recurrence, slot, MADE, now, alias, operation=operation)
        is_active = is_exclusive
        yield operation


def _values(recurrence: Recurrence, alias: str) -> tuple[type[Operation], dict[str, Any]] | None:
    """Return the kind, and the values of its columns. If a row that they refer to is gone, the
    recurrence is disabled with that reason, and there are none.

    Raises:
        UnfitFieldsError: for anything else that is wrong with them.
    """
    model = recurrence.model
    if model is None:
        raise UnfitFieldsError(f"this process knows no class {recurrence.kind_label}")
    try:
        return model, recurrence.values_for(model)
    except ValidationError as error:
        gone = _gone(recurrence, model, error)
        if gone is None:
            raise UnfitFieldsError(" ".join(error.messages)) from error
    except (TypeError, ValueError) as error:
        raise UnfitFieldsError(str(error)) from error
    recurrence.enabled = False
    recurrence.disabled_reason, recurrence.next_run_at = gone[:255], None
    recurrence.save(update_fields=["enabled", "disabled_reason", "next_run_at"])
    log.logger.error(
        "The recurrence %s is disabled: %s.",
        *(recurrence, gone),
        extra={"action": "recurrence_disabled"},
    )
    return None


def _gone(recurrence: Recurrence, model: type[Operation], error: ValidationError) -> str | None:
    """Return which rows are gone that its foreign keys refer to, if that is all that is wrong."""
    links = [field for field in model._meta.concrete_fields if field.is_relation]
    names = {name for field in links for name in (field.name, field.attname)}
    wrong = [(name, each.code) for name, errors in error.error_dict.items() for each in errors]
    if not all(name in names and code == "invalid" for name, code in wrong):
        return None
    gone = ", ".join(f"{name} {recurrence.fields[name]!r}" for name, _ in wrong)
    return f"its fields refer to what is gone: {gone}"


def _is_active(recurrence: Recurrence, alias: str) -> bool:
    """Whether an operation of one of its last slots has not ended. One query."""
    rows = RecurrenceSlot.objects.using(alias).filter(
        recurrence=recurrence, operation__isnull=False
    )
    last = list(rows.order_by("-slot").values_list("operation_id", flat=True)[:EARLIER])
    return Operation.all_objects.using(alias).filter(states.NOT_ENDED, pk__in=last).exists()


def _operation(
    recurrence: Recurrence, model: type[Operation], values: dict[str, Any], slot: datetime
) -> Operation:
    """Insert the operation of a slot."""
    when = stored(spread(recurrence.name, aware(slot), recurrence.jitter))
    operation = model(**values)
    operation.should_run_at = when
    if recurrence.queue:
        operation.queue = recurrence.queue
    if recurrence.priority is not None:
        operation.priority = recurrence.priority
    operation.save(using=recurrence._alias)
    return operation


def _note(
    recurrence: Recurrence,
    slot: datetime,
    state: str,
    now: datetime,
    alias: str,
    *,
    reason: str = "",
    operation: Operation | None = None,
) -> None:
    """Write down what became of a slot. One INSERT."""
    RecurrenceSlot.objects.using(alias).create(
        recurrence=recurrence,
        slot=slot,
        state=state,
        reason=reason,
        operation=operation,
        created_at=now,
    )
