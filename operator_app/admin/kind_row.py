"""How a kind is shown, on the page of all of them and on its own."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils import formats
from django.utils.html import format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from operator_app.admin import charts, display, durations, pausing, permissions, policy_words
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.pausing import Control, PauseForm, Scope
from operator_app.models import Operation, Pause, kinds
from operator_app.models.kind_facts import KindFacts
from operator_app.models.number import Number


class Count(NamedTuple):
    """How many there are in one state, and where they are listed."""

    state: str
    words: Any
    number: Number
    address: str


class KindRow(NamedTuple):
    """A kind, as the page shows it."""

    facts: KindFacts
    name: SafeString
    """Its label, which may be broken behind the app."""
    address: str
    """Of the page of this kind."""
    badges: list[SafeString]
    counts: list[Count]
    ended_hour: str
    ended_day: str
    failure_rate: str
    median: str
    """What half of the attempts took at most; empty if nothing is known."""
    high: str
    """The same of 95 percent of them."""
    picture: SafeString | str
    policy: str
    control: Control | None


def row(
    model_admin: AnyModelAdmin,
    request: HttpRequest,
    facts: KindFacts,
    number: int = 0,
    refused: PauseForm | None = None,
) -> KindRow:
    """Return a kind as it is shown. No queries.

    Args:
        model_admin: of all operations.
        request: whose user may do more or less.
        facts: what is known of the kind.
        number: its place on the page.
        refused: the form that was posted for it, if it was not good.
    """
    return KindRow(
        facts=facts,
        name=format_html_join(
            mark_safe(".<wbr>"), "{}", ((part,) for part in facts.label.split("."))
        ),
        address=reverse(
            "admin:operator_app_operation_kind",
            args=[facts.label],
            current_app=model_admin.admin_site.name,
        ),
        badges=badges(facts),
        counts=_counts(model_admin, facts),
        ended_hour=formats.number_format(facts.hour.ended, force_grouping=True),
        ended_day=formats.number_format(facts.day.ended, force_grouping=True),
        failure_rate=charts.percent(facts.day.failure_rate),
        median=durations.percentile(facts.day.durations, 0.5),
        high=durations.percentile(facts.day.durations, 0.95),
        picture=durations.picture(facts.day.durations),
        policy="" if facts.model is None else policy_words.in_short(facts.model),
        control=_control(request, facts, number, refused),
    )


def may_view(request: HttpRequest, facts: KindFacts) -> bool:
    """Whether the user may see operations of a kind; where its class is gone, of all kinds."""
    return permissions.may(request, "view", facts.model or Operation)


def act(request: HttpRequest) -> tuple[str, PauseForm | None]:
    """Pause or resume the kind that is posted; return its label, and the form if it was refused.

    Raises:
        Http404: if there is no such kind.
        PermissionDenied: if the user may not.
    """
    try:
        model = kinds.of_label(request.POST.get("kind", ""))
    except ValueError as error:
        raise Http404(str(error)) from error
    return model._meta.label, pausing.act(request, Scope(kind=model))


def badges(facts: KindFacts) -> list[SafeString]:
    """Return what keeps operations of a kind waiting, each with its reason in a tooltip."""
    return [pausing.badge(each, _label_of(each)) for each in facts.pauses]


def _label_of(pause: Pause) -> str:
    if pause.from_breaker:
        return gettext("circuit open")
    if pause.queue:
        return gettext("paused in %s") % pause.queue
    return gettext("paused") if pause.kind_id is not None else gettext("everything paused")


def _counts(model_admin: AnyModelAdmin, facts: KindFacts) -> list[Count]:
    listed = display.page(model_admin.admin_site, Operation)
    return [
        Count(
            state,
            display.STATES[state],
            number,
            f"{listed}?{urlencode({'kind': facts.label, 'state': state})}",
        )
        for state, number in facts.states.items()
    ]


def _control(
    request: HttpRequest, facts: KindFacts, number: int, refused: PauseForm | None
) -> Control | None:
    if facts.model is None:
        return None  # Nobody who had the class could be told by its label.
    resumes = facts.own_pause is not None or facts.is_open
    scope = Scope(kind=facts.model)
    return pausing.control(request, scope, resumes=resumes, number=number, refused=refused)
