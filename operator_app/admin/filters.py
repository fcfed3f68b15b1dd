"""The filters beside the lists. What they offer never comes from a DISTINCT over a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin import SimpleListFilter
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import permissions
from operator_app.admin.display import OUTCOMES, STATES
from operator_app.models import Operation, OperatorProcess, choice, kinds, search

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
        allowed = permissions.kinds_allowed(request, "view", model_admin.model, alias)
        ids = set(_kinds_of(model_admin.model, alias))
        ids |= {lane.kind_id for lane in lanes_of(request, model_admin.model, alias)}
        if allowed is not None:
            ids &= set(allowed)
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
        allowed = permissions.kinds_allowed(request, "view", model_admin.model, alias)
        names = {
            str(model.resolved_policy().queue)
            for pk, model in _kinds_of(model_admin.model, alias).items()
            if allowed is None or pk in allowed
        }
        names |= {lane.queue for lane in lanes_of(request, model_admin.model, alias)}
        return [(name, name) for name in sorted(names)[:MOST]]

    def has_output(self) -> bool:
        """One queue is no choice."""
        return len(self.lookup_choices) > 1

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By its name, exactly; one that is not offered can be put into the address."""
        if not (value := self.value()):
            return queryset
        return queryset.none() if search.NUL in value else queryset.filter(queue=value)


class OperatorFilter(SimpleListFilter):
    """Operations that one operator holds or ran: of those that live, and of the one in the address.
    One query; one more for an operator that does not live.
    """

    title = _("operator")
    parameter_name = "operator"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """By name."""
        alias = router.db_for_read(model_admin.model)
        rows = OperatorProcess.objects.using(alias)
        alive = rows.alive(clock.now(alias)).order_by("hostname", "pid")[:MOST]
        offered = [(str(row.pk), str(row)) for row in alive]
        value = self.value()
        if value and value not in dict(offered):
            found = rows.filter(pk=value).first() if _is_id(value) else None
            offered.append((value, str(found) if found else gettext("%s (gone)") % value))
        return offered

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By its id: names come again."""
        if not (value := self.value()):
            return queryset
        return queryset.filter(operator_id=value) if _is_id(value) else queryset.none()


class ParameterFilter(SimpleListFilter):
    """A filter that offers nothing: links to the list come with its parameter. It is shown as a
    chip above the list.
    """

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """What is in the address."""
        return [(value, value)] if (value := self.value()) else []

    def words(self) -> str:
        """Return what it filters by; empty if it does not."""
        return str(self.value() or "")


class TagFilter(ParameterFilter):
    """Operations with a tag, a default tag, or a unique key. The queries of `search.condition`."""

    title = _("tag")
    parameter_name = "tag"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """As the search box finds them."""
        if not (value := self.value()):
            return queryset
        return queryset.filter(search.condition(value, queryset.db))


class ExceptionFilter(ParameterFilter):
    """Operations of which an attempt has ended with an exception of this class. No queries."""

    title = _("exception")
    parameter_name = "exception"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By the dotted path, exactly."""
        return queryset.filter(choice.had(value)) if (value := self.value()) else queryset


class FingerprintFilter(ParameterFilter):
    """Operations whose last attempt has ended with an error of this fingerprint. No queries."""

    title = _("fingerprint")
    parameter_name = "fingerprint"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Exactly."""
        return queryset.filter(choice.ended_with(value)) if (value := self.value()) else queryset


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


def _is_id(value: str) -> bool:
    return value.isdecimal() and len(value) < 20 and int(value) <= search.LARGEST_ID


def lanes_of(request: HttpRequest, model: type[Operation], alias: str) -> list[Lane]:
    """Return the lanes of a class and of those below it that the user may view. One query for a
    request.
    """
    lanes: list[Lane] | None = getattr(request, _LANES, None)
    if lanes is None:
        lanes = Operation.all_objects.using(alias).lanes()
        setattr(request, _LANES, lanes)
    allowed = permissions.kinds_allowed(request, "view", model, alias)
    if allowed is None and model is Operation:
        return lanes
    mine = _kinds_of(model, alias) if allowed is None else allowed
    return [lane for lane in lanes if lane.kind_id in mine]
