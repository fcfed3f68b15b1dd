"""How many operations each operator holds, and where they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Final, NamedTuple

from django.db.models import Count

from operator_app import conf
from operator_app.models import kinds
from operator_app.models.process import OperatorProcess

THREADS: Final = "threads"
"""The runner whose places an operator tells."""


class Load(NamedTuple):
    """What an operator holds: claimed, and not ended. Some of it may wait for its turn there."""

    on_threads: int = 0
    """On its threads, of which it has `OperatorProcess.capacity`."""
    elsewhere: int = 0
    """On its event loop, in children, and in its main thread."""

    @property
    def all(self) -> int:
        """How many these are."""
        return self.on_threads + self.elsewhere


IDLE: Final = Load()
"""What an operator holds that holds nothing."""


def loads(
    alias: str, operators: Collection[OperatorProcess] | None = None
) -> dict[int | None, Load]:
    """Return what operators hold, by their primary keys; without those that hold nothing. One
    query, of the index of what has started.

    Args:
        alias: the database.
        operators: those that are asked about; None for all.
    """
    on_threads: Counter[int | None] = Counter()
    elsewhere: Counter[int | None] = Counter()
    for (pk, runner), count in _by_runner(alias, operators).items():
        (on_threads if runner == THREADS else elsewhere)[pk] += count
    found = on_threads.keys() | elsewhere.keys()
    return {pk: Load(on_threads[pk], elsewhere[pk]) for pk in found}


def busy_with(
    alias: str, kind_ids: Collection[int], operators: Collection[OperatorProcess]
) -> dict[tuple[OperatorProcess, str], tuple[int, int]]:
    """Return how much these operators have to do where operations of these kinds would run: for
    each of them and each runner how many it holds, and how many it runs there at once. One query.

    What an operator has besides threads it does not tell; it is taken to have the settings that
    this process has.

    Args:
        alias: the database.
        kind_ids: the ids of the kinds' content types; those that are not known here run on threads.
        operators: who would run them.
    """
    counts = _by_runner(alias, operators)
    return {
        (each, runner): (counts[each.pk, runner], _room(each, runner))
        for runner in sorted({_runner_of(kind_id, alias) for kind_id in kind_ids})
        for each in operators
    }


def _room(operator: OperatorProcess, runner: str) -> int:
    settings = conf.get()
    others = {"asyncio": settings.TASKS, "processes": settings.CHILDREN, "inline": 1}
    return operator.capacity if runner == THREADS else others[runner]


def _by_runner(
    alias: str, operators: Collection[OperatorProcess] | None
) -> Counter[tuple[int | None, str]]:
    rows = kinds.operations(alias).started().filter(operator__isnull=False)
    if operators is not None:
        rows = rows.filter(operator__in=[each.pk for each in operators])
    counted = rows.order_by().values_list("operator", "kind_id").annotate(Count("pk"))
    found: Counter[tuple[int | None, str]] = Counter()
    for operator, kind_id, count in counted:
        found[operator, _runner_of(kind_id, alias)] += count
    return found


def _runner_of(kind_id: int, alias: str) -> str:
    model = kinds.model_of(kind_id, alias)
    return THREADS if model is None else kinds.runner_of(model)
