"""The check for operations that nobody can run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from django.contrib.contenttypes.models import ContentType
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import Error as DatabaseError
from django.db import connections, router

from operator_app.models import Operation, OperationQuerySet, kinds
from operator_app.models.lanes import Lane, lanes

COUNTED: Final = 1_000
"""How many operations of a kind are counted at most: the check must not walk a million rows."""


@register("operator_app", Tags.database)
def check_pending(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report pending operations whose class is not installed. Says nothing where the tables do not
    exist yet, or the database cannot be reached.

    Cost: one query for the tables, one for the lanes, and one more per lane of such a kind.
    """
    found: list[CheckMessage] = []
    for alias in databases or ():
        if not router.allow_migrate_model(alias, Operation):
            continue
        try:
            found += [_warning(alias, *kind) for kind in unknown_kinds(alias)]
        except DatabaseError:
            continue
    return found


def unknown_kinds(alias: str) -> list[tuple[str, int]]:
    """Return the kinds of pending operations that are not installed, as "app.model", each with the
    number of its operations, counted up to one more than `COUNTED`.
    """
    tables = connections[alias].introspection.table_names()
    if not {Operation._meta.db_table, ContentType._meta.db_table} <= set(tables):
        return []
    unknown: dict[int, list[Lane]] = defaultdict(list)
    for lane in lanes(alias):
        if kinds.model_of(lane.kind_id, alias) is None:
            unknown[lane.kind_id].append(lane)
    return sorted(
        (kinds.label_of(kind_id, alias), count_in(of, Operation.all_objects.using(alias).pending()))
        for kind_id, of in unknown.items()
    )


def count_in(lanes: Sequence[Lane], pending: OperationQuerySet[Operation]) -> int:
    """Return how many of these pending operations are in these lanes, counted up to one more than
    `COUNTED`. One query per lane.
    """
    count = 0
    for lane in lanes:
        # Lane by lane, since that is how the index of pending operations is ordered.
        rows = pending.filter(queue=lane.queue, priority=lane.priority, kind_id=lane.kind_id)
        count += rows[: COUNTED + 1 - count].count()
        if count > COUNTED:
            break
    return count


def in_words(count: int) -> str:
    """Return for people what `count_in()` has counted.

    >>> in_words(1), in_words(20), in_words(COUNTED + 1)
    ('1 operation', '20 operations', 'More than 1,000 operations')
    """
    if count > COUNTED:
        return f"More than {COUNTED:,} operations"
    return f"{count:,} operation{'s' if count > 1 else ''}"


def _warning(alias: str, label: str, count: int) -> CheckMessage:
    if "." in label:
        hint = (
            "If the class was a proxy and has been renamed, add to a migration: "
            f'operator_app.renames.RenameKind("{label}", "NewName"). If its app is not in '
            "INSTALLED_APPS here, add it; if it was deleted, cancel the operations."
        )
    else:
        hint = "Its content type is gone, so nobody knows what they were: cancel them."
    return Warning(
        f"{in_words(count)} of the kind {label!r} {'is' if count == 1 else 'are'} pending in the "
        f"database {alias!r}, but there is no such class, so nobody will run them.",
        hint=hint,
        id="operator_app.W008",
    )
