"""How run times and lateness are spread: in bars, and in a picture as large as a word."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from operator_app.admin import display
from operator_app.moments import in_words

if TYPE_CHECKING:
    from operator_app.histogram import Histogram

EDGES: Final = (
    *(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
    *(60.0, 180.0, 600.0, 1_800.0, 3_600.0, 10_800.0, math.inf),
)
"""Seconds at which the bars end: round ones, each about three times the one before."""
SLACK: Final = 1.1
"""By how much a bucket may reach past the end of a bar that it is put into."""

BAR, GAP, HEIGHT = 5, 1, 18
"""The size of the picture's bars, in its own units."""


class Bar(NamedTuple):
    """How many took up to so long, and longer than the bar before."""

    label: str
    number: int


def bars(histogram: Histogram) -> list[Bar]:
    """Return the bars of a histogram, from the first that is not empty to the last. Buckets are put
    where they end, so that a bar may hold a few that its neighbour should.
    """
    counts = [0] * len(EDGES)
    for upper, count in histogram.buckets():
        place = next(place for place, edge in enumerate(EDGES) if upper <= edge * SLACK)
        counts[place] += count
    filled = [place for place, count in enumerate(counts) if count]
    if not filled:
        return []
    span = range(filled[0], filled[-1] + 1)
    return [Bar(_label(EDGES[place]), counts[place]) for place in span]


def percentile(histogram: Histogram, share: float) -> str:
    """Return how long it took in a share of cases at most, for people; empty if nothing is known.

    Args:
        histogram: of seconds.
        share: 0.95 for the 95th percentile.
    """
    found = histogram.percentile(share)
    return "" if found is None else in_words(found)


def picture(histogram: Histogram) -> SafeString | str:
    """Return a histogram as large as a word; what it shows is told to screen readers by the
    percentiles beside it. A dash if nothing is known.
    """
    shown = bars(histogram)
    if not shown:
        return display.NOTHING
    most = max(bar.number for bar in shown)
    rects = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>',
        (
            (place * (BAR + GAP), HEIGHT - height, BAR, height, bar.label, bar.number)
            for place, bar in enumerate(shown)
            # What is there can be seen, however little it is.
            for height in [max(1 if bar.number else 0, round(HEIGHT * bar.number / most))]
        ),
    )
    width = len(shown) * (BAR + GAP) - GAP
    return format_html(
        '<svg class="operator-spark" width="{}" height="{}" viewBox="0 0 {} {}" aria-hidden="true">'
        "{}</svg>",
        *(width, HEIGHT, width, HEIGHT, rects),
    )


def _label(edge: float) -> str:
    if math.isinf(edge):
        return gettext("longer")
    return gettext("≤ %s") % in_words(edge)
