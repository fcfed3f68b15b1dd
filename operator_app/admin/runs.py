"""Something done to all that match, however many that are: in chunks, in the order of their ids.

A request does as many chunks as it has time for, writes down how far it has come, and leads to a
page that shows it and posts the next request. So no request takes long, no transaction is large, a
page can be reloaded, and who closes it has stopped it. What is made meanwhile is not touched: it
has a higher id than there was when the question was asked.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, DELETION
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, router, transaction
from django.db.models import Min, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.crypto import get_random_string
from django.utils.translation import gettext

from operator_app import clock
from operator_app.admin import audit, confirmation, details, permissions, selection
from operator_app.admin.pages import frame
from operator_app.admin.run import Run, keep, kept
from operator_app.admin.verbs import DELETE, VERBS, Verb, Wish
from operator_app.exceptions import OperationExists, OperationStarted, OperatorError
from operator_app.models import Changed, Operation, counts, states
from operator_app.models.search import LARGEST_ID

if TYPE_CHECKING:
    from operator_app.admin.access import OperationAccess

RUN: Final = "_run"
"""The parameter of the page that shows how far one has come."""
UNTIL: Final = "_until"
"""Posted with the question's answer: the newest id when it was asked."""

BUDGET: Final = 5.0
"""Seconds that a request works."""
CHUNK: Final = 1_000
"""How many operations are changed at once."""
SPAN: Final = 250_000
"""Among how many ids the next chunk is looked for at once."""
TEMPLATE: Final = "operator_app/admin/run.html"
SCRIPT: Final = "operator_app/run.js"


def act(
    admin: OperationAccess, request: HttpRequest, rows: QuerySet[Any], verb: Verb
) -> HttpResponse:
    """Ask whether it shall be done to all of these; begin with it if that was answered."""
    form = confirmation.WhenForm(request.POST if verb.takes_time else None)
    confirmed = confirmation.CONFIRMED in request.POST
    if not confirmed or (verb.takes_time and not form.is_valid()):
        return _ask(admin, request, rows, verb, form if confirmed else confirmation.WhenForm())
    when: datetime | None = form.cleaned_data["when"] if verb.takes_time else None
    operations = Operation.all_objects.using(router.db_for_write(admin.model))
    first = (operations.aggregate(first=Min("pk"))["first"] or 1) - 1
    until = min(_number(request.POST.get(UNTIL)), counts.newest_id(operations.db))
    run = Run(verb.action, first, first, until, when.isoformat() if when else None)
    flag = DELETION if verb is DELETE else CHANGE
    what = audit.all_that_match(request.GET.urlencode())
    run.entry = audit.log_many(request, admin.model, what, _note(run, verb), flag)
    token = get_random_string(12)
    _go_on(admin, request, rows, run, token)
    return HttpResponseRedirect(_address(request, token))


def going(admin: OperationAccess, request: HttpRequest) -> HttpResponse | None:
    """Show one that is going on, or go on with it; None if the request is of none."""
    token = request.GET.get(RUN)
    if token is None:
        return None
    left = request.GET.copy()
    del left[RUN]
    request.GET = left  # type: ignore[assignment]
    run = kept(request).get(token)
    if run is None:
        return HttpResponseRedirect(_address(request))
    verb = VERBS[run.action]
    if not admin.has_view_permission(request) or not permissions.may_some(
        request, verb.permission, admin.model
    ):
        raise PermissionDenied
    if run.is_over:
        return _end(admin, request, run, token)
    if request.method != "POST":
        return _page(admin, request, run)
    rows = admin.get_changelist_instance(request).get_queryset(request)
    _go_on(admin, request, rows, run, token)
    return HttpResponseRedirect(_address(request, token))


def _ask(
    admin: OperationAccess,
    request: HttpRequest,
    rows: QuerySet[Any],
    verb: Verb,
    form: confirmation.WhenForm,
) -> HttpResponse:
    changelist: Any = admin.get_changelist_instance(request)
    numbers = changelist.numbers
    if numbers is None:
        numbers = counts.of_first(rows, clock.now(rows.db))
    elif (state := changelist.params.get("state")) in numbers:
        numbers = {state: numbers[state]}
    alias = router.db_for_write(admin.model)
    allowed = permissions.kinds_allowed(request, verb.permission, admin.model, alias)
    fields = [
        ("select_across", "1"),
        (ACTION_CHECKBOX_NAME, request.POST.get(ACTION_CHECKBOX_NAME, "")),
        (UNTIL, counts.newest_id(alias)),
    ]
    forbidden = 0 if allowed is None else None
    return confirmation.page(
        *(admin, request, verb, numbers, fields), forbidden=forbidden, form=form
    )


