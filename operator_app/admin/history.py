"""How long earlier runs of a kind took, as the page of an operation shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from operator_app import clock
from operator_app.admin import charts, details, display
from operator_app.models import Operation, latest

SHOWN: Final = 50
"""How many runs are shown."""
FEWEST: Final = 2
"""Fewer runs tell nothing of what is usual."""
TONES: Final = {"finished": "good", "failed": "bad", "cancelled": "gone"}
"""The colours of their columns."""


class Run(NamedTuple):
    """An earlier run, as it is listed."""

    pk: int
    page: str
    badge: SafeString
    ended: SafeString | None
    took: str
    seconds: float
    state: str
    is_this: bool


def context(site: AdminSite, model: type[Operation], operation: Operation) -> dict[str, Any]:
    """Return the chart of earlier runs and their list; nothing if there are too few. Two queries.

    Args:
        site: where the pages are.
        model: whose pages the runs are linked to: the kind, or `Operation`.
        operation: the one that is looked at. If it has ended, the runs are those up to it; if not,
            the latest ones.
    """
    ended = details.ended_at(operation) is not None
    runs = [
        _run(site, model, row, is_this=row.pk == operation.pk)
        for row in latest.runs(operation, SHOWN, up_to=operation.pk if ended else None)
    ]
    if len(runs) < FEWEST:
        return {}
    return {"operator_runs": runs, "operator_runs_chart": _chart(runs[::-1])}


def _run(site: AdminSite, model: type[Operation], row: Operation, *, is_this: bool) -> Run:
    begun, ended = row.begun_run_at or row.started_run_at, details.ended_at(row)
    assert begun is not None and ended is not None
    state = row.state
    return Run(
        pk=row.pk,
        page=display.page(site, model, row.pk),
        badge=display.badge(state, display.STATES),
        ended=display.moment(ended, clock.now(row._alias)),
        took=display.duration(begun, ended),
        seconds=max((ended - begun).total_seconds(), 0.0),
        state=state,
        is_this=is_this,
    )


def _chart(runs: Sequence[Run]) -> SafeString:
    """Return the runs as columns, the oldest first, one series for each state so that each has its
    colour.
    """
    labels = [f"#{run.pk} ◂" if run.is_this else f"#{run.pk}" for run in runs]
    states = [state for state in TONES if any(run.state == state for run in runs)]
    series = {
        str(display.STATES[state]): [run.seconds if run.state == state else None for run in runs]
        for state in states
    }
    title = gettext("How long they took")
    tones = [TONES[state] for state in states]
    return charts.columns(title, labels, series, stacked=True, unit="s", tones=tones)
