"""Fields whose values no page shows: those that a policy names, and those that an admin adds.

They are masked where a page or a list is made, after whatever a subclass arranges: a subclass that
names one of them in its fieldsets or its columns gets the mask there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import label_for_field
from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse

from operator_app.admin import cells
from operator_app.admin.display import AnyModelAdmin
from operator_app.models import Operation, kinds
from operator_app.models.facts import MASK, sensitive_fields


def hidden_fields(site: AdminSite, model: type[Operation]) -> frozenset[str]:
    """Return the fields of a kind that are masked on the pages of a site: those of its policy, and
    those of its admin, if it has one there. No queries.
    """
    pages = site.get_model_admin(model) if site.is_registered(model) else None
    return sensitive_fields(model) | frozenset(getattr(pages, "sensitive_fields", ()))


def hidden_of(site: AdminSite, model: type[Operation], operation: Operation) -> frozenset[str]:
    """Return what is masked of an operation on the pages of `model`, of which its kind may be a
    subclass. No queries but for content types.
    """
    kind = kinds.model_of(operation.kind_id, operation._alias)
    return hidden_fields(site, model) | (frozenset() if kind is None else hidden_fields(site, kind))


def hidden_below(site: AdminSite, model: type[Operation]) -> frozenset[str]:
    """Return what is masked of some operations on the pages of `model`: of all, or of those of a
    subclass. No queries.
    """
    below = (kind for kind in kinds.all_kinds() if issubclass(kind, model))
    return hidden_fields(site, model).union(*(hidden_fields(site, kind) for kind in below))


class SensitiveFields(AnyModelAdmin):
    """Masks fields on the pages of a kind. On the page of an operation they are for reading, so
    that no form carries their value; on the page that adds one they are typed in.
    """

    sensitive_fields: Sequence[str] = ()
    """Fields that are masked here besides those that the policy of the kind names."""

    def hidden_fields(self, operation: Operation | None = None) -> frozenset[str]:
        """Return what is masked of an operation, whose kind may be a subclass; without one, what is
        masked of some of those that a list may show.
        """
        mine = frozenset(self.sensitive_fields)
        if operation is None:
            return mine | hidden_below(self.admin_site, self.model)
        return mine | hidden_of(self.admin_site, self.model, operation)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to look up by what is masked, in an address that somebody has thought of: which
        rows it finds would tell, piece by piece. What `list_filter` names may be looked up.
        """
        if self._is_hidden(lookup) and not self._is_named(lookup, request):
            return False
        return super().lookup_allowed(lookup, value, request)

    def _is_hidden(self, lookup: str) -> bool:
        """Whether there is something masked on the way, which may lead through a base class."""
        hidden, model = self.hidden_fields(), self.model
        for part in lookup.split(LOOKUP_SEP):
            try:
                field = model._meta.get_field(part)
            except FieldDoesNotExist:
                return False
            if field.name in hidden:
                return True
            model = field.related_model
            if not isinstance(model, type) or not issubclass(model, Operation):
                return False
            hidden = hidden_below(self.admin_site, model)
        return False

    def _is_named(self, lookup: str, request: HttpRequest) -> bool:
        """Whether the list itself offers it."""
        for each in (*self.get_list_filter(request), self.date_hierarchy):
            named = each[0] if isinstance(each, (list, tuple)) else each
            if isinstance(named, type):
                if lookup == getattr(named, "parameter_name", None):
                    return True
            elif named and f"{lookup}{LOOKUP_SEP}".startswith(f"{named}{LOOKUP_SEP}"):
                return True
        return False

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form; of an operation that exists, without what is masked."""
        form = super().get_form(request, obj, change, **kwargs)
        # Without fields it is only asked which ones there are.
        if obj is not None and kwargs.get("fields", ()) is not None:
            for name in self.hidden_fields(obj):
                form.base_fields.pop(name, None)
        return form

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the mask where the fieldsets name what is masked."""
        obj = context.get("original")
        masks = {} if obj is None else self._masks(self.hidden_fields(obj))
        if masks:
            form = context["adminform"]
            form.fieldsets = [
                (title, {**options, "fields": _replaced(options["fields"], masks)})
                for title, options in form.fieldsets
            ]
            form.readonly_fields = [*form.readonly_fields, *masks.values()]
        return super().render_change_form(request, context, *args, **kwargs)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Show the mask in the columns of what is masked, row by row."""
        found = super().get_changelist_instance(request)
        masks = self._masks(self.hidden_fields())
        found.list_display = _replaced(found.list_display, masks)
        if found.list_display_links is not None:
            found.list_display_links = _replaced(found.list_display_links, masks)
        return found

    def get_changelist_formset(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Leave what is masked out of the fields that can be edited in the list."""
        if hidden := sorted(self.hidden_fields()):
            # Not an empty list, which would undo what a form of a subclass leaves out.
            kwargs = {"exclude": hidden, **kwargs}
        return super().get_changelist_formset(request, **kwargs)

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """Check that there are such fields. No queries."""
        return [*super().check(**kwargs), *self._unknown_fields()]

    def _unknown_fields(self) -> Iterable[CheckMessage]:
        for name in self.sensitive_fields:
            try:
                self.model._meta.get_field(name)
            except FieldDoesNotExist:
                yield Error(
                    f"{type(self).__name__}.sensitive_fields names {name!r}, which is no field of "
                    f"{self.model._meta.label}: nothing is masked by it.",
                    obj=type(self),
                    id="operator_app.E016",
                )

    def _masks(self, hidden: Iterable[str]) -> dict[str, Callable[[Any], Any]]:
        return {name: self._mask(name) for name in hidden}

    def _mask(self, name: str) -> Callable[[Any], Any]:
        """Return what stands in for a field: a column that shows the mask where it is hidden."""
        label: Any
        try:
            label = label_for_field(name, self.model, self)
        except AttributeError:
            label = name  # Of a subclass, whose operation is looked at here.

        def masked(operation: Any) -> Any:
            is_hidden = name in self.hidden_fields(operation)
            return MASK if is_hidden else cells.shown(self, name, operation)

        masked.__name__ = name
        masked.short_description = label  # type: ignore[attr-defined]
        return masked


def _replaced(names: Iterable[Any], masks: dict[str, Callable[[Any], Any]]) -> list[Any]:
    """Return names of fields, those in one line too, with the masks in their place."""
    return [
        _replaced(name, masks) if isinstance(name, (list, tuple)) else masks.get(name, name)
        for name in names
    ]
