"""What a person may do to an operation, and how a refusal reaches him.

A person looks at a page for minutes, in which an operator may claim what he is looking at. So the
row is locked and looked at again when something is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext

from operator_app.exceptions import OperationStarted
from operator_app.models import Operation, kinds, states
from operator_app.moments import EARLIEST_YEAR, LATEST_YEAR

_REFUSAL = "_operator_refusal"


def is_pending(operation: Operation) -> bool:
    """Whether an operation was neither claimed nor over when it was loaded. No queries."""
    return all(getattr(operation, column) is None for column in states.PENDING_COLUMNS)


def is_started(operation: Operation) -> bool:
    """Whether an operation was claimed and not over when it was loaded. No queries."""
    ended = any(getattr(operation, column) is not None for column in states.ENDINGS)
    return operation.started_run_at is not None and not ended


def may_view(request: HttpRequest, model: type[Model]) -> bool:
    """Whether the user may see rows of `model`, as in Django's inlines: to view or to change."""
    app_label = model._meta.app_label
    return any(
        request.user.has_perm(f"{app_label}.{get_permission_codename(verb, model._meta)}")
        for verb in ("view", "change")
    )


def check_moment(moment: datetime) -> None:
    """Refuse a time that some time zone or database has no name for.

    Raises:
        ValidationError: for one before 1970 or after 9998.
    """
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        text = gettext("Choose a year from %(first)d to %(last)d.")
        limits = {"first": EARLIEST_YEAR, "last": LATEST_YEAR}
        raise ValidationError(text, code="out_of_range", params=limits)


def hold_pending(operation: Operation) -> None:
    """Lock a row that is to be changed, so that no operator claims it before we have committed.

    One query, in the caller's transaction.

    Raises:
        OperationStarted: if the operation is not pending any more.
    """
    alias = router.db_for_write(type(operation))
    rows = Operation.all_objects.using(alias).filter(pk=operation.pk)
    if not rows.pending().select_for_update().values_list("pk"):
        raise OperationStarted(
            gettext(
                "This operation has been claimed by an operator or has ended since you opened the "
                "page, so nothing was saved. Open the page again to see how it goes."
            )
        )


def complete(operation: Operation) -> None:
    """Let the policy of the operation's own kind decide what was left empty, also on the page of a
    base class. No queries.
    """
    model = kinds.model_of(operation.kind_id, operation._alias) or type(operation)
    policy: Any = model.resolved_policy()
    chosen: int | None = operation.priority
    operation.priority = policy.priority if chosen is None else chosen
    operation.queue = operation.queue or policy.queue


def hold_deletable(ids: Iterable[Any], alias: str) -> None:
    """Lock rows that are to be deleted. One query, in the caller's transaction.

    Raises:
        OperationStarted: if one of them is running or stuck.
    """
    rows = Operation.all_objects.using(alias).filter(pk__in=list(ids)).select_for_update()
    columns = ("started_run_at", *states.ENDINGS)
    for started, *endings in rows.order_by("pk").values_list(*columns):
        if started is not None and not any(endings):
            raise OperationStarted(deletion_refused())


def deletion_refused() -> str:
    """Return why what is running cannot be deleted."""
    return gettext(
        "An operation that an operator has claimed cannot be deleted before it has ended. "
        "Nothing was deleted."
    )


def refuse(request: HttpRequest, why: str) -> None:
    """Let the forms of this request say no."""
    setattr(request, _REFUSAL, why)


def refusing(request: HttpRequest, form: type[Any]) -> type[Any]:
    """Return the form's class, made to say no if the request was refused: the page is shown again,
    with what was typed in and the reason.
    """
    why: str | None = getattr(request, _REFUSAL, None)
    if why is None:
        return form

    error = ValidationError(why, code="refused")

    class Refused(form):  # type: ignore[misc]
        def clean(self) -> Any:
            cleaned = super().clean()
            self.add_error(None, error)
            return cleaned

    return Refused


def keeping(formset: type[Any], may_change: Callable[[Any], bool]) -> type[Any]:
    """Return the formset's class, made to keep the rows that a user may not change as they are.

    Args:
        formset: of a list that can be edited.
        may_change: tells of a row whether he may.
    """

    class Keeping(formset):  # type: ignore[misc]
        def add_fields(self, form: Any, index: int | None) -> None:
            if not may_change(form.instance):
                # All but the primary key, which comes next.
                for field in form.fields.values():
                    field.disabled = True
            super().add_fields(form, index)

    return Keeping
