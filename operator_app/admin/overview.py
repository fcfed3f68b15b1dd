"""The overview: how operations are getting on, at one look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.db import router
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import charts, display
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.pages import Page
from operator_app.models import Operation, OperatorProcess
from operator_app.models.forecast import Forecast, look_ahead
from operator_app.models.overview import Overview, QueueView, look
from operator_app.models.rates import MEDIAN, TAIL, Rate
from operator_app.models.tallies import Summary, series
from operator_app.moments import in_words

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

REFRESH: Final = 10
"""Seconds after which an open page shows itself anew: operators add up as often."""


@dataclass(frozen=True)
class Span:
    """A time that the charts show."""

    name: str
    title: Words
    each: Words
    seconds: int
    step: int
    time_format: str

    def label(self, moment: datetime) -> str:
        """Return what stands below a column. Days are those of UTC, as the tallies have them."""
        if timezone.is_aware(moment) and self.step < CHARTED["month"].step:
            moment = timezone.localtime(moment)
        return str(formats.date_format(moment, self.time_format))


CHARTED: Final = {
    span.name: span
    for span in (
        Span("hour", _("Last hour"), _("minute"), 3_600, 60, "H:i"),
        Span("day", _("Last 24 hours"), _("half-hour"), 86_400, 1_800, "H:i"),
        Span("month", _("Last 30 days"), _("day (UTC)"), 30 * 86_400, 86_400, "j M"),
    )
}
"""What the charts can show, by the value of `?span=`."""


class Card(NamedTuple):
    """A state, how many operations are in it, and where they are listed."""

    badge: SafeString
    number: str
    address: str


class RateRow(NamedTuple):
    """A line of the table of rates."""

    title: Words
    ended: str
    failed: str
    failure_rate: str
    duration: str
    late: str


class Choice(NamedTuple):
    """A time that the charts can show."""

    title: Words
    address: str
    is_current: bool


TITLES: Final = {"minute": _("last minute"), "hour": _("last hour"), "day": _("last 24 hours")}


def context(model_admin: AnyModelAdmin, request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows. Queries as `look()` and `look_ahead()`, and one for
    the charts.
    """
    site = model_admin.admin_site
    alias = router.db_for_read(Operation)
    now = clock.now(alias)
    span = CHARTED.get(request.GET.get("span", ""), CHARTED["hour"])
    found = look(alias, now)
    return {
        "overview": found,
        "warnings": warnings(found),
        "operators": [(each, display.load(each.load, each.capacity)) for each in found.operators],
        "cards": _cards(site, found),
        "rates": [_rate_row(TITLES[name], rate) for name, rate in found.rates.items()],
        "spans": [
            Choice(each.title, f"?{urlencode({'span': each.name})}", each is span)
            for each in CHARTED.values()
        ],
        "charts": _charts(alias, now, span),
        "forecast": _forecast_chart(look_ahead(alias, now)),
        "oldest": _oldest(found.queues),
        "operators_page": _page_of(site, OperatorProcess),
        "refresh": REFRESH,
    }


def warnings(found: Overview) -> list[str]:
    """Return what somebody should see to at once, in sentences. No queries."""
    said = []
    due = [queue for queue in found.queues if queue.due.count and not queue.paused]
    working = [each for each in found.operators if not each.draining]
    if due and not working:
        said.append(gettext("Operations are due, and no operator lives that would run them."))
        return said
    for queue in due:
        if not any(not each.queues or queue.name in each.queues for each in working):
            words = gettext(
                "Operations are due in the queue “%(queue)s”, which no live operator serves."
            )
            said.append(words % {"queue": queue.name})
    stuck = found.states["stuck"]
    if stuck.count:
        said.append(
            ngettext(
                "%(number)s operation is stuck.", "%(number)s operations are stuck.", stuck.count
            )
            % {"number": stuck}
        )
    return said


def _cards(site: AdminSite, found: Overview) -> list[Card]:
    page = display.page(site, Operation)
    return [
        Card(
            display.badge(state, display.STATES),
            str(number),
            f"{page}?{urlencode({'state': state})}",
        )
        for state, number in found.states.items()
    ]


def _rate_row(title: Words, rate: Rate) -> RateRow:
    return RateRow(
        title,
        f"{charts.number(rate.ended)} ({_pace(rate.per_second)})",
        charts.number(rate.failed + rate.retried),
        charts.percent(rate.failure_rate),
        rate.run_time or display.NOTHING,
        rate.lateness or display.NOTHING,
    )


def _pace(per_second: float) -> str:
    """Return how often something happens, in the unit in which it is one or more."""
    if per_second >= 1:
        return gettext("%(n)s/s") % {"n": charts.number(per_second)}
    if 60 * per_second >= 1:
        return gettext("%(n)s/min") % {"n": charts.number(60 * per_second)}
    return gettext("%(n)s/h") % {"n": charts.number(3_600 * per_second)}


def _charts(alias: str, now: datetime, span: Span) -> list[SafeString]:
    steps = series(alias, now - timedelta(seconds=span.seconds), now, span.step)
    labels = [span.label(moment) for moment, _found in steps]
    found = [each for _moment, each in steps]
    ended: dict[str, list[float | None]] = {
        gettext("finished"): [each.finished for each in found],
        gettext("failed"): [each.failed for each in found],
        gettext("to be retried"): [each.retried for each in found],
        gettext("cancelled"): [each.cancelled + each.aborted for each in found],
    }
    title = gettext("Attempts that ended, per %(step)s") % {"step": span.each}
    tones = ("good", "bad", "warn", "gone")
    return [
        charts.columns(title, labels, ended, stacked=True, tones=tones),
        charts.lines(
            gettext("How long they ran"), labels, _percentiles(found, "durations"), unit="s"
        ),
        charts.lines(
            gettext("How late they began"), labels, _percentiles(found, "delays"), unit="s"
        ),
    ]


def _percentiles(found: Sequence[Summary], name: str) -> dict[str, list[float | None]]:
    return {
        gettext("median"): [getattr(each, name).percentile(MEDIAN) for each in found],
        gettext("95 % within"): [getattr(each, name).percentile(TAIL) for each in found],
    }


def _forecast_chart(found: Forecast) -> dict[str, Any]:
    """Return the chart of what is to come, and until when it knows everything."""
    labels = [CHARTED["day"].label(hour.start) for hour in found.hours]
    expected: dict[str, list[float | None]] = {
        gettext("scheduled"): [hour.scheduled for hour in found.hours],
        gettext("by recurrences"): [hour.recurring for hour in found.hours],
    }
    title = gettext("To begin in the next 24 hours, per hour")
    until = found.counted_until
    return {
        "chart": charts.columns(title, labels, expected, stacked=True, tones=("active", "due")),
        "counted_until": None if until is None else display.exact(until),
    }


def _oldest(queues: Sequence[QueueView]) -> list[tuple[str, str, bool]]:
    """Return the queues in which something is due: since when, and whether that is paused."""
    late = sorted(
        (queue for queue in queues if queue.late is not None), key=lambda each: -(each.late or 0)
    )
    return [(each.name, in_words(each.late or 0), each.paused) for each in late]


def _page_of(site: AdminSite, model: type[Any]) -> str:
    return display.page(site, model) if site.is_registered(model) else ""


PAGE: Final = Page(
    "overview",
    _("Overview"),
    "operator_app/admin/overview.html",
    context,
    css=("operator_app/overview.css",),
    js=("operator_app/refresh.js",),
)
