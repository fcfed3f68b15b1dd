"""How operations come into being: arguments checked, columns completed, rows inserted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db import IntegrityError, connections, router, transaction
from django.db.models import Model

from operator_app import clock
from operator_app.exceptions import OperationExists
from operator_app.models import announcements, arguments, guards, kinds, uniqueness
from operator_app.models.bulk import insert_rows
from operator_app.models.lanes import as_word
from operator_app.models.tag import TAG_LENGTH, OperationTag
from operator_app.models.transactions import in_transaction
from operator_app.validation import check_priority, check_queue

if TYPE_CHECKING:
    from operator_app.models.operation import Operation

OperationT = TypeVar("OperationT", bound="Operation")

MANY: Final = 1_000
"""How many operations `schedule_many` inserts with one statement per table."""


def build(
    model: type[OperationT],
    when: datetime | timedelta,
    *,
    queue: str | None,
    priority: int | None,
    unique_key: str | None,
    if_exists: str = "raise",
    fields: dict[str, Any],
) -> OperationT:
    """Return an unsaved operation for `Operation.schedule()`; every argument is checked."""
    uniqueness.check_way(if_exists)
    arguments.check_fields(model, fields)
    if if_exists != "raise" and unique_key is None and model.resolved_policy().unique is None:
        raise ValueError(
            f"if_exists={if_exists!r} needs a unique key: pass unique_key=..., or give "
            f"{model.__name__} a Policy(unique=...)."
        )
    operation = model(**fields)
    operation.should_run_at = arguments.moment(when, router.db_for_write(model))
    if queue is not None:
        operation.queue = check_queue(queue)
    if priority is not None:
        operation.priority = check_priority(priority)
    operation.unique_key = unique_key
    return operation


def prepare(operation: Operation, using: str | None) -> None:
    """Complete and check the engine's columns of a new operation, before it is inserted."""
    model = type(operation)
    if not kinds.overrides(model, "run"):
        what = "is the base class" if _is_base(model) else "has no run() method"
        raise TypeError(f"{model.__name__} {what}. Schedule a subclass of Operation that has one.")
    alias = using or router.db_for_write(model, instance=operation)
    operation.kind = kinds.content_type(model, alias)
    complete_schedule(operation)
    unique = model.resolved_policy().unique
    if operation.unique_key is None and callable(unique):
        operation.unique_key = unique(operation)
    created: datetime | None = operation.created_at  # None until here, whatever the type says
    if created is None:
        operation.created_at = clock.now(alias)
    if operation.unique_key is not None:
        operation.active_key = arguments.digest(operation.unique_key)


def complete_schedule(operation: Operation) -> None:
    """Check the schedule of an operation; what is left open comes from the policy."""
    when: datetime | None = operation.should_run_at
    priority: int | None = operation.priority
    if when is None:
        name = type(operation).__name__
        raise ValueError(f"{name}.should_run_at is missing: when should it run?")
    policy = type(operation).resolved_policy()
    operation.should_run_at = arguments.moment(when, operation._alias)
    operation.queue = check_queue(operation.queue or policy.queue)
    operation.priority = check_priority(policy.priority if priority is None else priority)


def insert(operation: Operation, save: Callable[..., None], *, using: str | None) -> None:
    """Insert a prepared operation and its tags: see `Operation.save()`."""
    alias = using or router.db_for_write(type(operation), instance=operation)
    # In every table, or a new instance that names an existing id would overwrite that row.
    force_insert = (Model,)
    tagged = kinds.overrides(type(operation), "tags")
    if not tagged and operation.active_key is None:
        with _announcing(operation, alias):
            save(using=alias, force_insert=force_insert)
    else:
        try:
            with transaction.atomic(using=alias):
                with _announcing(operation, alias):
                    save(using=alias, force_insert=force_insert)
                _store_tags([operation] if tagged else [], alias)
        except IntegrityError as error:
            operation._state.adding = True
            _explain_conflict(operation, alias, error)
            raise
    guards.remember_schedule(operation)


def _announcing(operation: Operation, alias: str) -> AbstractContextManager[None]:
    if operation.started_run_at is not None:
        return nullcontext()  # By hand: no operator is to run it.
    return announcements.announcing(alias, operation.should_run_at, _lane_of(operation))


