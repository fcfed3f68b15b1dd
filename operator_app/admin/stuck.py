"""The page of what is stuck: where, for how long, why, and what will become of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import router
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import details, display
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.pages import Page
from operator_app.admin.unsticking import DEEDS, MOST, act, viewable, what_can_be_done
from operator_app.models import Operation, OperatorProcess, states, tallies
from operator_app.models.outlook import outlook
from operator_app.moments import in_words

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

USUAL: Final = timedelta(days=7)
"""Of which span the usual duration of a kind is."""


class Button(NamedTuple):
    """A deed for one operation."""

    value: str
    label: Words


class Row(NamedTuple):
    """A stuck operation, as it is shown."""

    operation: Operation
    page: str
    kind: str | SafeString
    operator: str | SafeString
    beat: SafeString | None
    running_for: str
    usual: str
    reason: str
    outlook: str
    is_lost: bool
    buttons: list[Button]


def context(model_admin: AnyModelAdmin, request: HttpRequest) -> dict[str, Any]:
    """Return what the template needs. Three queries."""
    alias = router.db_for_read(Operation)
    now = clock.now(alias)
    found = viewable(request, alias).stuck(now).select_related("operator")
    # In the order of the index of what has started.
    rows = list(found.order_by("operator_id", "started_run_at")[: MOST + 1])
    shown = list(_rows(model_admin, request, rows[:MOST], now)) if rows else []
    offered = {button.value.partition(":")[0] for row in shown for button in row.buttons}
    return {
        "rows": shown,
        "is_cut": len(rows) > MOST,
        "shown_at_most": MOST,
        "deeds": [Button(name, deed.label) for name, deed in DEEDS.items() if name in offered],
    }


PAGE: Final = Page(
    "stuck",
    _("Stuck"),
    "operator_app/admin/stuck.html",
    context,
    act=act,
    css=(display.FLEET_MEDIA,),
)


def _rows(
    model_admin: AnyModelAdmin, request: HttpRequest, rows: list[Operation], now: datetime
) -> Iterator[Row]:
    alias = rows[0]._alias
    someone_lives = OperatorProcess.objects.using(alias).alive(now).exists()
    theirs = {row.kind_id for row in rows}
    summaries = tallies.summary(alias, now - USUAL, now, by="kind", kind_ids=theirs)
    site = model_admin.admin_site
    for row in rows:
        operator = states.operator_of(row)
        since = row.begun_run_at or row.started_run_at
        summary = summaries.get(row.kind_id)
        usual = None if summary is None else summary.durations.percentile(0.95)
        assert since is not None
        yield Row(
            row,
            display.page(site, Operation, row.pk),
            details.kind_name(row),
            display.operator_link(site, row),
            None if operator is None else display.moment(operator.heartbeat_at, now),
            in_words((now - since).total_seconds()),
            display.NOTHING if usual is None else in_words(usual),
            states.stuck_reason(row),
            outlook(row, now, someone_lives=someone_lives),
            operator is None or not operator.is_alive(now),
            [
                Button(f"{name}:{row.pk}", DEEDS[name].label)
                for name in what_can_be_done(request, row)
            ],
        )
