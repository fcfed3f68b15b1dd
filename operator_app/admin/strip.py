"""The strip: how the last operations of a recurrence have ended, a cell for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.contrib.admin import AdminSite
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy

from operator_app.admin import display
from operator_app.models import Operation
from operator_app.models.results import Result
from operator_app.moments import in_words

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

WORDS: Final[dict[str, Words]] = {
    **display.STATES,
    "skipped": pgettext_lazy("slot", "skipped"),
    "queued": pgettext_lazy("slot", "queued"),
    "gone": pgettext_lazy("slot", "deleted since"),
}
"""What may have become of a slot."""


def strip(site: AdminSite, results: Sequence[Result], now: datetime) -> SafeString | str:
    """Return results as a row of cells in colour, oldest first, each with a link to its operation;
    a dash for none. No queries.
    """
    if not results:
        return display.NOTHING
    cells = format_html_join("", "<li>{}</li>", ((_cell(site, each, now),) for each in results))
    label = gettext("Last results, oldest first: %s") % _tally(results)
    return format_html('<ol class="operator-strip" aria-label="{}">{}</ol>', label, cells)


def sentence(result: Result, now: datetime) -> str:
    """Return "finished, 12 s, 3 h ago" for a result."""
    parts = [str(WORDS.get(result.state, result.state))]
    if result.took is not None:
        parts.append(in_words(result.took))
    parts.append(display.ago(result.ended_at or result.slot, now, short=True))
    if result.operation_id is None and result.reason:
        parts.append(result.reason)
    return ", ".join(parts)


def _cell(site: AdminSite, result: Result, now: datetime) -> SafeString:
    words = sentence(result, now)
    state = result.state if result.state in WORDS else "unknown"
    look = f"operator-cell operator-{state}"
    text = format_html('<span class="visually-hidden">{}</span>', words)
    is_there = result.operation_id is not None and result.state != "gone"
    if not is_there or not site.is_registered(Operation):
        return format_html('<span class="{}" title="{}">{}</span>', look, words, text)
    page = display.page(site, Operation, result.operation_id)
    return format_html('<a class="{}" title="{}" href="{}">{}</a>', look, words, page, text)


def _tally(results: Sequence[Result]) -> str:
    counts = Counter(result.state for result in results)
    return ", ".join(f"{count} {WORDS.get(state, state)}" for state, count in counts.most_common())
