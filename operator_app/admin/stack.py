"""Where a running operation is in its code, on request: asked for by a click, told by its operator.

The answer comes within seconds, and is kept in the row of the attempt. Meanwhile the page says that
it was asked for; `operation.js` looks again by itself while the page is seen, and without it there
is a link.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext

from operator_app import clock
from operator_app.admin import display, guard, traceback
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.guard import may_view
from operator_app.admin.permissions import kind_of, may
from operator_app.models import Operation, OperationJob

TEMPLATE = "operator_app/admin/stack.html"
ANCHOR = "operator-stack"
"""The id of the section."""


class StackOnRequest(AnyModelAdmin):
    """An address below the page of an operation: POST asks for its stack, GET returns the section
    of the page that shows it.
    """

    def get_urls(self) -> list[Any]:
        """Django's, and that of the stack before them: the last of Django's takes everything."""
        view = self.admin_site.admin_view(self.stack_view)
        mine: list[URLPattern] = [path("<path:object_id>/stack/", view, name=self._stack_name)]
        return [*mine, *super().get_urls()]

    def stack_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the stack of an operation, or show it. A query to look at the operation, one for
        the attempt, those of `request_stack()`.

        Raises:
            PermissionDenied: for those who may not look at its attempts, or may not ask.
            Http404: if there is no such operation.
        """
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        operation = self.get_object(request, unquote(object_id))
        if operation is None:
            raise Http404
        if not self.has_view_or_change_permission(request, operation):
            raise PermissionDenied
        if request.method == "POST":
            return self._asked(request, operation)
        if not may_view(request, OperationJob):
            raise PermissionDenied
        return TemplateResponse(request, TEMPLATE, self.stack_context(request, operation))

    def stack_context(self, request: HttpRequest, operation: Operation) -> dict[str, Any]:
        """Return what the section needs; nothing for an operation that is not at work, or for whom
        attempts are not to be seen. One query.
        """
        if not guard.is_started(operation) or not may_view(request, OperationJob):
            return {}
        rows = OperationJob.objects.using(operation._alias).filter(operation_id=operation.pk)
        stacks = rows.filter(number=operation.attempts).values_list("stack", flat=True)
        text = stacks.first() or ""
        asked = operation.stack_requested_at
        now = clock.now(operation._alias)
        return {
            "operator_stack": {
                "address": self._stack_address(operation),
                "page": f"{display.page(self.admin_site, self.model, operation.pk)}#{ANCHOR}",
                "may_ask": self.may_ask_for_stack(request, operation),
                "asked": None if asked is None else display.moment(asked, now),
                "shown": traceback.shown(text, gettext("Stack")) if text else "",
            }
        }

    def may_ask_for_stack(self, request: HttpRequest, operation: Operation) -> bool:
        """Whether this user may ask: who may change or abort operations of its kind, and sees
        attempts.
        """
        kind = kind_of(operation)
        return may_view(request, OperationJob) and any(
            may(request, verb, kind) for verb in ("change", "abort")
        )

    def _asked(self, request: HttpRequest, operation: Operation) -> HttpResponse:
        if not self.may_ask_for_stack(request, operation):
            raise PermissionDenied
        rows = Operation.all_objects.using(operation._alias).filter(pk=operation.pk)
        if not rows.request_stack():
            text = gettext("It does not run any more, so it has no stack.")
            self.message_user(request, text, messages.WARNING)
        address = display.page(self.admin_site, self.model, operation.pk)
        return HttpResponseRedirect(f"{address}#{ANCHOR}")

    def _stack_address(self, operation: Operation) -> str:
        name = f"admin:{self._stack_name}"
        return reverse(name, args=[quote(operation.pk)], current_app=self.admin_site.name)

    @property
    def _stack_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_stack"
