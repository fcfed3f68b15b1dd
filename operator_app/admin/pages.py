"""What the pages besides lists and forms share: addresses, permissions, the bar that joins them.

A page of its own is a module with one `Page`, and a line in `every.PAGES`:

PAGE = Page("stuck", _("Stuck"), "operator_app/admin/stuck.html", context)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.forms import Media
from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from operator_app.admin import display
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.moments import SpokenMoments
from operator_app.models import Operation, OperatorProcess, Recurrence

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words


class Entry(NamedTuple):
    """A place in the bar: a page by its name, or the list of a model."""

    title: Words
    model: type[Model]
    view: str = "changelist"
    permission: str = "view"


class Link(NamedTuple):
    """An entry as it is shown."""

    title: Words
    address: str
    is_current: bool


NAVIGATION: Final = (
    Entry(_("Overview"), Operation, "overview", "view_all"),
    Entry(_("Operations"), Operation),
    Entry(_("Stuck"), Operation, "stuck", "view_all"),
    Entry(_("Failed"), Operation, "failed", "view_all"),
    Entry(_("Operators"), OperatorProcess),
    Entry(_("Kinds"), Operation, "kinds"),
    Entry(_("Queues"), Operation, "queues", "view_all"),
    Entry(_("Recurrences"), Recurrence),
)
"""All places of the bar, in order. Those that a site does not have, or that a user may not see, are
left out.
"""


@dataclass(frozen=True)
class Page:
    """A page beside the list of all operations, at `.../operator_app/operation/<name>/`.

    Args:
        name: the last part of its address, and of the name of its URL.
        title: its heading.
        template: extends `operator_app/admin/page.html`.
        context: called with the model admin, the request and what `route` captures; returns what
            the template needs besides the admin's own context.
        permission: what a user must be allowed to do with operations to see it, as in the model
            admin's `has_<permission>_permission()`.
        act: called as `context` with a POST; returns the answer. None if there is nothing to post.
        route: its address, if that is not its name; may capture something.
        css: its style sheets, besides the common one.
        js: its scripts.
    """

    name: str
    title: Words
    template: str
    context: Callable[..., Mapping[str, Any]]
    permission: str = "view_all"
    act: Callable[..., HttpResponseBase] | None = None
    route: str = ""
    css: tuple[str, ...] = ()
    js: tuple[str, ...] = ()

    def url(self, model_admin: AnyModelAdmin) -> URLPattern:
        """Return the pattern for the URLs of a model admin, to come before Django's own."""

        def view(request: HttpRequest, **captured: Any) -> HttpResponseBase:
            return self.respond(model_admin, request, **captured)

        route = self.route or f"{self.name}/"
        return path(route, model_admin.admin_site.admin_view(view), name=_url_name(self.name))

    def address(self, site: AdminSite, **captured: Any) -> str:
        """Return where the page is on a site.

        Raises:
            NoReverseMatch: if the site has no such page.
        """
        return reverse(f"admin:{_url_name(self.name)}", kwargs=captured, current_app=site.name)

    def respond(
        self, model_admin: AnyModelAdmin, request: HttpRequest, **captured: Any
    ) -> HttpResponseBase:
        """Show the page, or do what is posted to it.

        Raises:
            PermissionDenied: if this user may not see it.
        """
        if not getattr(model_admin, f"has_{self.permission}_permission")(request):
            raise PermissionDenied
        if request.method in ("GET", "HEAD"):
            return self.show(model_admin, request, self.context(model_admin, request, **captured))
        if request.method == "POST" and self.act is not None:
            return self.act(model_admin, request, **captured)
        return HttpResponseNotAllowed(["GET", "HEAD"] if self.act is None else ["GET", "POST"])

    def show(
        self,
        model_admin: AnyModelAdmin,
        request: HttpRequest,
        context: Mapping[str, Any],
        template: str = "",
    ) -> TemplateResponse:
        """Return the page, or another template in its frame, such as a confirmation.

        Args:
            model_admin: of operations.
            request: what is answered.
            context: for the template; may replace the title.
            template: in place of the page's own.
        """
        around = {
            **frame(model_admin, request, self.title),
            "media": Media(css={"all": [display.MEDIA, *self.css]}, js=self.js),
            "operator_nav": navigation(model_admin.admin_site, request, Operation, self.name),
        }
        return TemplateResponse(request, template or self.template, {**around, **context})


class Navigated(SpokenMoments):
    """A model admin whose list shows the bar."""

    change_list_template = "operator_app/admin/list.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Add the bar to what the template gets."""
        bar = navigation(self.admin_site, request, self.model)
        return super().changelist_view(request, {"operator_nav": bar, **(extra_context or {})})


def frame(model_admin: AnyModelAdmin, request: HttpRequest, title: object) -> dict[str, Any]:
    """Return what the admin's templates need of a page that is not one of Django's own, and stay on
    the site that it is of. No queries but those of the site's own.

    Args:
        model_admin: to whose pages it belongs.
        request: what is answered.
        title: its heading.
    """
    request.current_app = model_admin.admin_site.name
    return {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.opts,
        "media": model_admin.media,
    }


def navigation(
    site: AdminSite,
    request: HttpRequest,
    model: type[Model] | None = None,
    view: str = "changelist",
) -> list[Link]:
    """Return the bar that leads from page to page, for this user. No queries, but those with which
    Django loads his permissions once for a request.

    Args:
        site: where the pages are.
        request: whose user is asked about.
        model: whose page is shown, if it is one of these.
        view: the name of the page that is shown.
    """
    here = (model, view)
    return [
        Link(entry.title, address, (entry.model, entry.view) == here)
        for entry in NAVIGATION
        if (address := _address(site, request, entry)) is not None
    ]


def _address(site: AdminSite, request: HttpRequest, entry: Entry) -> str | None:
    """Return where an entry leads; None if there is no such page, or not for this user."""
    if not site.is_registered(entry.model):
        return None
    pages = site.get_model_admin(entry.model)
    # Only the admin of all operations has the pages beside the list, and knows who may see them.
    allows = getattr(pages, f"has_{entry.permission}_permission", None)
    if allows is None or not allows(request):
        return None
    name = _url_name(entry.view, entry.model)
    try:
        return reverse(f"admin:{name}", current_app=site.name)
    except NoReverseMatch:
        return None


def _url_name(view: str, model: type[Model] = Operation) -> str:
    return f"{model._meta.app_label}_{model._meta.model_name}_{view}"
