"""The question before something is done to many operations: how many are in which state, and what
will become of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django import forms
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from operator_app.admin import display
from operator_app.admin.moments import MomentField
from operator_app.admin.pages import frame
from operator_app.admin.verbs import Verb
from operator_app.models.number import Number

if TYPE_CHECKING:
    from operator_app.admin.access import OperationAccess

CONFIRMED: Final = "_confirmed"
"""Posted by the page."""

TEMPLATE: Final = "operator_app/admin/confirmation.html"


class WhenForm(forms.Form):
    """The time that operations are rescheduled to."""

    when = MomentField(
        label=_("New time"),
        widget=forms.DateTimeInput({"type": "datetime-local", "step": "1"}),
    )


class Line(NamedTuple):
    """A state, and what will become of the operations that are in it."""

    badge: SafeString
    number: Number
    is_changed: bool


def page(
    admin: OperationAccess,
    request: HttpRequest,
    verb: Verb,
    numbers: Mapping[str, Number],
    fields: Iterable[tuple[str, Any]],
    *,
    forbidden: int | None = 0,
    form: WhenForm | None = None,
) -> HttpResponse:
    """Return the page that asks. No queries.

    Args:
        admin: the list's.
        request: the one that was posted.
        verb: what is to be done.
        numbers: how many operations are in each state.
        fields: what the page posts besides, to say again which are meant.
        forbidden: how many are of kinds that the user may not do it to; None for some.
        form: asks for the time, if the verb takes one.
    """
    lines = [
        Line(display.badge(state, display.STATES), number, state in verb.states)
        for state in display.STATES
        if (number := numbers.get(state)) and (number.count or number.is_more)
    ]
    context = {
        **frame(admin, request, verb.title),
        "verb": verb,
        "lines": lines,
        "total": Number.sum(line.number for line in lines if line.is_changed),
        "some_forbidden": forbidden is None,
        "forbidden": forbidden,
        "fields": [*fields, ("action", verb.action), (CONFIRMED, "1")],
        "form": form if verb.takes_time else None,
        "back": request.get_full_path(),
    }
    return TemplateResponse(request, TEMPLATE, context)
