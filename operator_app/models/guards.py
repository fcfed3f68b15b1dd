"""What keeps a stale copy of an operation, or a call in the wrong place, from doing harm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from django.db import DatabaseError, router, transaction

from operator_app.exceptions import OperationStarted, OperatorError
from operator_app.models import announcements
from operator_app.models.current import current_job

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation

SCHEDULE: Final = ("should_run_at", "priority", "queue")
"""The engine's columns that a user may change while an operation is pending."""

_REMEMBERED: Final = "_loaded_schedule"


def engine_names() -> frozenset[str]:
    """Return the names of the engine's columns, both as fields and as attributes."""
    from operator_app.models.operation import Operation

    own = Operation._meta.local_concrete_fields
    return frozenset(name for field in own for name in (field.name, field.attname))


def remember_schedule(operation: Operation, fields: Iterable[str] | None = None) -> None:
    """Keep the schedule as it stands in the database: all that was loaded, or of these fields."""
    values = operation.__dict__
    names = [name for name in SCHEDULE if fields is None or name in fields]
    loaded = {name: values[name] for name in names if name in values}
    kept = {} if fields is None else values.get(_REMEMBERED, {})
    values[_REMEMBERED] = kept | loaded


def save_loaded(
    operation: Operation,
    save: Callable[..., None],
    *,
    using: str | None,
    update_fields: Iterable[str] | None,
) -> None:
    """Write the user's part of a loaded operation: see `Operation.save()`."""
    alias = using or router.db_for_write(type(operation), instance=operation)
    wanted = None if update_fields is None else frozenset(update_fields)
    _refuse_engine_fields(operation, wanted)
    changes = _schedule_changes(operation, wanted)
    own = _own_fields(operation, wanted)
    if not changes and not own:
        if wanted is None:
            _require_row(operation, alias)
        return
    with transaction.atomic(using=alias):
        if changes:
            _write_schedule(operation, changes, alias)
        if own:
            save(using=alias, update_fields=own)
    remember_schedule(operation, changes)


def check_current(operation: Operation, verb: str, from_outside: str) -> None:
    """Refuse `stop()`, `cancel()` and `retry()` on another operation than the one running here.

    Raised there, they would end the wrong `run()`.

    Raises:
        OperatorError: naming the queryset verb that does it from outside.
    """
    job = current_job.get()
    if job is not None and job.operation_id != operation.pk:
        raise OperatorError(
            f"{verb}() ends the run() that calls it, and here that of {job} is running, not that "
            f"of {operation}. To change another operation, use "
            f"Operation.objects.filter(pk={operation.pk}).{from_outside}(...)."
        )


def check_delay(delay: object) -> None:
    """Raise ValueError for a delay that is not a number of seconds of at least 0."""
    if delay is None:
        return
    if not isinstance(delay, (int, float)) or isinstance(delay, bool) or not delay >= 0:
        raise ValueError(f"A delay is a number of seconds >= 0, not {delay!r}.")


def job_of(operation: Operation) -> OperationJob:
    """Return the job that is running `operation` here; OperatorError if there is none."""
    job = current_job.get()
    if job is None or job.operation_id != operation.pk:
        raise OperatorError(f"{operation} is not running here, so it has no current job.")
    return job


def _refuse_engine_fields(operation: Operation, wanted: frozenset[str] | None) -> None:
    names = wanted or frozenset()
    fields = operation._meta.concrete_fields
    if unknown := names - {name for field in fields for name in (field.name, field.attname)}:
        raise ValueError(
            f"{type(operation).__name__} has no column {', '.join(sorted(unknown))} to save."
        )
    engine = names & (engine_names() - frozenset(SCHEDULE))
    if engine:
        raise ValueError(
            f"{', '.join(sorted(engine))}: only the engine writes these columns of "
            f"{type(operation).__name__}. Leave them out of update_fields."
        )


def _schedule_changes(operation: Operation, wanted: frozenset[str] | None) -> dict[str, Any]:
    from operator_app.models import scheduling

    remembered = operation.__dict__.get(_REMEMBERED, {})
    absent = object()
    changed = [
        name
        for name in SCHEDULE
        if name in operation.__dict__
        and (wanted is None or name in wanted)
        and operation.__dict__[name] != remembered.get(name, absent)
    ]
    if changed:
        scheduling.complete_schedule(operation)
    return {name: getattr(operation, name) for name in changed}


def _own_fields(operation: Operation, wanted: frozenset[str] | None) -> list[str]:
    engine = engine_names()
    return [
        field.name
        for field in operation._meta.concrete_fields
        if not field.primary_key
        and field.name not in engine
        and field.attname in operation.__dict__
        and (wanted is None or field.name in wanted or field.attname in wanted)
        and not _is_parent_link(field)
    ]


def _is_parent_link(field: Any) -> bool:
    return bool(field.remote_field and getattr(field.remote_field, "parent_link", False))


def _write_schedule(operation: Operation, changes: dict[str, Any], alias: str) -> None:
    from operator_app.models.operation import Operation as Base

    rows = Base.all_objects.using(alias).filter(pk=operation.pk)
    if rows.pending().update(**changes):
        # Another queue or priority is news, too; when it is due need not have been loaded.
        if "should_run_at" in operation.__dict__:
            announcements.announce(alias, operation.should_run_at)
        return
    _require_row(operation, alias)
    raise OperationStarted(
        f"{operation} has been claimed or has ended, so its {', '.join(changes)} cannot be changed."
    )


def _require_row(operation: Operation, alias: str) -> None:
    from operator_app.models.operation import Operation as Base

    if not Base.all_objects.using(alias).filter(pk=operation.pk).exists():
        error: type[Exception] = getattr(operation, "NotUpdated", DatabaseError)
        raise error(f"{operation} was deleted, so it cannot be saved.")