def _go_on(
    admin: OperationAccess, request: HttpRequest, rows: QuerySet[Any], run: Run, token: str
) -> None:
    """Do some chunks, at least one; keep how far that went."""
    verb = VERBS[run.action]
    enough = time.monotonic() + BUDGET
    while not run.is_over:
        try:
            _do_chunk(admin, request, rows, run, verb)
        except (OperationStarted, OperationExists, IntegrityError, Refused) as refusal:
            run.stopped = details.refusal(refusal)
        if time.monotonic() >= enough:
            break
    audit.go_on(run.entry, _note(run, verb))
    keep(request, kept(request) | {token: run})


def _do_chunk(
    admin: OperationAccess, request: HttpRequest, rows: QuerySet[Any], run: Run, verb: Verb
) -> None:
    alias = router.db_for_write(admin.model)
    high = min(run.position + SPAN, run.until)
    rows = rows.using(alias).filter(pk__gt=run.position, pk__lte=high)
    chosen = list(rows.order_by("pk").values_list("pk", "kind_id")[:CHUNK])
    mine, forbidden = selection.divide(admin, request, verb.permission, chosen)
    if mine and verb.do is None:
        run.count(_delete(admin, request, mine, alias))
    elif mine and verb.do is not None:
        when = datetime.fromisoformat(run.when) if run.when else None
        operations = admin.model.all_objects.using(alias).filter(pk__in=mine)
        run.count(verb.do(operations, Wish(str(request.user), when)))
    run.forbidden += forbidden
    run.position = chosen[-1][0] if len(chosen) == CHUNK else high


class Refused(OperatorError):
    """Something else would have to go along that must not."""


def _delete(admin: OperationAccess, request: HttpRequest, ids: list[int], alias: str) -> Changed:
    """Delete those of a chunk that no operator has claimed."""
    with transaction.atomic(using=alias):
        locked = Operation.all_objects.using(alias).filter(pk__in=ids).order_by("pk")
        free = locked.exclude(states.STARTED).select_for_update().values_list("pk", flat=True)
        doomed = admin.model.all_objects.using(alias).filter(pk__in=list(free))
        _shown, _counts, lacking, protected = admin.get_deleted_objects(doomed, request)
        if lacking or protected:
            why = gettext("These have to go along, and must not: %s")
            raise Refused(why % ", ".join(map(str, lacking or protected[:5])))
        count = len(doomed)
        admin.delete_queryset(request, doomed)
    return Changed.of(deleted=count, left=len(ids) - count)


def _page(admin: OperationAccess, request: HttpRequest, run: Run) -> HttpResponse:
    verb = VERBS[run.action]
    context = {
        **frame(admin, request, gettext("Under way")),
        "done": " ".join(verb.tell(run.changed)),
        "percent": int(run.share * 100),
        "script": SCRIPT,
        "back": _address(request),
    }
    return TemplateResponse(request, TEMPLATE, context)


def _end(admin: OperationAccess, request: HttpRequest, run: Run, token: str) -> HttpResponse:
    """Say what came of it, once."""
    keep(request, {name: each for name, each in kept(request).items() if name != token})
    selection.tell(admin, request, VERBS[run.action], run.changed, run.forbidden)
    if run.stopped:
        admin.message_user(request, run.stopped, messages.ERROR)
    return HttpResponseRedirect(_address(request))


def _note(run: Run, verb: Verb) -> str:
    """Return what the admin's log says of it."""
    changed = run.changed
    words = [str(verb.note), *verb.tell(changed)]
    if left := changed.left + changed.key_taken + run.forbidden:
        words.append(gettext("%(count)d were left alone.") % {"count": left})
    if run.stopped:
        words.append(run.stopped)
    elif not run.is_over:
        words.append(gettext("Not finished."))
    return " ".join(words)


def _address(request: HttpRequest, token: str = "") -> str:
    query = request.GET.copy()
    if token:
        query[RUN] = token
    return f"{request.path}?{query.urlencode()}" if query else request.path


def _number(text: str | None) -> int:
    """Return an id that was posted; the largest there is for what is none."""
    return int(text) if text and text.isdecimal() and len(text) < 20 else LARGEST_ID
