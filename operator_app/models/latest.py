"""The latest runs of a kind: what is usual, before one asks why this one is not.

No index lists the operations of a kind that have ended, and none is worth what it would cost each
operation. So they are looked for among the latest rows, by the primary key: of the kind's own
table, or of the table that it shares with all others. That reads a bounded number of rows, however
many there are; of a kind that runs rarely, or has many pending, some runs may not be found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Max, Q

from operator_app.models import kinds, states

if TYPE_CHECKING:
    from operator_app.models.operation import Operation

LOOKED_AT: Final = 1_000
"""How many rows of the kind's own table are looked at."""
SPAN: Final = 10_000
"""How far back it is looked, in ids, where a kind has no table of its own."""

_HAVE_RUN: Final = ~states.NOT_ENDED & Q(started_run_at__isnull=False)


def runs(operation: Operation, most: int, *, up_to: int | None = None) -> list[Operation]:
    """Return the latest operations of the same kind that have run and ended, the newest first. Two
    queries, by primary keys.

    Args:
        operation: whose kind; it is among them if it has ended.
        most: how many at most.
        up_to: an id; those with higher ones are left out.
    """
    alias, kind_id = operation._alias, operation.kind_id
    model = kinds.model_of(kind_id, alias) or kinds.base()
    table = model._meta.concrete_model or model
    everything = kinds.operations(alias)
    rows = everything.filter(_HAVE_RUN, kind_id=kind_id).order_by("-pk")
    before = Q() if up_to is None else Q(pk__lte=up_to)
    if table is kinds.base():
        newest = everything.filter(before).aggregate(newest=Max("pk"))["newest"] or 0
        return list(rows.filter(pk__lte=newest, pk__gt=newest - SPAN)[:most])
    ids = table._base_manager.using(alias).filter(before).order_by("-pk")
    return list(rows.filter(pk__in=list(ids.values_list("pk", flat=True)[:LOOKED_AT]))[:most])
