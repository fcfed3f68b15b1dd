"""Fills an empty database of the example project with operations of every kind in every state."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.db import transaction
from django.db.models import Model

from benchmarks.runs import settle
from operator_app import clock
from operator_app.models import Operation, OperationJob, OperationTag
from tests.browser import samples, statistics, surroundings
from tests.browser.kinds import KINDS
from tests.browser.samples import Sample, Samples
from tests.bulk import copy_block, reset_sequences

ROWS: Final = int(os.environ.get("OPERATOR_BROWSER_ROWS", "100000"))
"""How many operations the tests look at."""
BLOCK: Final = 10_000
"""How many operations are made one by one at most; the others are copies of these."""
LATEST: Final = 240
"""How many happened in the last hour; operators hold some of them."""
HOUR: Final = 3600.0
MONTH: Final = 30 * 86_400.0
"""Seconds."""
OWN: Final = [kind.model for kind in KINDS if kind.own is not None]


def fill(rows: int = ROWS) -> None:
    """Make so many operations and what belongs to them, always the same.

    Takes two seconds and a bit more for each further 100,000.
    """
    now = clock.now()
    with transaction.atomic():
        made = Samples(now, surroundings.make(now))
        old = rows - LATEST
        first = [made.make(state, within=MONTH) for state in _states(made, samples.PAST, old)]
        _insert(first)
        _copy(made, old)
        made.random.seed(LATEST)  # They are the same, however many were before them.
        recent = [made.make(state, within=HOUR) for state in _states(made, samples.RECENT, LATEST)]
        _insert(recent)
        ended = [each.operation.pk for each in recent if each.operation.finished_run_at]
        surroundings.recurrences(now, ended[:29])
        statistics.make(now)
        reset_sequences([Operation, OperationJob, OperationTag])
    for model in (Operation, OperationJob, OperationTag, *OWN):
        settle(model._meta.db_table)


def _states(made: Samples, weights: Mapping[str, int], count: int) -> list[str]:
    return made.random.choices(list(weights), list(weights.values()), k=min(count, BLOCK))


def _insert(made: Sequence[Sample]) -> None:
    _insert_rows(Operation, (each.operation for each in made))
    for model in OWN:
        _insert_rows(model, (each.own for each in made if isinstance(each.own, model)))
    _insert_rows(OperationJob, (job for each in made for job in each.jobs))
    _insert_rows(OperationTag, (tag for each in made for tag in each.tags))


def _insert_rows(model: type[Model], rows: Iterable[Any]) -> None:
    """Insert into this table alone, which `bulk_create()` refuses for one with a parent."""
    fields = [field for field in model._meta.local_concrete_fields if not field.generated]
    if found := list(rows):
        model._base_manager.all()._batched_insert(found, fields, None)  # type: ignore[attr-defined]


def _copy(made: Samples, count: int) -> None:
    """Let the database copy what was made until there are `count` operations, and go on from there:
    each copy has the next numbers, and the same moments.
    """
    operations, jobs, tags = made.operations.last, made.jobs.last, made.tags.last
    copies = range(operations, count, operations)
    for copy, done in enumerate(copies, start=1):
        last = min(operations, count - done)
        copy_block(Operation, 1, last, moved={"id": done})
        for model in OWN:
            copy_block(model, 1, last, moved={"operation_ptr_id": done})
        for model, step in ((OperationJob, jobs), (OperationTag, tags)):
            moved = {"id": copy * step, "operation_id": done}
            copy_block(model, 1, last, by="operation_id", moved=moved)
    made.operations.last = count
    made.jobs.last, made.tags.last = jobs * (len(copies) + 1), tags * (len(copies) + 1)
