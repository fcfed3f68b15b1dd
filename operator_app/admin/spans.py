"""The filter by time: what was due, has ended or was made in a span."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.admin import ListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display
from operator_app.admin.moments import MomentField
from operator_app.models.choice import TIMES

WITHIN: Final = {
    "1h": (timedelta(hours=1), _("in the last hour")),
    "24h": (timedelta(hours=24), _("in the last 24 hours")),
    "7d": (timedelta(days=7), _("in the last 7 days")),
}
"""Spans that end now."""


class SpanForm(forms.Form):
    """Which moment, and in which span."""

    time = forms.ChoiceField(
        label=_("Which time"),
        choices=[("due", _("due")), ("ended", _("ended")), ("created", _("created"))],
    )
    within = forms.ChoiceField(
        label=_("When"),
        choices=[
            ("", _("from … until")),
            *((name, words) for name, (_span, words) in WITHIN.items()),
        ],
        required=False,
    )
    since = MomentField(
        label=_("From"),
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    until = MomentField(
        label=_("Until"),
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )


class TimeFilter(ListFilter):
    """Operations of a span of time, by the parameters `time` (due, ended, created) and `within`
    (1h, 24h, 7d), or `since` and `until`. No queries.
    """

    title = _("time")
    parameter_name = "time"
    template = "operator_app/admin/time_filter.html"
    others: list[tuple[str, str]]
    """The other parameters of the list, which the form of the filter keeps."""

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        if self.parameter_name in params:
            for name in self.expected_parameters():
                if name in params:
                    self.used_parameters[name] = params.pop(name)[-1]
        self.form = SpanForm(self.used_parameters or None, auto_id="operator-span-%s")
        if self.used_parameters and not self.form.is_valid():
            for errors in self.form.errors.values():
                messages.error(request, " ".join(map(str, errors)))
        self.others = []

    def expected_parameters(self) -> list[str | None]:
        """The fields of the form."""
        return [*SpanForm.base_fields]

    def has_output(self) -> bool:
        """Always."""
        return True

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """None: the form is shown instead, with what else the list is filtered by."""
        mine = self.expected_parameters()
        self.others = [
            (name, value)
            for name, values in sorted(changelist.filter_params.items())
            for value in (values if isinstance(values, list) else [values])
            if name not in mine
        ]
        return iter(())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of which one of the moments is in the span; all if there is none, or it is none."""
        since, until = self._span(clock.now(queryset.db))
        if since is None and until is None:
            return queryset
        found = Q()
        for column in TIMES[self.form.cleaned_data["time"]]:
            bounds = {f"{column}__gte": since, f"{column}__lte": until}
            found |= Q(**{name: moment for name, moment in bounds.items() if moment})
        return queryset.filter(found)

    def words(self) -> str:
        """Return the span in words; empty if there is none."""
        if not self.form.is_bound or not self.form.is_valid():
            return ""
        chosen = self.form.cleaned_data
        if chosen["within"]:
            return f"{self._label('time')} {self._label('within')}"
        parts = [
            f"{self.form.fields[name].label} {display.exact(chosen[name])}"
            for name in ("since", "until")
            if chosen[name]
        ]
        return " ".join([self._label("time"), *parts]) if parts else ""

    def _label(self, name: str) -> str:
        field: Any = self.form.fields[name]
        return str(dict(field.choices)[self.form.cleaned_data[name]])

    def _span(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        if not self.form.is_bound or not self.form.is_valid():
            return None, None
        chosen = self.form.cleaned_data
        if chosen["within"]:
            return now - WITHIN[chosen["within"]][0], now
        return chosen["since"], chosen["until"]
