"""What people can do about stuck operations, and what they are told then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from operator_app.admin import audit, permissions, verbs
from operator_app.admin.display import AnyModelAdmin
from operator_app.models import Changed, Operation, search, states
from operator_app.models.outlook import is_deserted

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

    from operator_app.models import OperationQuerySet

MOST: Final = 200
"""How many operations the page shows, and changes at once: the first ones of each operator."""


class Deed(NamedTuple):
    """Something that can be done about stuck operations.

    Args:
        label: of its button.
        permission: what a user must be allowed to do.
        part: of `Changed`, of those to whom it was done.
        done: finds those to whom it was done.
        words: what is said then.
        entry: what the admin's log says.
        by: what is stored as the reason, or behind it.
    """

    label: Words
    permission: str
    part: str
    done: Q
    words: Any
    entry: Words
    by: Words


DEEDS: Final[Mapping[str, Deed]] = {
    "release": Deed(
        _("Release"),
        "retry",
        "released",
        states.PENDING,
        ngettext_lazy("%(n)d operation was released.", "%(n)d operations were released.", "n"),
        _("Released from a lost operator."),
        _("released by %s in the admin"),
    ),
    "fail": Deed(
        _("Fail"),
        "retry",
        "failed",
        Q(failed_run_at__isnull=False),
        ngettext_lazy("%(n)d operation has failed now.", "%(n)d operations have failed now.", "n"),
        _("Failed by hand."),
        _("failed by %s in the admin"),
    ),
    "abort": Deed(
        _("Abort"),
        "abort",
        "abort_requested",
        Q(abort_requested_at__isnull=False),
        ngettext_lazy(
            "%(n)d operation was asked to abort.", "%(n)d operations were asked to abort.", "n"
        ),
        _("Asked to abort."),
        _("abort requested by %s in the admin"),
    ),
}
"""By the name of the queryset's verb."""

LEFT: Final = ngettext_lazy(
    "%(n)d operation was left alone: it is not stuck any more, its operator was not declared lost, "
    "or it was asked before.",
    "%(n)d operations were left alone: they are not stuck any more, their operators were not "
    "declared lost, or they were asked before.",
    "n",
)


def viewable(request: HttpRequest, alias: str) -> OperationQuerySet[Operation]:
    """Return the operations that the user may view. No queries."""
    return permissions.viewable(request, Operation.all_objects.using(alias).all())


def what_can_be_done(request: HttpRequest, row: Operation) -> Iterator[str]:
    """Yield the names of the deeds that a stuck operation is in the state for, and the user may do.
    No queries if its operator was selected.
    """
    deserted = is_deserted(row)
    possible = {
        "release": deserted and row.operator_id is not None,
        "fail": deserted,
        "abort": row.abort_requested_at is None,
    }
    for name, deed in DEEDS.items():
        if possible[name] and permissions.may(request, deed.permission, permissions.kind_of(row)):
            yield name


def act(model_admin: AnyModelAdmin, request: HttpRequest) -> HttpResponse:
    """Do to some of them what was asked for, and return to the page.

    Raises:
        PermissionDenied: if the user may not do it to one of them; nothing is done then.
    """
    name, ids = _asked(request)
    deed = DEEDS.get(name)
    back = HttpResponseRedirect(request.get_full_path())
    if deed is None or not ids:
        messages.warning(request, gettext("Choose operations first."))
        return back
    alias = router.db_for_write(Operation)
    rows = viewable(request, alias).filter(pk__in=ids)
    chosen = list(rows.stuck())
    theirs = map(permissions.kind_of, chosen)
    if not all(permissions.may(request, deed.permission, kind) for kind in theirs):
        raise PermissionDenied
    stuck = rows.filter(pk__in=[row.pk for row in chosen])
    changed = _do(name, stuck, request)
    if changed:
        asked = [row.pk for row in chosen if row.abort_requested_at is not None]
        # Who was asked before is not asked again.
        done = stuck.filter(deed.done).exclude(pk__in=asked if name == "abort" else [])
        audit.log_each(request, list(done), str(deed.entry))
    if changed.aborted:
        aborted = stuck.filter(cancelled_at__isnull=False)
        audit.log_each(request, list(aborted), str(verbs.ABORTED_NOTE))
    _tell(request, deed, changed, len(ids))
    return back


def _asked(request: HttpRequest) -> tuple[str, list[int]]:
    """Return what was asked for, and of which operations: of one, or of all that were ticked."""
    name, _colon, one = request.POST.get("one", "").partition(":")
    given = [one] if name else request.POST.getlist("operation")
    # Python refuses to read numbers of thousands of digits.
    numbers = [int(each) for each in given if each.isdecimal() and len(each) < 20]
    ids = [number for number in numbers if number <= search.LARGEST_ID]
    return name or request.POST.get("verb", ""), ids[:MOST]


def _do(name: str, rows: Any, request: HttpRequest) -> Changed:
    if name == "release":
        changed: Changed = rows.release()
        return changed
    why = request.POST.get("reason", "").strip()
    by = str(DEEDS[name].by) % request.user
    said: Changed = getattr(rows, name)(f"{why} ({by})" if why else by)
    return said


def _tell(request: HttpRequest, deed: Deed, changed: Changed, asked: int) -> None:
    if done := getattr(changed, deed.part):
        messages.success(request, deed.words % {"n": done})
    if changed.aborted:
        messages.success(request, verbs.ABORTED % {"count": changed.aborted})
    if left := asked - changed:
        messages.warning(request, LEFT % {"n": left})
