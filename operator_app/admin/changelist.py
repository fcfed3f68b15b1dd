"""The list of operations as it was asked for: its filters, its tabs, and one page of it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from django.contrib import messages
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext, pgettext

from operator_app.admin import progress, tabs
from operator_app.admin.bounds import bounded
from operator_app.admin.filters import ParameterFilter, StateFilter
from operator_app.admin.keyset import Order
from operator_app.admin.pagination import MoreThan
from operator_app.admin.spans import TimeFilter
from operator_app.models import counts
from operator_app.models.number import Number

AFTER: Final = "after"
BEFORE: Final = "before"
"""The parameters of a place in the order that a page begins after, or ends before."""


class Link(NamedTuple):
    """Where one of the links at the foot of a page leads to."""

    label: str
    url: str


class Chip(NamedTuple):
    """A filter that is on, and the list without it."""

    label: str
    value: str
    url: str


class OperationChangeList(ChangeList):
    """A page begins after a place in the order, and costs the same wherever that is. For an order
    that places cannot tell (see `keyset`) it has numbers, as Django's pages do.

    Besides the page itself: one query for the newest id, those of `tabs.numbers_of`, one for the
    progress of what runs.
    """

    any_state: QuerySet[Any]
    """What the filters leave, in every state."""
    links: list[Link] | None = None
    """To the pages before and after; None where pages have numbers."""
    tabs: list[tabs.Tab] | None = None
    """None where the list cannot be filtered by state."""
    numbers: dict[str, Number] | None = None
    """How many there are in each state."""
    remark: str = ""
    """What the page does not show, though it might be looked for."""
    is_restricted: bool = False
    """Whether there are kinds that the user may not view."""
    is_narrowed: bool = False
    """Whether some operations of the kinds and queues are left out: see `tabs.is_narrowed()`."""

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Any]:
        """Apply the filters, that of the state last."""
        for name in (AFTER, BEFORE):  # A place is of one page; links to other pages leave it out.
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        excluded = exclude_parameters or [StateFilter.parameter_name]
        rows: QuerySet[Any] = super().get_queryset(request, excluded)
        self.any_state = rows
        if exclude_parameters is None and (state := self._filter(StateFilter)):
            rows = state.queryset(request, rows)
        return rows

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return what to order by for a column; nothing for one that is masked."""
        pages: Any = self.model_admin
        if field_name in pages.hidden_fields():
            return None
        return super().get_ordering_field(field_name)

    def get_results(self, request: HttpRequest) -> None:
        """Find the page, and what is shown around it."""
        self.is_restricted = tabs.is_restricted(self, request)
        self.is_narrowed = tabs.is_narrowed(self, request)
        if self._filter(StateFilter):
            self.numbers = tabs.numbers_of(self, request)
            self.tabs = tabs.tabs_of(self, self.numbers)
        order = Order.of(self.queryset)
        if order is None:
            super().get_results(request)
        else:
            self._find(request, order)
        self.result_list = progress.attach(self.result_list, self.list_display)

    # What is on

    @cached_property
    def newest_id(self) -> int:
        """The newest id of all operations. One query."""
        return counts.newest_id(self.root_queryset.db)

    @property
    def active_parameters(self) -> set[str]:
        """The names of the parameters that the list is filtered by; that of the search, too."""
        active = {name for name, value in self.get_filters_params().items() if any(value)}
        return active | ({SEARCH_VAR} if self.query.strip() else set())

    @property
    def chips(self) -> list[Chip]:
        """The filters that are on and have no choices beside the list. No queries."""
        on = [each for each in self.filter_specs if isinstance(each, (ParameterFilter, TimeFilter))]
        return [
            Chip(str(spec.title), words, self._without(spec.expected_parameters()))
            for spec in on
            if (words := spec.words())
        ]

    @property
    def choices(self) -> list[Any]:
        """The filters to choose from beside the list: all but the tabs and the chips."""
        elsewhere = (StateFilter, ParameterFilter)
        return [spec for spec in self.filter_specs if not isinstance(spec, elsewhere)]

    def _without(self, names: list[Any]) -> str:
        return self.get_query_string(dict.fromkeys(names))

    def _filter(self, kind: type[Any]) -> Any:
        return next((each for each in self.filter_specs if isinstance(each, kind)), None)

    @property
    def state(self) -> str:
        """The state that the list is filtered by; empty for none."""
        spec = self._filter(StateFilter)
        return str(spec.value() or "") if spec else ""

    # The page

    def _find(self, request: HttpRequest, order: Order) -> None:
        size = self.list_per_page
        place, backwards = self._place(request, order)
        found = self._rows(request, order, place, backwards=backwards)
        if backwards and len(found) < size:
            # So near to the beginning that it is the first page, which is full.
            place, backwards = None, False
            found = self._rows(request, order, place, backwards=backwards)
        has_more = len(found) > size
        if backwards:
            page, is_first, is_last = found[-size:], not has_more, False
        else:
            page, is_first, is_last = found[:size], place is None, not has_more
        self.result_list = _loaded(self.queryset, page)
        self.links = self._links(order, page, is_first=is_first, is_last=is_last)
        self._count(request, len(page), more=not (is_first and is_last))

    def _rows(
        self, request: HttpRequest, order: Order, place: list[Any] | None, *, backwards: bool
    ) -> list[Any]:
        """Return the rows of a page in their order, and the one that comes next, if there is one.
        One query, or two.
        """

        def cut(rows: Any) -> Any:
            if place is not None:
                rows = order.before(rows, place) if backwards else order.after(rows, place)
            return rows[: self.list_per_page + 1]

        found_in = bounded(self, request, order, place, cut, backwards=backwards)
        self.remark, self._lowest = found_in.remark, found_in.lowest
        found = list(cut(found_in.rows))
        return found[::-1] if backwards else found

    def _place(self, request: HttpRequest, order: Order) -> tuple[list[Any] | None, bool]:
        """Return the place in the address, and whether the page is that before it."""
        for name in (AFTER, BEFORE):
            if text := request.GET.get(name):
                try:
                    return order.parse(text), name == BEFORE
                except ValidationError:
                    why = gettext("There is no such page in this order. This is the first one.")
                    messages.warning(request, why)
        return None, False

    def _links(self, order: Order, page: list[Any], *, is_first: bool, is_last: bool) -> list[Link]:
        earlier, later = _words(order)
        links = []
        if not is_first:
            links.append(Link(gettext("First page"), self.get_query_string()))
        if not is_first and page:
            place = order.place(page[0])
            links.append(Link(earlier, self.get_query_string({BEFORE: place})))
        if not is_last and page:
            place = order.place(page[-1])
            links.append(Link(later, self.get_query_string({AFTER: place})))
        elif is_last and self._lowest:
            self.remark = gettext(
                "Looked through operations down to #%(id)d so far, since no index tells which are "
                "of these filters."
            ) % {"id": self._lowest + 1}
            place = str(self._lowest + 1)
            links.append(Link(gettext("Look further back"), self.get_query_string({AFTER: place})))
        return links

    def _count(self, request: HttpRequest, shown: int, *, more: bool) -> None:
        """Tell how many there are in all, as far as that is known, without a query."""
        total = shown
        if more or self._lowest:
            number = self._number()
            total = max(number.count, shown + more)
            if number.is_more or total != number.count:
                total = MoreThan(total)
        self.result_count = total
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = more
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)

    def _number(self) -> Number:
        if self.numbers is None:
            return Number.of(self.queryset)
        if (state := self.state) in self.numbers:
            return self.numbers[state]
        return Number.sum(self.numbers.values())


def _words(order: Order) -> tuple[str, str]:
    """Return what leads back and on."""
    if not order.is_by_id:
        return gettext("Previous page"), gettext("Next page")
    newer, older = pgettext("operations", "Newer"), pgettext("operations", "Older")
    return (newer, older) if order.keys[0].descending else (older, newer)


def _loaded(queryset: QuerySet[Any], rows: list[Any]) -> QuerySet[Any]:
    """Return a queryset that has been evaluated to these rows; the forms of `list_editable` take no
    list.
    """
    page: Any = queryset.all()
    page._result_cache = rows
    page._prefetch_done = True
    return page  # type: ignore[no-any-return]