def schedule_many(
    model: type[OperationT], operations: list[OperationT], if_exists: str
) -> list[OperationT]:
    """Insert many operations: see `Operation.schedule_many()`."""
    uniqueness.check_way(if_exists)
    alias = router.db_for_write(model)
    _prepare_many(model, operations, if_exists, alias)

    def insert(members: Sequence[OperationT]) -> None:
        try:
            with transaction.atomic(using=alias):
                _insert_all(members, alias)
        except BaseException:
            _as_new(members)
            raise

    tries = count()
    is_nested = connections[alias].in_atomic_block

    def work() -> list[OperationT]:
        if next(tries):
            _as_new(operations)  # A lost deadlock has undone what was inserted.
        with _announcing_first(operations, alias):
            if if_exists == "raise":
                _insert_all(operations, alias)
                return operations
            return uniqueness.save_many(operations, if_exists, alias, insert, is_nested=is_nested)

    try:
        return uniqueness.until_settled(lambda: in_transaction(alias, work))
    except BaseException:
        _as_new(operations)
        raise


def _prepare_many(
    model: type[Operation], operations: Sequence[Operation], if_exists: str, alias: str
) -> None:
    """Complete and check new operations.

    Raises:
        ValueError, TypeError: for a bad one, by its position.
        OperationExists: for a key that is used twice, if that is to be raised.
    """
    taken: set[tuple[type[Operation], str]] = set()
    seen: set[int] = set()
    for position, operation in enumerate(operations):
        try:
            _check_new(model, operation)
            if id(operation) in seen:
                raise ValueError("the same instance stands earlier in the list, too.")
            seen.add(id(operation))
            prepare(operation, alias)
        except (TypeError, ValueError) as error:
            raise type(error)(f"Operation at position {position}: {error}") from error
        key = (type(operation), operation.active_key or "")
        if operation.active_key is not None and key in taken and if_exists == "raise":
            raise OperationExists(
                f"Operation at position {position}: the unique key {operation.unique_key!r} is "
                "used twice in this call."
            )
        taken.add(key)


def _insert_all(operations: Iterable[Operation], alias: str) -> None:
    """Insert prepared operations, kind by kind, a thousand at a time."""
    by_model: dict[type[Operation], list[Operation]] = {}
    for operation in operations:
        by_model.setdefault(type(operation), []).append(operation)
    for kind, members in by_model.items():
        for start in range(0, len(members), MANY):
            _insert_many(kind, members[start : start + MANY], alias)


def _as_new(operations: Iterable[Operation]) -> None:
    for operation in operations:
        operation.pk, operation._state.adding = None, True


def _announcing_first(operations: Sequence[Operation], alias: str) -> AbstractContextManager[None]:
    if not operations:
        return nullcontext()
    first = min(each.should_run_at for each in operations)
    lane, *others = {_lane_of(each) for each in operations}
    return announcements.announcing(alias, first, announcements.SOMETHING if others else lane)


def _lane_of(operation: Operation) -> str:
    return as_word(operation.queue, operation.priority, operation.kind_id)


def _check_new(model: type[Operation], operation: Operation) -> None:
    if not isinstance(operation, model):
        raise TypeError(f"expected an unsaved {model.__name__}, got {operation!r}.")
    if not operation._state.adding:
        raise ValueError(f"{operation} has been saved already.")


def _insert_many(kind: type[Operation], members: list[Operation], alias: str) -> None:
    try:
        with transaction.atomic(using=alias, savepoint=any(row.active_key for row in members)):
            insert_rows(kind, members, alias)
    except IntegrityError as error:
        for operation in members:
            _explain_conflict(operation, alias, error)
        raise
    if kinds.overrides(kind, "tags"):
        _store_tags(members, alias)
    for operation in members:
        guards.remember_schedule(operation)


def _store_tags(operations: list[Operation], alias: str) -> None:
    tags = []
    for operation in operations:
        names: Iterable[object] = dict.fromkeys(operation.tags())
        for name in names:
            if not isinstance(name, str) or not name or len(name) > TAG_LENGTH:
                raise ValueError(
                    f"{type(operation).__name__}.tags() must return non-empty strings of at most "
                    f"{TAG_LENGTH} characters, not {name!r}."
                )
            tags.append(OperationTag(operation_id=operation.pk, name=name))
    OperationTag.objects.using(alias).bulk_create(tags)


def _explain_conflict(operation: Operation, alias: str, error: IntegrityError) -> None:
    """Raise OperationExists if the insert failed because the unique key is taken."""
    from operator_app.models.operation import Operation as Base

    if operation.active_key is None:
        return
    holders = Base.all_objects.using(alias).filter(
        kind_id=operation.kind_id, active_key=operation.active_key
    )
    if (holder := holders.first()) is not None:
        raise OperationExists(
            f"{holder} with unique key {operation.unique_key!r} has not ended yet, so no other "
            f"{type(operation).__name__} with this key can be scheduled.",
            operation=holder,
        ) from error


def _is_base(model: type[Operation]) -> bool:
    from operator_app.models.operation import Operation as Base

    return model is Base
