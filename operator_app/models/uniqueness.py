"""What happens if an operation with the unique key is there already.

The unique index decides, and nothing else: the INSERT is tried, in a savepoint, and only if it is
refused the other operation is looked for. So two that come at the same moment are told apart by the
database, and a key whose transaction is rolled back is free again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args

from django.db import IntegrityError, router

from operator_app.exceptions import OperationExists
from operator_app.models import states
from operator_app.models.kinds import operations
from operator_app.models.transactions import in_statement, in_transaction, lock_in_order

if TYPE_CHECKING:
    from operator_app.models.operation import Operation

T = TypeVar("T")
OperationT = TypeVar("OperationT", bound="Operation")

Key: TypeAlias = tuple[int, str]
"""A kind, and the digest of a unique key."""

IfExists: TypeAlias = Literal["raise", "return", "reschedule", "replace"]
WAYS: Final = get_args(IfExists)
TRIES: Final = 50
"""How often an INSERT is tried that loses to operations which are over a moment later."""


MANY: Final = 1_000
"""How many keys are looked for with one query."""


class Overtaken(Exception):
    """Somebody else was faster with a key. What the refused INSERT has locked is better given back,
    with the whole transaction: on MySQL and MariaDB two who hold it both wait for the other.
    """


def check_way(if_exists: object) -> None:
    """Raise ValueError unless this is one of `WAYS`."""
    if if_exists not in WAYS:
        raise ValueError(f"if_exists must be one of {', '.join(WAYS)}, not {if_exists!r}.")


def save_unique(operation: OperationT, if_exists: str) -> OperationT:
    """Insert a new operation, or do what `if_exists` says with the one that has its key; return the
    one that is there now: see `Operation.schedule()`.

    Args:
        operation: new, with or without a unique key.
        if_exists: one of `WAYS`.

    Raises:
        OperationExists: if the key is taken, and that is to be raised, or nothing can be changed,
            as an operator has claimed the other one.
    """
    alias = router.db_for_write(type(operation), instance=operation)
    for left in range(TRIES - 1, -1, -1):
        try:
            found = _save(operation, if_exists, alias)
        except IntegrityError:
            # Refused, and nobody there who has the key: he may have ended meanwhile.
            if operation.active_key is None or not left:
                raise
        else:
            if found is not None:
                return found
        _let_others()
    raise _restless()


def save_many(
    wanted: Sequence[OperationT],
    if_exists: str,
    alias: str,
    insert: Callable[[Sequence[OperationT]], None],
    *,
    is_nested: bool = True,
) -> list[OperationT]:
    """Insert prepared operations together, but for those whose key is taken; return for each one
    the operation that is there now. Call it inside a transaction.

    One SELECT for each kind and thousand keys, one that locks those that may be changed, and the
    verb's own for each key that is taken; all of it again if somebody else was faster with one.

    Args:
        wanted: new and prepared.
        if_exists: one of `WAYS`, but "raise". Of several in this call with one key the first is
            inserted; with "reschedule" at the time of the last, with "replace" the last itself.
        alias: the database.
        insert: inserts some of them, in a savepoint.
        is_nested: whether the transaction is the caller's, and has more in it.

    Raises:
        OperationExists: as `save_unique()`.
        Overtaken: if somebody else was faster, and the transaction can be begun anew.
    """
    # Everybody in one order: who goes the other way round meets others in deadlocks.
    chosen = dict(sorted(_without_doubles(wanted, if_exists).items()))
    settled: dict[Key, OperationT] = {}
    for left in range(TRIES - 1, -1, -1):
        open_ones = {key: each for key, each in chosen.items() if key not in settled}
        holders = _holders(open_ones, alias)
        if if_exists != "return":
            lock_in_order(operations(alias).filter(pk__in=[each.pk for each in holders.values()]))
        for key, holder in sorted(holders.items()):
            kept = give_way(holder, open_ones[key], if_exists, alias)
            if kept is not None:
                settled[key] = kept
        keyless = [each for each in wanted if each.active_key is None]
        rest = [each for key, each in chosen.items() if key not in settled]
        try:
            insert([*keyless, *rest])
        except OperationExists as error:
            if not is_nested:
                raise Overtaken from error
            _let_others()
            continue
        except IntegrityError:
            # Refused, and nobody there who has the key: he may have ended meanwhile.
            if not rest or not left:
                raise
            continue
        settled |= {key: each for key, each in chosen.items() if key not in settled}
        return [settled.get(_key(each), each) for each in wanted]
    raise _restless()


def give_way(
    holder: Operation, operation: OperationT, if_exists: str, alias: str
) -> OperationT | None:
    """Do what is said with the operation that has the key: return it, as an instance of the user's
    class, if it is to stay; None if it has given way, or has ended meanwhile.

    Raises:
        OperationExists: if it cannot be changed, as an operator has claimed it.
    """
    row = operations(alias).filter(pk=holder.pk)
    if if_exists == "reschedule":
        row.reschedule(operation.should_run_at)
    elif if_exists == "replace":
        row.cancel("replaced by another one with the same unique key")
    now = row.first()
    if now is None or any(getattr(now, column) is not None for column in states.ENDINGS):
        return None
    if if_exists != "return" and now.started_run_at is not None:
        raise OperationExists(
            f"{now} with unique key {now.unique_key!r} has been claimed by an operator, so it "
            f"cannot be {'replaced' if if_exists == 'replace' else 'rescheduled'} any more.",
            operation=now,
        )
    return now.specific  # type: ignore[return-value]


def _save(operation: OperationT, if_exists: str, alias: str) -> OperationT | None:
    try:
        return in_statement(alias, lambda: _saved(operation))
    except OperationExists as error:
        if if_exists == "raise" or error.operation is None:
            raise
        holder = error.operation
    if if_exists != "replace":
        return give_way(holder, operation, if_exists, alias)

    def replace() -> OperationT:
        kept = give_way(holder, operation, if_exists, alias)
        return _saved(operation) if kept is None else kept

    try:
        # Both or none: should the new one be refused, the old one is still there.
        return in_transaction(alias, replace)
    except OperationExists as refusal:
        if refusal.operation is None or refusal.operation.pk == holder.pk:
            raise
        return None  # A third one was faster.


def _saved(operation: OperationT) -> OperationT:
    # As new as at first, should a deadlock have undone half of it.
    operation.pk, operation.id, operation._state.adding = None, None, True
    operation.save()
    return operation


def _without_doubles(wanted: Sequence[OperationT], if_exists: str) -> dict[Key, OperationT]:
    """Return which of the operations with a key stand for all that have it."""
    chosen: dict[Key, OperationT] = {}
    for each in wanted:
        if each.active_key is None:
            continue
        first = chosen.setdefault(_key(each), each)
        if if_exists == "replace":
            chosen[_key(each)] = each
        elif if_exists == "reschedule":
            first.should_run_at = each.should_run_at
    return chosen


def _holders(chosen: dict[Key, Any], alias: str) -> dict[Key, Operation]:
    """Return the active operations that have these keys."""
    found: dict[Key, Operation] = {}
    by_kind: dict[int, list[str]] = {}
    for kind_id, digest in chosen:
        by_kind.setdefault(kind_id, []).append(digest)
    for kind_id, digests in by_kind.items():
        for start in range(0, len(digests), MANY):
            some = digests[start : start + MANY]
            rows = operations(alias).filter(kind_id=kind_id, active_key__in=some)
            found |= {_key(row): row for row in rows}
    return found


def until_settled(work: Callable[[], T]) -> T:
    """Return `work()`, which is a transaction; again as long as it is overtaken.

    Raises:
        OperationExists: if that has happened too often.
    """
    for _ in range(TRIES):
        try:
            return work()
        except Overtaken:
            _let_others()
    raise _restless()


def _let_others() -> None:
    """Wait for a moment, so that many who want the same key do not get in each other's way."""
    time.sleep(random.uniform(0.0, 0.02))


def _key(operation: Operation) -> Key:
    return operation.kind_id, operation.active_key or ""


def _restless() -> OperationExists:
    return OperationExists(
        "Other operations with this unique key come and end all the time, so that none could be "
        "scheduled or found. Try again."
    )
