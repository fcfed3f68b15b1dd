"""What this user may do on the pages of operations: Django's hooks, answered by `permissions`."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from operator_app.admin import guard, permissions
from operator_app.admin.display import AnyModelAdmin
from operator_app.models import Operation


class OperationAccess(AnyModelAdmin):
    """Answers for a list, if there is no operation, whether the user may do it to some of its
    operations; `kinds_allowed()` tells to which.
    """

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To view, or to change."""
        return self._allows(request, "view", obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """To schedule one of this very kind."""
        return permissions.may(request, "add", self.model)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To edit or reschedule; what is not pending any more is for reading."""
        allowed = self._allows(request, "change", obj)
        if obj is None or request.method == "POST":
            # A form that comes too late is answered with its reason: see `save_model`.
            return allowed
        return allowed and guard.is_pending(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To delete what no operator has claimed."""
        return self._allows(request, "delete", obj)

    def has_run_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To let scheduled ones be due now."""
        return self._allows(request, "run", obj)

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To retry what has failed or was cancelled, and to release what a lost operator holds."""
        return self._allows(request, "retry", obj)

    def has_cancel_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To cancel pending ones."""
        return self._allows(request, "cancel", obj)

    def has_abort_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To ask running and stuck ones to abort."""
        return self._allows(request, "abort", obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whoever may view some of them finds them on the index, though the permission may be of
        another app: that of `Operation` is for the kinds of all apps.
        """
        return super().has_module_permission(request) or self.has_view_permission(request)

    def viewable(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of the rows that the user may view. No queries."""
        return permissions.viewable(request, rows)

    def _allows(self, request: HttpRequest, verb: str, obj: Any) -> bool:
        if obj is None:
            return permissions.may_some(request, verb, self.model)
        return permissions.may(request, verb, _kind_of(obj, self.model))


def _kind_of(operation: Any, model: type[Operation]) -> type[Operation]:
    """Return the class of an operation; of one that is not saved yet, that of the page."""
    if operation.kind_id is None:
        return model
    return permissions.kind_of(operation)
