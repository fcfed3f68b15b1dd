"""The page of queues: what waits in each, and who takes it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from django.db import router
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils import formats
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display, pausing
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.pages import Page
from operator_app.admin.pausing import Control, PauseForm, Scope
from operator_app.models import Operation, Pause, queue_facts
from operator_app.models.queue_facts import QueueFacts
from operator_app.moments import in_words
from operator_app.validation import check_queue

LEAST: Final = 0.1
"""The least throughput that is told apart from a lower one."""
OPERATORS: Final = 3
"""How many of those who serve a queue are named."""


class QueueRow(NamedTuple):
    """A queue, as the page shows it."""

    facts: QueueFacts
    listed: str
    """Where its operations are listed, but for their state."""
    badges: list[SafeString]
    late: str
    per_minute: str
    operators: list[SafeString | str]
    more_operators: str
    control: Control | None


def _row(
    model_admin: AnyModelAdmin,
    request: HttpRequest,
    facts: QueueFacts,
    number: int,
    refused: PauseForm | None,
) -> QueueRow:
    site = model_admin.admin_site
    resumes = facts.own_pause is not None
    late = facts.waits.late
    more = len(facts.operators) - OPERATORS
    return QueueRow(
        facts=facts,
        listed=f"{display.page(site, Operation)}?{urlencode({'queue': facts.name})}",
        badges=[pausing.badge(each, _label_of(each)) for each in facts.pauses],
        late=display.NOTHING if late is None else in_words(max(0.0, late)),
        per_minute=_rate(facts.hour.ended),
        operators=[
            display.link(site, each, gettext("%s (leaving)") % each if each.draining else str(each))
            for each in facts.operators[:OPERATORS]
        ],
        more_operators=ngettext("and %(n)d more", "and %(n)d more", more) % {"n": more}
        if more > 0
        else "",
        control=pausing.control(
            request, Scope(queue=facts.name), resumes=resumes, number=number, refused=refused
        ),
    )


def _label_of(pause: Pause) -> str:
    if pause.kind_id is None:
        return gettext("paused") if pause.queue else gettext("everything paused")
    return gettext("paused for some kinds")


def _rate(ended: int) -> str:
    per_minute = ended / 60
    if 0 < per_minute < LEAST:
        return f"< {formats.number_format(LEAST)}"
    return formats.number_format(per_minute, 1 if 0 < per_minute < 10 else 0, force_grouping=True)


def _context(
    model_admin: AnyModelAdmin,
    request: HttpRequest,
    name: str = "",
    refused: PauseForm | None = None,
) -> dict[str, Any]:
    alias = router.db_for_read(Operation)
    found = queue_facts.look(alias, clock.now(alias))
    rows = [
        _row(model_admin, request, facts, number, refused if facts.name == name else None)
        for number, facts in enumerate(found.shown)
    ]
    return {"rows": rows, "left_out": found.left_out, "shown": len(rows)}


def _act(model_admin: AnyModelAdmin, request: HttpRequest) -> HttpResponseBase:
    try:
        name = check_queue(request.POST.get("queue", ""))
    except ValueError as error:
        raise Http404(str(error)) from error
    refused = pausing.act(request, Scope(queue=name))
    if refused is None:
        return HttpResponseRedirect(PAGE.address(model_admin.admin_site))
    return PAGE.show(model_admin, request, _context(model_admin, request, name, refused))


PAGE: Final = Page(
    name="queues",
    title=_("Queues"),
    template="operator_app/admin/queues.html",
    context=_context,
    act=_act,
    css=("operator_app/kinds.css",),
)
