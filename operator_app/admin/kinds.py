"""The page of all kinds: how the operations of each are getting on."""

from __future__ import annotations

from typing import Any, Final

from django.db import router
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import kind_row
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.pages import Page
from operator_app.admin.pausing import PauseForm
from operator_app.models import Operation, kind_facts


def _context(
    model_admin: AnyModelAdmin,
    request: HttpRequest,
    label: str = "",
    refused: PauseForm | None = None,
) -> dict[str, Any]:
    alias = router.db_for_read(Operation)
    found = kind_facts.look(alias, clock.now(alias))
    rows = [
        kind_row.row(model_admin, request, facts, number, refused if facts.label == label else None)
        for number, facts in enumerate(found)
        if kind_row.may_view(request, facts)
    ]
    return {"rows": rows, "pauses_anything": any(each.control for each in rows)}


def _act(model_admin: AnyModelAdmin, request: HttpRequest) -> HttpResponseBase:
    label, refused = kind_row.act(request)
    if refused is None:
        return HttpResponseRedirect(PAGE.address(model_admin.admin_site))
    return PAGE.show(model_admin, request, _context(model_admin, request, label, refused))


PAGE: Final = Page(
    name="kinds",
    title=_("Kinds"),
    template="operator_app/admin/kinds.html",
    context=_context,
    permission="view_kinds",
    act=_act,
    css=("operator_app/kinds.css",),
)
