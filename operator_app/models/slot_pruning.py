"""Old slots of recurrences are deleted: one of every second leaves 86,400 behind each day.

The newest ones of each recurrence stay, since its results are told from them; so does one whose
operation is still there, which may ask for it. Ids of slots grow with time, as those of operations
do, so the walk is the same one.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Final

from operator_app.models.pruning import Pruned, Rules, delete_old, look
from operator_app.models.results import ends_of_latest
from operator_app.models.slot import QUEUED, RecurrenceSlot
from operator_app.retention import SLOTS

_COLUMNS: Final = (
    *("pk", "created_at", "slot", "state", "recurrence_id", "recurrence__kind_id"),
    "operation__created_at",
)


def prune_next(
    rules: Rules, now: datetime, alias: str, *, after: int = 0, dry_run: bool = False
) -> Pruned:
    """Look at the next slots, and delete those that were seen to long enough ago, unless their
    operation is there, or is to be made, or they are among the `LATEST` of their recurrence.

    One query; one more if some are old enough; if some are to go a transaction, with a SELECT that
    locks them, as far as nobody else has, and a DELETE.

    Args:
        rules: which go, of slots; not empty.
        now: the database's time.
        alias: the database.
        after: the id of the slot from which on to look.
        dry_run: whether to count only.
    """
    window, done = look(RecurrenceSlot.objects.using(alias), _COLUMNS, rules, now, after)
    old: dict[int, tuple[int, datetime]] = {}
    for pk, created_at, slot, state, recurrence_id, kind_id, operation_made_at in window:
        age = rules.by_kind.get(kind_id, rules.general).get(SLOTS)
        is_wanted = operation_made_at is not None or state == QUEUED
        if age is not None and not is_wanted and (now - created_at).total_seconds() >= age:
            old[pk] = (recurrence_id, slot)
    concerned = {recurrence_id for recurrence_id, _ in old.values()}
    firsts = {pk: first for pk, first, _ in ends_of_latest(concerned, alias)} if old else {}
    ids = [
        pk
        for pk, (recurrence_id, slot) in old.items()
        if (first := firsts.get(recurrence_id)) is not None and slot < first
    ]
    if dry_run:
        done.counts += Counter({SLOTS: len(ids)})
    elif ids:
        delete_old(RecurrenceSlot, ids, SLOTS, done, alias)
    return done
