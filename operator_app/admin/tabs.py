"""The tabs above the list: a state each, with how many operations are in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import permissions
from operator_app.admin.display import STATES
from operator_app.admin.filters import KindFilter, QueueFilter, StateFilter, lanes_of
from operator_app.models import counts, kinds
from operator_app.models.number import Number

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

    from operator_app.admin.changelist import OperationChangeList
    from operator_app.models.lanes import Lane

ALL: Final = _("All")

IN_LANES: Final = frozenset({KindFilter.parameter_name, QueueFilter.parameter_name})
"""What pending operations are told apart by in their index."""
UNINDEXED: Final = IN_LANES | {"operator", "exception", "time", "within", "since", "until"}
"""What no index tells of operations that have ended."""


class Tab(NamedTuple):
    """A state, or all of them."""

    state: str
    label: Words
    number: Number
    url: str
    is_current: bool


def numbers_of(changelist: OperationChangeList, request: HttpRequest) -> dict[str, Number]:
    """Return how many of what the other filters leave are in each state: see `counts`. No more
    than six queries, each of a bounded number of rows.
    """
    rows = changelist.any_state
    now = clock.now(rows.db)
    active = changelist.active_parameters - {StateFilter.parameter_name}
    if active <= IN_LANES and not changelist.is_narrowed:
        lanes = list(lanes_left(changelist, request))
        narrowed = bool(active) or changelist.model is not kinds.base() or changelist.is_restricted
        return counts.of_lanes(rows, lanes, now, changelist.newest_id, narrowed=narrowed)
    if active <= UNINDEXED:
        return counts.among_newest(rows, now, changelist.newest_id)
    return counts.of_first(rows, now)


def tabs_of(changelist: OperationChangeList, numbers: Mapping[str, Number]) -> list[Tab]:
    """Return the tabs; each keeps the other filters. No queries."""
    name = StateFilter.parameter_name
    current = changelist.params.get(name)
    tabs = [
        Tab(
            state,
            label,
            numbers[state],
            changelist.get_query_string({name: state}),
            state == current,
        )
        for state, label in STATES.items()
    ]
    of_all = Number.sum(numbers.values())
    url = changelist.get_query_string({name: None})
    return [Tab("all", ALL, of_all, url, current not in STATES), *tabs]


def lanes_left(changelist: OperationChangeList, request: HttpRequest) -> Iterator[Lane]:
    """Yield the lanes that the filters leave. One query for a request."""
    params: dict[str, Any] = changelist.params
    label, queue = (params.get(each.parameter_name) for each in (KindFilter, QueueFilter))
    alias = changelist.any_state.db
    kind_id = kinds.id_of_label(label, alias) if label else None
    model: Any = changelist.model
    for lane in lanes_of(request, model, alias):
        if (not label or lane.kind_id == kind_id) and (not queue or lane.queue == queue):
            yield lane


def is_restricted(changelist: OperationChangeList, request: HttpRequest) -> bool:
    """Whether the user may not view all kinds that the list is of. No queries."""
    alias = changelist.root_queryset.db
    model: Any = changelist.model
    allowed = permissions.kinds_allowed(request, "view", model, alias)
    return allowed is not None


def is_narrowed(changelist: OperationChangeList, request: HttpRequest) -> bool:
    """Whether the list lacks some of the operations of the kinds and queues that it is of: those
    that a `get_queryset()` of a project's own leaves out, or a filter that is on unasked. No
    queries.

    What the lanes of the pending ones tell is of all operations of a kind, and so not of these.
    """
    rows: Any = changelist.any_state
    model: Any = changelist.model
    usual = permissions.viewable(request, model.all_objects.using(rows.db).all())
    for spec in changelist.filter_specs:
        if isinstance(spec, (KindFilter, QueueFilter)):
            usual = spec.queryset(request, usual)
    is_plain = not (rows.query.combinator or rows.query.is_sliced)
    return not is_plain or _condition(rows) != _condition(usual)


def _condition(rows: QuerySet[Any]) -> Any:
    """Return the condition that finds these rows, as something that can be compared."""
    compiler = rows.query.get_compiler(rows.db)
    try:
        return compiler.compile(rows.query.where)
    except (EmptyResultSet, FullResultSet) as result:
        return type(result)
