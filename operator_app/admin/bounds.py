"""What a page of the list is looked for in: never all, where that would read or sort all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.http import HttpRequest
from django.utils.translation import gettext

from operator_app.admin import tabs
from operator_app.admin.filters import StateFilter
from operator_app.admin.keyset import Order
from operator_app.admin.verbs import PENDING, STARTED
from operator_app.models import Operation, counts
from operator_app.models.among import Among
from operator_app.models.number import CAP
from operator_app.models.soonest import first_of_lanes

if TYPE_CHECKING:
    from operator_app.admin.changelist import OperationChangeList

SCANNED: Final = 250_000
"""Among how many operations a page looks at once for those of a filter that no index serves."""

BY_INDEX: Final = frozenset({"scheduled", "due", "running", "stuck", "failed", "cancelled"})
"""The states whose operations are in an index of their own."""


class Bounded(NamedTuple):
    """Rows among which the page is, if it is anywhere.

    Args:
        rows: these.
        lowest: the id down to which they go, exclusively; 0 if they go down to the first.
        remark: what is left out, in words.
    """

    rows: Any
    lowest: int = 0
    remark: str = ""


def bounded(
    changelist: OperationChangeList,
    request: HttpRequest,
    order: Order,
    place: list[Any] | None,
    cut: Callable[[Any], Any],
    *,
    backwards: bool,
) -> Bounded:
    """Return what a page is looked for in. At most two queries.

    Args:
        changelist: with the filters.
        request: whose user may see only some kinds.
        order: of the list.
        place: where the page begins; None for the first page.
        cut: takes the page from ordered rows.
        backwards: whether the page is that before its place.
    """
    rows, state = changelist.queryset, changelist.state
    active = changelist.active_parameters - {StateFilter.parameter_name}
    if state in STARTED:
        # Else SQLite would walk through all operations, which it need not sort then.
        held = Operation.all_objects.using(rows.db).started().order_by()
        return Bounded(rows.filter(Among(held.values_list("pk", flat=True)[:CAP])))
    if not active <= tabs.UNINDEXED:
        return Bounded(rows)
    if not order.is_by_id:
        in_lanes = active <= tabs.IN_LANES and not changelist.is_narrowed
        soonest = _soonest(changelist, request, order, cut) if in_lanes else None
        return _newest(changelist) if soonest is None else Bounded(rows.filter(Among(soonest)))
    is_less = changelist.is_restricted or changelist.is_narrowed
    is_filtered = bool(active) or is_less or state == "finished"
    if not is_filtered or state in BY_INDEX or backwards or not order.keys[0].descending:
        return Bounded(rows)
    lowest = (changelist.newest_id if place is None else place[0]) - SCANNED
    if not counts.are_any_up_to(rows.db, lowest):
        return Bounded(rows)
    return Bounded(rows.filter(pk__gt=lowest), lowest)


def _soonest(
    changelist: OperationChangeList,
    request: HttpRequest,
    order: Order,
    cut: Callable[[Any], Any],
) -> list[int] | None:
    """Return the ids of what may be on a page of pending operations in the order of their times;
    None if that is not what is asked for.
    """
    state, names = changelist.state, [key.field.name for key in order.keys]
    if state not in PENDING or names != ["should_run_at", "id"]:
        return None
    lanes = list(tabs.lanes_left(changelist, request))
    if len(lanes) > counts.LANES:
        return None
    ordered = [str(key) for key in order.keys]
    return first_of_lanes(
        lanes,
        lambda rows: cut(getattr(rows, state)().order_by(*ordered)),
        changelist.queryset.db,
    )


def _newest(changelist: OperationChangeList) -> Bounded:
    """Return the newest operations of all, which are few enough to sort."""
    rows, last = changelist.queryset, changelist.newest_id
    if not counts.are_any_up_to(rows.db, last - counts.WINDOW):
        return Bounded(rows)
    remark = gettext("In this order you see the newest %(count)s operations only.")
    return Bounded(counts.newest(rows, last), remark=remark % {"count": f"{counts.WINDOW:,}"})
