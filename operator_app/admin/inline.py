"""The operations of an object, on that object's own page: `OperationInline`, to subclass.

class RankUps(OperationInline):
    model = RankUp

@admin.register(Customer)
class CustomerAdmin(ModelAdmin):
    inlines = [RankUps]
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import flatten, label_for_field
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from operator_app.admin import cells, display, sensitive
from operator_app.admin.columns import OperationColumns
from operator_app.admin.permissions import may
from operator_app.models import Operation, states
from operator_app.models.facts import MASK
from operator_app.models.guards import engine_names


class OperationRows(BaseInlineFormSet):  # type: ignore[type-arg]
    """A formset without forms: the rows are for reading. So it does not matter what operators do
    between the look at a page and its being saved, and nothing in a POST counts.
    """

    inline: OperationInline
    request: HttpRequest

    def __init__(self, data: Any = None, files: Any = None, **options: Any) -> None:
        super().__init__(**options)

    def initial_form_count(self) -> int:
        """None."""
        return 0

    def total_form_count(self) -> int:
        """None."""
        return 0

    def is_valid(self) -> bool:
        """Nothing can be wrong."""
        return True

    def save(self, commit: bool = True) -> list[Any]:
        """Write nothing."""
        self.new_objects: list[Any] = []
        self.changed_objects: list[Any] = []
        self.deleted_objects: list[Any] = []
        return []

    def get_queryset(self) -> QuerySet[Any]:
        """Return nothing: the admin, which looks for a form of each, would load all there are."""
        return super().get_queryset().none()

    @cached_property
    def found(self) -> list[Operation]:
        """The operations, one more than are shown if there are more. One query."""
        rows: QuerySet[Any] = super().get_queryset()
        return list(rows[: self.inline.shown + 1])

    @cached_property
    def rows(self) -> list[list[Any]]:
        """What the table shows, cell by cell."""
        return [self.inline.cells(row) for row in self.found[: self.inline.shown]]

    @property
    def has_more(self) -> bool:
        """Whether there are more than are shown."""
        return len(self.found) > self.inline.shown

    @property
    def all_of_them(self) -> str | None:
        """The address of the list of all of them, those that have ended, too; None if it has none
        that this user may open.
        """
        return self.inline.list_of(self.request, self.fk.name, self.instance)


class OperationInline(admin.TabularInline):  # type: ignore[type-arg]
    """Operations of an object, by a foreign key that their kind has to it: each with its state and
    a link to its page, the newest first. For reading; one query, however many there are.

    `fields` names what is shown, as in `list_display`: fields of the kind, columns of
    `OperationAdmin`, methods of the inline. `fk_name` says which foreign key, if the kind has
    several to the same model. They are shown to those who may view operations of the kind.
    """

    shown: ClassVar[int] = 10
    """How many rows are shown."""
    with_ended: ClassVar[bool] = False
    """Whether those that have ended are shown as well."""

    fields: ClassVar[Any] = ("link", "state_badge", "should_run", "attempt")
    template = "operator_app/admin/inline.html"
    formset = OperationRows
    extra = 0
    can_delete = False

    class Media:
        css: ClassVar = {"all": [display.MEDIA]}

    kind_name = OperationColumns.kind_name
    state_badge = OperationColumns.state_badge
    should_run = OperationColumns.should_run
    started = OperationColumns.started
    ended = OperationColumns.ended
    attempt = OperationColumns.attempt
    reason_in_short = OperationColumns.reason_in_short

    @admin.display(description=_("operation"))
    def link(self, operation: Operation) -> str | SafeString:
        """The operation, with a link to its page: that of its kind, or that of all kinds."""
        site = self.admin_site
        model = self.model if site.is_registered(self.model) else Operation
        name = str(operation)
        if not site.is_registered(model):
            return name
        return format_html('<a href="{}">{}</a>', display.page(site, model, operation.pk), name)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The operations of the kind that have not ended, or all, cancelled ones too; the newest
        first, with their operators and what else the columns show.
        """
        rows: QuerySet[Any] = self.model.all_objects.order_by("-pk")
        if not self.with_ended:
            rows = rows.filter(states.NOT_ENDED)
        return rows.select_related("operator", *self._related())

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Return the class of the rows, which knows who asks."""
        found = super().get_formset(request, obj, **kwargs)
        return type(found.__name__, (found,), {"inline": self, "request": request})

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All of them."""
        return self.columns

    @property
    def columns(self) -> list[str]:
        """The names of what is shown."""
        return list(flatten(self.fields))

    @property
    def labels(self) -> list[str]:
        """The headings of the table."""
        return [capfirst(str(label_for_field(name, self.model, self))) for name in self.columns]

    def cells(self, operation: Operation) -> list[Any]:
        """Return what the table shows of an operation, in the order of the columns."""
        hidden = sensitive.hidden_of(self.admin_site, self.model, operation)
        return [
            MASK if name in hidden else cells.shown(self, name, operation) for name in self.columns
        ]

    def list_of(self, request: HttpRequest, field: str, instance: Any) -> str | None:
        """Return the address of the list of all operations of `instance`; None if there is none
        that this user may open.
        """
        site = self.admin_site
        if instance.pk is None or not site.is_registered(self.model):
            return None
        key: Any = self.model._meta.get_field(field)
        value = getattr(instance, key.foreign_related_fields[0].attname)
        lookup = f"{field}__exact"
        theirs = site.get_model_admin(self.model)
        if value is None or not theirs.has_view_or_change_permission(request):
            return None
        if not theirs.lookup_allowed(lookup, str(value), request):
            return None
        return f"{display.page(site, self.model)}?{urlencode({lookup: value})}"

    def _related(self) -> list[str]:
        own = {field.name for field in self.model._meta.concrete_fields if field.is_relation}
        return [name for name in self.columns if name in own - engine_names()]

    # Who may

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may view operations of the kind."""
        return may(request, "view", self.model)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One is added on the page of its kind."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One is changed on its own page."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One is deleted on its own page."""
        return False
