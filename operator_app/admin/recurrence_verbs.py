"""What people do to recurrences: the actions of the list, and the buttons of rows and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from operator_app.admin import audit, display, permissions
from operator_app.admin.pages import Navigated
from operator_app.exceptions import OperationExists
from operator_app.models import Operation, Recurrence
from operator_app.models.recurrence import as_sentences

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

VERBS: Final[dict[str, Words]] = {
    "run": _("Run now"),
    "enable": _("Enable"),
    "disable": _("Disable"),
}
"""The buttons, by the last part of the address that they post to."""


LOGGED: Final = {True: _("Enabled."), False: _("Disabled.")}
"""What the admin's log says of one, by what it is now."""

SWITCHED: Final = {
    True: ngettext_lazy(
        "%(count)d recurrence was enabled.", "%(count)d recurrences were enabled.", "count"
    ),
    False: ngettext_lazy(
        "%(count)d recurrence was disabled.", "%(count)d recurrences were disabled.", "count"
    ),
}
"""What the user is told, by what they are now."""


class VerbButton(NamedTuple):
    """A verb for one recurrence."""

    label: Words
    address: str


class RecurrenceVerbs(Navigated):
    """Run now, enable, disable; each with an entry in the admin's log of what it has changed.

    Making an operation takes the permission to run those of its kind, the rest that to change
    recurrences.
    """

    actions = ["enable_selected", "disable_selected", "run_selected_now"]

    def get_urls(self) -> list[Any]:
        """The addresses of the buttons."""

        def url(verb: str) -> Any:
            def view(request: HttpRequest, pk: int) -> HttpResponseBase:
                return self._verb_view(request, pk, verb)

            protected = self.admin_site.admin_view(require_POST(view))
            return path(f"<int:pk>/{verb}/", protected, name=_url_name(verb))

        return [*map(url, VERBS), *super().get_urls()]

    def verb_buttons(self, request: HttpRequest, recurrence: Recurrence) -> list[VerbButton]:
        """Return what this user may do to a recurrence that is as it was loaded. No queries, but
        for content types.
        """
        switch = "disable" if recurrence.enabled else "enable"
        return [
            VerbButton(
                VERBS[verb],
                reverse(
                    f"admin:{_url_name(verb)}",
                    args=[recurrence.pk],
                    current_app=self.admin_site.name,
                ),
            )
            for verb in ("run", switch)
            if self._may(request, verb, recurrence)
        ]

    # Actions

    @admin.action(permissions=["change"], description=_("Enable selected recurrences"))
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Recurrence]) -> None:
        """Let them go on, from now."""
        self._switch(request, list(queryset), enabled=True)

    @admin.action(permissions=["change"], description=_("Disable selected recurrences"))
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Recurrence]) -> None:
        """Let them make no more operations."""
        self._switch(request, list(queryset), enabled=False)

    @admin.action(permissions=["run"], description=_("Run selected recurrences now"))
    def run_selected_now(self, request: HttpRequest, queryset: QuerySet[Recurrence]) -> None:
        """Make an operation of each, besides those of its slots."""
        self._run(request, list(queryset))

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whether the user may make operations of any kind by hand."""
        return permissions.may_some(request, "run", Operation)

    # What they do

    def _verb_view(self, request: HttpRequest, pk: int, verb: str) -> HttpResponseBase:
        recurrence: Any = self.get_object(request, str(pk))
        if recurrence is None:
            raise Http404
        if not self._may(request, verb, recurrence):
            raise PermissionDenied
        if verb == "run":
            self._run(request, [recurrence])
        else:
            self._switch(request, [recurrence], enabled=verb == "enable")
        from_page = "_from_page" in request.POST
        back = display.page(self.admin_site, Recurrence, pk if from_page else None)
        return HttpResponseRedirect(back)

    def _may(self, request: HttpRequest, verb: str, recurrence: Recurrence) -> bool:
        if not self.has_view_permission(request, recurrence):
            return False
        if verb == "run":
            return permissions.may(request, "run", recurrence.model or Operation)
        return self.has_change_permission(request, recurrence)

    def _switch(
        self, request: HttpRequest, recurrences: list[Recurrence], *, enabled: bool
    ) -> None:
        others = [each for each in recurrences if each.enabled is not enabled]
        rows = Recurrence.objects.filter(pk__in=[each.pk for each in others])
        why = gettext("disabled by %s in the admin") % request.user
        count = rows.enable() if enabled else rows.disable(why)
        audit.log_each(request, others, str(LOGGED[enabled]))
        self.message_user(request, SWITCHED[enabled] % {"count": count}, messages.SUCCESS)

    def _run(self, request: HttpRequest, recurrences: list[Recurrence]) -> None:
        for recurrence in recurrences:
            if not self._may(request, "run", recurrence):
                text = gettext("%s: you may not run operations of this kind.") % recurrence
                self.message_user(request, text, messages.ERROR)
                continue
            try:
                operation = recurrence.run_now()
            except (TypeError, ValueError, ValidationError, OperationExists) as error:
                why = f"{recurrence}: {' '.join(as_sentences(error))}"
                self.message_user(request, why, messages.ERROR)
            else:
                made = gettext("Run now: %s.") % operation
                self.log_change(request, recurrence, made)
                name = display.link(self.admin_site, operation, str(operation))
                said = format_html("{}: {}", recurrence, name)
                self.message_user(request, said, messages.SUCCESS)


def _url_name(verb: str) -> str:
    return f"operator_app_recurrence_{verb}"
