"""The admin's log of what people do: who, what, how many."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.utils.translation import gettext

EACH: Final = 100
"""Up to how many operations get an entry each; for more there is one that tells how many."""

_REPR_LENGTH: Final = 200


def log_each(request: HttpRequest, rows: Collection[Any], note: str, flag: int = CHANGE) -> None:
    """Log with an entry for each what was done to these rows. One query, none without rows.

    Args:
        request: whose user did it.
        rows: of one model.
        note: what was done.
        flag: as in `LogEntry`.
    """
    if rows:
        user: Any = request.user.pk
        LogEntry.objects.log_actions(user, rows, flag, note)


def log_many(
    request: HttpRequest, model: type[Any], what: str, note: str, flag: int = CHANGE
) -> Any:
    """Log with one entry what was done to many operations; return the id of the entry. One query.

    Args:
        request: whose user did it.
        model: the class of the list.
        what: which operations.
        note: what was done, and to how many.
        flag: as in `LogEntry`.
    """
    kind = ContentType.objects.get_for_model(model, for_concrete_model=False)
    user: Any = request.user.pk
    entry = LogEntry.objects.create(
        user_id=user,
        content_type_id=kind.pk,
        object_repr=what[:_REPR_LENGTH],
        action_flag=flag,
        change_message=note,
    )
    return entry.pk


def go_on(entry: Any, note: str) -> None:
    """Bring an entry of `log_many()` up to date. One query."""
    LogEntry.objects.filter(pk=entry).update(change_message=note)


def all_that_match(filters: str) -> str:
    """Return what an entry calls what these filters have left."""
    return gettext("all that match %s") % filters if filters else gettext("all operations")
