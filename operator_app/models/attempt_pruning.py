"""Old attempts of operations that live on are deleted: one that stops and goes on for years, or is
retried again and again, leaves one behind each time.

Those of operations that have ended go with them. Ids of attempts grow with time, as those of
operations do, so the walk is the same one.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Final

from operator_app.models import states
from operator_app.models.job import OperationJob
from operator_app.models.pruning import Pruned, Rules, delete_old, look
from operator_app.retention import ATTEMPTS

_COLUMNS: Final = (
    *("pk", "started_at", "number", "ended_at", "operation__kind_id", "operation__attempts"),
    *(f"operation__{column}" for column in states.ENDINGS),
)


def prune_next(
    rules: Rules, now: datetime, alias: str, *, after: int = 0, dry_run: bool = False
) -> Pruned:
    """Look at the next attempts, and delete those that ended long enough ago, unless their
    operation has ended or has not been claimed since.

    One query; if some are to go a transaction, with a SELECT that locks them, as far as nobody else
    has, and what `QuerySet.delete()` needs.

    Args:
        rules: which go, of attempts; not empty.
        now: the database's time.
        alias: the database.
        after: the id of the attempt from which on to look.
        dry_run: whether to count only.
    """
    window, done = look(OperationJob.objects.using(alias), _COLUMNS, rules, now, after)
    old = []
    for pk, _, number, ended_at, kind_id, latest, *endings in window:
        age = rules.by_kind.get(kind_id, rules.general).get(ATTEMPTS)
        if age is None or ended_at is None or number >= latest or any(endings):
            continue
        if (now - ended_at).total_seconds() >= age:
            old.append(pk)
    if dry_run:
        done.counts += Counter({ATTEMPTS: len(old)})
    elif old:
        delete_old(OperationJob, old, ATTEMPTS, done, alias)
    return done
