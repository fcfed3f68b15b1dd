"""How tracebacks and stacks look: the project's own calls stand out, those of libraries fold."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from operator_app import tracebacks
from operator_app.admin import display
from operator_app.tracebacks import Passage

NAMED = 3
"""How many libraries the line of a fold names."""


def shown(text: str, label: str) -> str | SafeString:
    """Return a traceback or a stack, escaped; a dash for none. No queries.

    Where all calls are in libraries, none is folded: there is nothing that would stand out.

    Args:
        text: as it was stored.
        label: what it is, for screen readers: it can be scrolled, and so is a landmark.
    """
    if not text:
        return display.NOTHING
    passages = tracebacks.passages(text)
    fold = any(each.is_stack and not each.libraries for each in passages)
    return format_html(
        '<div class="operator-trace" role="region" aria-label="{}" tabindex="0">{}</div>',
        label,
        format_html_join("", "{}", ((_passage(each, fold=fold),) for each in passages)),
    )


def _passage(passage: Passage, *, fold: bool) -> SafeString:
    if not passage.is_stack:
        return format_html('<pre class="operator-said">{}</pre>', passage.text)
    if not passage.libraries or not fold:
        own = "" if passage.libraries else "operator-own-call"
        return format_html('<pre class="operator-call {}">{}</pre>', own, passage.text)
    return format_html(
        '<details class="operator-library"><summary>{}</summary><pre>{}</pre></details>',
        _folded(passage),
        passage.text,
    )


def _folded(passage: Passage) -> str:
    """Return "5 calls in django, psycopg"."""
    names = ", ".join(passage.libraries[:NAMED])
    if len(passage.libraries) > NAMED:
        names = gettext("%s and others") % names
    words = ngettext("%(count)d call in %(names)s", "%(count)d calls in %(names)s", passage.calls)
    return words % {"count": passage.calls, "names": names}
