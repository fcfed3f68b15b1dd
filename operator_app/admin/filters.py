"""The filters beside the lists. What they offer never comes from a DISTINCT over a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin import SimpleListFilter
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from operator_app.admin.display import OUTCOMES, STATES
from operator_app.models import Operation, kinds

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

    from operator_app.models.lanes import Lane

MOST: Final = 100
"""How many choices a filter offers at most: a queue per customer would fill the page."""

_LANES = "_operator_lanes"


class StateFilter(SimpleListFilter):
    """Operations in one state. No queries."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str | Words]]:
        """All the states there are."""
        return list(STATES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The adjective of the state does it."""
        if (state := self.value()) in STATES:
            return getattr(queryset, str(state))()  # type: ignore[no-any-return]
        return queryset


class KindFilter(SimpleListFilter):
    """Operations of one kind: of those installed, and of those that pending rows are of. One query,
    shared with `QueueFilter`.
    """

    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """By label; none where there is only one kind."""
        alias = router.db_for_read(model_admin.model)
        ids = set(_kinds_of(model_admin.model, alias))
        ids |= {lane.kind_id for lane in _lanes(request, model_admin.model, alias)}
        labels = sorted(kinds.label_of(kind_id, alias) for kind_id in ids)
        return [(label, label) for label in labels] if len(labels) > 1 else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """A label that is of no kind finds nothing."""
        if not (label := self.value()):
            return queryset
        kind_id = kinds.id_of_label(label, queryset.db)
        return queryset.none() if kind_id is None else queryset.filter(kind_id=kind_id)


class QueueFilter(SimpleListFilter):
    """Operations of one queue: of those in the policies, and of those that pending rows are in. One
    query, shared with `KindFilter`.
    """

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """By name."""
        alias = router.db_for_read(model_admin.model)
        models = _kinds_of(model_admin.model, alias).values()
        names = {str(model.resolved_policy().queue) for model in models}
        names |= {lane.queue for lane in _lanes(request, model_admin.model, alias)}
        return [(name, name) for name in sorted(names)[:MOST]]

    def has_output(self) -> bool:
        """One queue is no choice."""
        return len(self.lookup_choices) > 1

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By its name, exactly; one that is not offered can be put into the address."""
        return queryset.filter(queue=self.value()) if self.value() else queryset


class OutcomeFilter(SimpleListFilter):
    """Attempts that ended in one way, or have not ended. No queries."""

    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str | Words]]:
        """Null has a name here."""
        return [("running", STATES["running"]), *OUTCOMES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """An attempt without an outcome is running, or was when its operator died."""
        if self.value() == "running":
            return queryset.filter(outcome__isnull=True)
        return queryset.filter(outcome=self.value()) if self.value() in OUTCOMES else queryset


def _kinds_of(model: type[Operation], alias: str) -> dict[int, type[Operation]]:
    known: Iterable[tuple[int, type[Operation]]] = kinds.known_kinds(alias).items()
    return {kind_id: kind for kind_id, kind in known if issubclass(kind, model)}


def _lanes(request: HttpRequest, model: type[Operation], alias: str) -> list[Lane]:
    lanes: list[Lane] | None = getattr(request, _LANES, None)
    if lanes is None:
        lanes = Operation.all_objects.using(alias).lanes()
        setattr(request, _LANES, lanes)
    if model is Operation:
        return lanes
    mine = _kinds_of(model, alias)
    return [lane for lane in lanes if lane.kind_id in mine]
