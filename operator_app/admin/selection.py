"""What was chosen in a list, row by row, and what is done to it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext

from operator_app import clock
from operator_app.admin import audit, confirmation, display, permissions
from operator_app.admin.verbs import ABORTED_NOTE, FORBIDDEN, KEY_TAKEN, Verb, Wish
from operator_app.models import Changed, counts
from operator_app.models.choice import STATES
from operator_app.models.number import Number

if TYPE_CHECKING:
    from operator_app.admin.access import OperationAccess

FROM_PAGE: Final = "_from_page"
"""Posted by the buttons of a page, which is where they lead back to."""


def act(
    admin: OperationAccess, request: HttpRequest, rows: QuerySet[Any], verb: Verb
) -> HttpResponse | None:
    """Do it, or ask first if it is to many at once: to several kinds or states, or to another time.

    Two queries to find out, those of the verb, and two for the admin's log.
    """
    alias = router.db_for_write(admin.model)
    chosen = list(rows.using(alias).order_by().values_list("pk", "kind_id"))
    mine, forbidden = divide(admin, request, verb.permission, chosen)
    permitted = admin.model.all_objects.using(alias).filter(pk__in=mine)
    form = confirmation.WhenForm(request.POST if verb.takes_time else None)
    confirmed = confirmation.CONFIRMED in request.POST
    from_page = FROM_PAGE in request.POST
    lacks_time = verb.takes_time and not (confirmed and form.is_valid())
    if lacks_time or not (confirmed or from_page):
        counted = counts.in_states(permitted, STATES, clock.now(alias))
        numbers = {state: Number(count) for state, count in counted.items() if count}
        if lacks_time or len(numbers) > 1 or len({kind for _pk, kind in chosen}) > 1:
            fields: list[tuple[str, Any]] = [(ACTION_CHECKBOX_NAME, pk) for pk, _kind in chosen]
            fields += [(FROM_PAGE, "1")] if from_page else []
            asked = form if confirmed else confirmation.WhenForm()
            return confirmation.page(
                *(admin, request, verb, numbers, fields), forbidden=forbidden, form=asked
            )
    when = form.cleaned_data["when"] if verb.takes_time else None
    changed = _do(request, permitted, verb, Wish(str(request.user), when))
    tell(admin, request, verb, changed, forbidden)
    if FROM_PAGE not in request.POST:
        return None
    pk = request.POST[ACTION_CHECKBOX_NAME]
    return HttpResponseRedirect(display.page(admin.admin_site, admin.model, pk))


def divide(
    admin: OperationAccess,
    request: HttpRequest,
    permission: str,
    chosen: Iterable[tuple[int, int]],
) -> tuple[list[int], int]:
    """Return the ids of those that the user may do this to, and how many others there are. No
    queries.

    Args:
        admin: the page.
        request: whose user it is.
        permission: what it takes.
        chosen: ids of operations and of their kinds.
    """
    chosen = list(chosen)
    alias = router.db_for_write(admin.model)
    allowed = permissions.kinds_allowed(request, permission, admin.model, alias)
    mine = [pk for pk, kind in chosen if allowed is None or kind in allowed]
    return mine, len(chosen) - len(mine)


def tell(
    admin: OperationAccess, request: HttpRequest, verb: Verb, changed: Changed, forbidden: int
) -> None:
    """Say what has happened: operators are at work between the look at a page and the click."""
    for words in verb.tell(changed) if changed else ():
        admin.message_user(request, words, messages.SUCCESS)
    said = [
        (KEY_TAKEN, changed.key_taken, messages.WARNING),
        (verb.left, changed.left, messages.WARNING),
        (FORBIDDEN, forbidden, messages.WARNING),
    ]
    for left, count, level in said:
        if count:
            admin.message_user(request, left % {"count": count}, level)
    if not changed and not any(count for _left, count, _level in said):
        # The list's filter has lost them meanwhile.
        admin.message_user(request, gettext("Nothing was changed."), messages.WARNING)


def _do(request: HttpRequest, rows: Any, verb: Verb, wish: Wish) -> Changed:
    """Do it, and log it: for each operation that was in the right state before and is not after."""
    picked = set(verb.pick(rows).values_list("pk", flat=True))
    assert verb.do is not None
    changed = verb.do(rows, wish)
    if int(changed) < len(picked):
        picked -= set(_unchanged(rows, verb, wish.when))
    if len(picked) > audit.EACH:
        audit.log_many(request, rows.model, " ".join(verb.tell(changed)), str(verb.note))
    else:
        _log_each(request, list(rows.model.all_objects.filter(pk__in=picked)), verb, changed)
    return changed


def _log_each(request: HttpRequest, rows: list[Any], verb: Verb, changed: Changed) -> None:
    aborted = [row for row in rows if changed.aborted and row.cancelled_at is not None]
    audit.log_each(request, aborted, str(ABORTED_NOTE))
    audit.log_each(request, [row for row in rows if row not in aborted], str(verb.note))


def _unchanged(rows: Any, verb: Verb, when: datetime | None) -> Iterable[int]:
    still = verb.pick(rows)
    if when is not None:
        still = still.exclude(should_run_at=when)
    found: Iterable[int] = still.values_list("pk", flat=True)
    return found
