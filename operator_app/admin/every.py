"""The pages of all operations, of every kind, also of those whose class is gone."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from operator_app.admin.operation import OperationAdmin
from operator_app.models import Operation


@admin.register(Operation)
class EveryOperationAdmin(OperationAdmin):
    """All operations. Their schedule can be changed here while they are pending; the fields of
    their kind are shown here, and changed in the kind's own admin.
    """

    list_display = ["id", "kind_name", *OperationAdmin.list_display[1:]]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """What is added is of a kind, and so in the kind's own admin."""
        return False
