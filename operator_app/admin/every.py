"""The pages of all operations, of every kind, also of those whose class is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest

from operator_app.admin import failed, kind, kinds, overview, permissions, queue, stuck
from operator_app.admin.operation import OperationAdmin
from operator_app.admin.pages import Page
from operator_app.models import Operation

PAGES: Final[Sequence[Page]] = (
    overview.PAGE,
    stuck.PAGE,
    failed.PAGE,
    kinds.PAGE,
    kind.PAGE,
    queue.PAGE,
)
"""What there is to see besides the list."""


@admin.register(Operation)
class EveryOperationAdmin(OperationAdmin):
    """All operations. Their schedule can be changed here while they are pending; the fields of
    their kind are shown here, and changed in the kind's own admin.
    """

    list_display = ["id", "kind_name", *OperationAdmin.list_display[1:]]

    def get_urls(self) -> list[Any]:
        """The pages first: Django takes whatever follows the list's address for a primary key."""
        return [*(page.url(self) for page in PAGES), *super().get_urls()]

    def has_view_all_permission(self, request: HttpRequest) -> bool:
        """Whether the user may see operations of all kinds: pages that add them up tell of all."""
        return permissions.may(request, "view", Operation)

    def has_view_kinds_permission(self, request: HttpRequest) -> bool:
        """Whether the user may see operations of any kind; the page of kinds leaves out others."""
        return permissions.may_some(request, "view", Operation)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """What is added is of a kind, and so in the kind's own admin."""
        return False
