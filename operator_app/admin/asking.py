"""What people ask of operators: to drain, to go on, to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.pages import frame, navigation
from operator_app.models import OperatorProcess
from operator_app.models.process import DRAIN, STOP

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

    from operator_app.models.process import OperatorProcessQuerySet


class Wish(NamedTuple):
    """Something that an operator can be asked for.

    Args:
        label: of its button.
        words: what is said when it was asked.
        entry: what the admin's log says.
        ask: asks the operators of a queryset; returns how many were asked.
    """

    label: Words
    words: Words
    entry: Words
    ask: Callable[[OperatorProcessQuerySet, str], int]


WISHES: Final[Mapping[str, Wish]] = {
    "drain": Wish(
        _("Drain"),
        _("%s claims nothing more from its next heartbeat on, and leaves when what it runs ended."),
        _("Asked to drain."),
        lambda rows, by: rows.drain(by=by),
    ),
    "resume": Wish(
        _("Go on"),
        _("%s claims operations again from its next heartbeat on."),
        _("Asked to go on."),
        lambda rows, by: rows.resume(),
    ),
    "stop": Wish(
        _("Stop"),
        _("%s begins to leave with its next heartbeat."),
        _("Asked to stop."),
        lambda rows, by: rows.stop(by=by),
    ),
}
"""By the last part of the address."""

ASKED: Final = {
    DRAIN: _("asked to drain by %(who)s, %(when)s"),
    STOP: _("asked to stop by %(who)s, %(when)s"),
}


class Asking(AnyModelAdmin):
    """Buttons for operators, for those with the permission `operator_app.stop_operatorprocess`.
    Draining and going on take a POST; stopping is confirmed on a page of its own first.
    """

    change_form_template = "operator_app/admin/operator_form.html"

    def get_urls(self) -> list[Any]:
        """One address for each wish, before Django's own."""
        return [*(self._url(name) for name in WISHES), *super().get_urls()]

    def get_list_display(self, request: HttpRequest) -> Any:
        """With the buttons, for who may use them."""
        columns = super().get_list_display(request)
        if not self.has_stop_permission(request):
            return columns

        @admin.display(description=_("what to do"))
        def wishes(process: OperatorProcess) -> SafeString:
            # They are inside the form of the list, and send it elsewhere.
            button = (
                '<button class="button" formmethod="post" formaction="{}">{}'
                '<span class="visually-hidden"> {}</span></button>'
            )
            shown = format_html_join(" ", button, self._named(request, process))
            return format_html('<span class="operator-verbs">{}</span>', shown)

        return [*columns, wishes]

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Whether this user may drain and stop operators."""
        return bool(request.user.has_perm("operator_app.stop_operatorprocess"))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the buttons to the page of an operator."""
        if (process := context.get("original")) is not None:
            context["operator_wishes"] = self._named(request, process)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=_("asked"))
    def wished(self, process: OperatorProcess) -> str:
        """What was asked of it, by whom and when."""
        if (words := ASKED.get(process.asked)) is None or process.asked_at is None:
            return ""
        now = clock.now(process._state.db or "default")
        when = display.ago(process.asked_at, now, short=True)
        return words % {"who": process.asked_by or gettext("somebody"), "when": when}

    def _named(self, request: HttpRequest, process: OperatorProcess) -> list[tuple[str, Any, Any]]:
        """Return the address, the label and the operator of each button. No queries."""
        now = clock.now(process._state.db or "default")
        if not self.has_stop_permission(request) or not process.is_alive(now):
            return []
        names = {"": ["drain", "stop"], DRAIN: ["resume", "stop"]}.get(process.asked, [])
        return [(self._address(name, process), WISHES[name].label, process) for name in names]

    def _url(self, name: str) -> URLPattern:
        def view(request: HttpRequest, pk: int) -> HttpResponseBase:
            return self._answer(request, name, pk)

        return path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=_url_name(name))

    def _address(self, name: str, process: OperatorProcess) -> str:
        site = self.admin_site.name
        return reverse(f"admin:{_url_name(name)}", args=[process.pk], current_app=site)

    def _answer(self, request: HttpRequest, name: str, pk: int) -> HttpResponseBase:
        if not (self.has_view_permission(request) and self.has_stop_permission(request)):
            raise PermissionDenied
        process = OperatorProcess.objects.filter(pk=pk).first()
        if process is None:
            messages.warning(request, gettext("This operator has left."))
        elif request.method == "POST" and ("confirmed" in request.POST or name != "stop"):
            self._ask(request, name, process)
        elif name == "stop":
            # The button of a list posts its form, which asks for this page.
            return self._confirm(request, process)
        else:
            return HttpResponseNotAllowed(["POST"])
        return HttpResponseRedirect(display.page(self.admin_site, OperatorProcess))

    def _ask(self, request: HttpRequest, name: str, process: OperatorProcess) -> None:
        wish = WISHES[name]
        if wish.ask(OperatorProcess.objects.filter(pk=process.pk), str(request.user)):
            self.log_change(request, process, str(wish.entry))
            messages.success(request, wish.words % process)
        elif not process.is_alive(clock.now(process._state.db or "default")):
            words = gettext("%s is lost: it gives no sign of life, so it hears nothing.")
            messages.error(request, words % process)
        else:
            words = gettext("%s was left alone: somebody has asked before.")
            messages.warning(request, words % process)

    def _confirm(self, request: HttpRequest, process: OperatorProcess) -> TemplateResponse:
        site = self.admin_site
        context = {
            **frame(self, request, gettext("Stop an operator")),
            "process": process,
            "back": display.page(site, OperatorProcess),
            "operator_nav": navigation(site, request, OperatorProcess),
        }
        return TemplateResponse(request, "operator_app/admin/stop_operator.html", context)


def _url_name(name: str) -> str:
    return f"operator_app_operatorprocess_{name}"
