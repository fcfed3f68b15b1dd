"""The page of one kind: how its operations are getting on, how they are run, when they recur."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import charts, display, durations, kind_row, policy_words
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.pages import Page
from operator_app.admin.pausing import PauseForm
from operator_app.admin.strip import strip
from operator_app.models import Operation, Recurrence, kind_facts, kinds, results, tallies
from operator_app.models.kind_facts import DAY, HOUR, KindFacts
from operator_app.moments import later

if TYPE_CHECKING:
    from operator_app.histogram import Histogram

RECURRENCES: Final = 50
"""How many recurrences of a kind are shown."""


class Recurring(NamedTuple):
    """A recurrence of the kind."""

    name: SafeString | str
    words: str
    time_zone: str
    next_at: SafeString | None
    strip: SafeString | str


def _context(
    model_admin: AnyModelAdmin, request: HttpRequest, label: str, refused: PauseForm | None = None
) -> dict[str, Any]:
    alias = router.db_for_read(Operation)
    now = clock.now(alias)
    kind_id = kinds.id_of_label(label, alias)
    if kind_id is None:
        raise Http404(f"There is no kind {label}.")
    (facts,) = kind_facts.look(alias, now, only=kind_id)
    if not facts.is_known:
        raise Http404(f"There is no kind {label}.")
    if not kind_row.may_view(request, facts):
        raise PermissionDenied
    site = model_admin.admin_site
    return {
        "title": facts.label,
        "row": kind_row.row(model_admin, request, facts, refused=refused),
        "pauses": [f"{pause.sentence}." for pause in facts.pauses],
        "circuit": _circuit(facts, now),
        "charts": _charts(facts, alias, now),
        "clauses": [] if facts.model is None else policy_words.clauses(facts.model),
        "recurrences": _recurrences(site, request, kind_id, alias, now),
        "own_page": _own_page(site, request, facts),
    }


def _act(model_admin: AnyModelAdmin, request: HttpRequest, label: str) -> HttpResponseBase:
    posted, refused = kind_row.act(request)
    if refused is None:
        return HttpResponseRedirect(PAGE.address(model_admin.admin_site, label=posted))
    return PAGE.show(model_admin, request, _context(model_admin, request, posted, refused))


def _circuit(facts: KindFacts, now: datetime) -> str:
    """Return how its circuit is, for people; empty if it has none."""
    breaker: Any = None if facts.model is None else facts.model.resolved_policy().circuit_breaker
    if not breaker:
        return ""
    if facts.is_open:
        outlook = "" if facts.circuit is None else facts.circuit.outlook(now)
        return gettext("open: %s") % outlook if outlook else gettext("open")
    moments = [] if facts.circuit is None else facts.circuit.failed_at
    recent = len(breaker.recent(moments))
    return gettext("closed, with %(count)d of %(limit)d failures") % {
        "count": recent,
        "limit": breaker.failures,
    }


def _charts(facts: KindFacts, alias: str, now: datetime) -> list[SafeString]:
    """Return what was within 24 hours. One query."""
    hours = tallies.series(alias, later(now, -DAY), now, int(HOUR), kind_id=facts.kind_id)
    times = [f"{clock.local(begin):%H:%M}" for begin, _hour in hours]
    ended: dict[str, list[float]] = {
        gettext("finished"): [hour.finished for _begin, hour in hours],
        gettext("failed"): [hour.failed for _begin, hour in hours],
    }
    rates = [hour.failure_rate for _begin, hour in hours]
    percent = {gettext("failed"): [None if rate is None else 100 * rate for rate in rates]}
    return [
        charts.columns(
            gettext("Ended in each hour"), times, ended, stacked=True, tones=("good", "bad")
        ),
        charts.lines(gettext("Attempts that failed"), times, percent, unit="%", tones=("bad",)),
        _spread(gettext("Run times"), facts.day.durations),
        _spread(gettext("Lateness"), facts.day.delays),
    ]


def _spread(title: str, histogram: Histogram) -> SafeString:
    shown = durations.bars(histogram)
    numbers: dict[str, list[float]] = {gettext("attempts"): [bar.number for bar in shown]}
    return charts.columns(title, [bar.label for bar in shown], numbers)


def _recurrences(
    site: AdminSite, request: HttpRequest, kind_id: int, alias: str, now: datetime
) -> list[Recurring]:
    """Return what makes operations of the kind. Three queries; none if that is not for the user."""
    if not request.user.has_perm("operator_app.view_recurrence"):
        return []
    rows = Recurrence.objects.using(alias).filter(kind_id=kind_id).order_by("name")
    found = list(rows[:RECURRENCES])
    strips = results.latest(found, alias)
    return [
        Recurring(
            display.link(site, each, each.name),
            each.words,
            each.time_zone,
            display.moment(each.next_run_at, now),
            strip(site, strips[each.pk], now),
        )
        for each in found
    ]


def _own_page(site: AdminSite, request: HttpRequest, facts: KindFacts) -> str | None:
    """Return where the kind's own admin is, if it has one and the user may see it."""
    if facts.model is None or not site.is_registered(facts.model):
        return None
    if not site.get_model_admin(facts.model).has_view_permission(request):
        return None
    return display.page(site, facts.model)


PAGE: Final = Page(
    name="kind",
    title=_("Kind"),
    template="operator_app/admin/kind.html",
    context=_context,
    permission="view_kinds",
    act=_act,
    route="kinds/<str:label>/",
    css=("operator_app/kinds.css",),
)
